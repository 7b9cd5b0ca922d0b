"""Puts each extension that standard input names (JSON) into rules with random structures, in every family, table and hook, and
tells what came of it: the errno, or the expression as it is listed. One line each; the same seed gives the same lines."""

import json
import random
import socket
import struct
import sys

import nft
from nft import ACK, APPEND, CREATE, DUMP, attr, batch, message

FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "bridge": 7, "ip6": 10}
TABLES = ["filter", "mangle", "nat", "raw", "security", "broute"]
HOOKS = {"arp": [0, 1]}
NAT_HOOKS = [0, 1, 3, 4]
PROTOCOLS = [0, 1, 6, 17, 33, 50, 51, 58, 108, 132, 135, 136]
ETHERTYPES = [0x0008, 0xDD86, 0x0608, 0x3580, 0x0081, 6]
BYTES = [1, 1, 1, 2, 3, 4, 6, 7, 8, 0x10, 0x20, 0x40, 0x80, 0x81, 0xFF, 0xFE, 0xF0]
COMPAT_GET = 11 << 8


def chains(family, table):
    """Base chains by hook, chains that they lead to, and one that none leads to."""
    number = FAMILIES[family]
    yield message(nft.NEWTABLE, attr(1, table), flags=CREATE, family=number)
    yield message(nft.NEWCHAIN, attr(1, table), attr(3, "free"), flags=CREATE, family=number)
    kinds = [("filter", HOOKS.get(family, range(5)))]
    if family in ("ip", "ip6", "inet"):
        kinds.append(("nat", NAT_HOOKS))
    for kind, hooks in kinds:
        for hook in hooks:
            base, below = f"{kind}{hook}", f"below-{kind}{hook}"
            hooked = attr(4, [attr(1, hook), attr(2, 300)])
            yield message(nft.NEWCHAIN, attr(1, table), attr(3, base), hooked, attr(7, kind), flags=CREATE, family=number)
            yield message(nft.NEWCHAIN, attr(1, table), attr(3, below), flags=CREATE, family=number)
            yield from jump(table, base, number)


def errors(sock, data):
    """What is wrong with a batch, by sequence number."""
    sock.send(data)
    found = {}
    for answer in nft.answers(sock):
        seq, what = answer.split()[:2]
        if what != "ack":
            found.setdefault(int(seq), what)
    return found


def listed(sock, family, table):
    """The expressions of rules that consist of one extension, by chain, in order."""
    sock.send(message(nft.GETRULE, attr(1, table), flags=DUMP, family=family))
    rules = {}
    for answer in nft.answers(sock):
        if " 4={1={1=6d6174636800 " in answer or " 4={1={1=74617267657400 " in answer:
            chain = bytes.fromhex(answer.split(" 2=")[1].split()[0]).rstrip(b"\0").decode()
            rules.setdefault(chain, []).append(answer[answer.index(" 4=") + 1 :])
    return rules


def structure(size, rng):
    data = bytearray(size)
    if rng.random() < 0.1:
        return rng.randbytes(size)
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 4, 6])):
        if size:
            # What decides stands at the beginning or at the end.
            at = rng.choice([rng.randrange(size), rng.randrange(min(size, 8)), size - 1 - rng.randrange(min(size, 16))])
            data[at] = rng.choice(BYTES)
    return bytes(data)


def places(extension, tries, rng):
    """Rules with an extension."""
    families = extension["families"] or list(FAMILIES)
    for _ in range(tries):
        family = rng.choice(families) if rng.random() < 0.95 else rng.choice(list(FAMILIES))
        table = extension["table"] if extension["table"] and rng.random() < 0.8 else rng.choice(TABLES)
        hooks = HOOKS.get(family, range(5))
        chain = rng.choice(["free", *(f"filter{h}" for h in hooks), *(f"below-filter{h}" for h in hooks)])
        if family in ("ip", "ip6", "inet") and table == "nat" and rng.random() < 0.7:
            chain = rng.choice(["", "below-"]) + f"nat{rng.choice(NAT_HOOKS)}"
        protocol = rng.choice(ETHERTYPES if family == "bridge" else PROTOCOLS)
        if extension["protocol"] and rng.random() < 0.8:
            protocol = extension["protocol"]
        compat = (protocol, rng.choice([0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 4])) if rng.random() < 0.9 else None
        size = extension["size"] + rng.choice([0] * 20 + [1, -1, 8, -8, 7])
        info = structure(-(-max(size, 0) // 8) * 8 if rng.random() < 0.9 else max(size, 0), rng)
        yield family, table, chain, compat, info


def main():
    job = json.load(sys.stdin)
    rng = random.Random(job["seed"])
    sock = nft.connect()
    # Errors without the messages that they are about, which would not fit.
    sock.setsockopt(270, 10, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for family in FAMILIES:
        for table in TABLES:
            failed = errors(sock, batch(*chains(family, table)))
            if failed:
                sys.exit(f"no chains in {family} {table}: {failed}")
    names = sorted({extension["name"] for extension in job["extensions"]} | {"nosuch", "standard", ""})
    for name in names:
        for family in [0, 1, 2, 3, 5, 7, 10]:
            for role in (0, 1):
                answers = []
                for revision in range(6):
                    body = struct.pack(">BBH", family, 0, 0) + attr(1, name) + attr(2, revision) + attr(3, role)
                    sock.send(struct.pack("=IHHII", 16 + len(body), COMPAT_GET, 1 | ACK, 1, 0) + body)
                    answers.append("; ".join(nft.answers(sock)))
                print(f"{name}\trevisions in family {family}, role {role}\t{' | '.join(answers)}")
    for extension in job["extensions"]:
        rules = [Rule(extension, *place) for place in places(extension, job["tries"], rng)]
        outcomes(sock, rules)
        for rule in rules:
            print(f"{extension['name']}\t{rule.where}\t{rule.outcome}")


class Rule:
    def __init__(self, extension, family, table, chain, compat, info):
        kind = ["match", "target"][extension["role"]]
        body = [attr(1, extension["name"]), attr(2, extension["revision"]), attr(3, info)]
        expression = attr(1, [attr(1, kind), attr(2, body)])
        self.attrs = [attr(1, table), attr(2, chain), attr(4, [expression])]
        if compat:
            self.attrs.append(attr(5, [attr(1, compat[0]), attr(2, compat[1])]))
        self.family, self.table, self.chain, self.outcome = FAMILIES[family], table, chain, None
        self.where = f"{kind} {extension['revision']} {family} {table} {chain} compat {compat} {info.hex()}"

    def message(self, seq):
        return message(nft.NEWRULE, *self.attrs, flags=CREATE | APPEND, family=self.family, seq=seq)


def outcomes(sock, rules):
    """Each alone in a batch without an end, which is only checked; then, those that are taken all at once."""
    for seq, rule in enumerate(rules, 1000):
        rule.outcome = errors(sock, nft.limits(nft.BEGIN, 0) + rule.message(seq)).get(seq)
    rest = {seq: rule for seq, rule in enumerate(rules, 1000) if not rule.outcome}
    refused = errors(sock, batch(*(rule.message(seq) for seq, rule in rest.items())))
    if refused:
        sys.exit(f"refused together, but not alone: {refused}")
    found = {}
    for rule in rest.values():
        place = rule.family, rule.table
        if place not in found:
            found[place] = listed(sock, *place)
        in_chain = found[place].get(rule.chain)
        rule.outcome = in_chain.pop(0) if in_chain else "is not there"
    cleaning = []
    for family, table, chain in {(rule.family, rule.table, rule.chain) for rule in rest.values()}:
        cleaning.append(message(nft.DELRULE, attr(1, table), attr(2, chain), family=family))
        if chain.startswith(("filter", "nat")):
            cleaning.extend(jump(table, chain, family))
    failed = errors(sock, batch(*cleaning))
    if failed:
        sys.exit(f"cannot clean up: {failed}")


def jump(table, chain, family):
    """What leads from a base chain to the chain below it."""
    verdict = attr(2, [attr(1, 0xFFFFFFFD), attr(2, f"below-{chain}")])
    jump = attr(1, [attr(1, "immediate"), attr(2, [attr(1, 0), attr(2, [verdict])])])
    yield message(nft.NEWRULE, attr(1, table), attr(2, chain), attr(4, [jump]), flags=CREATE | APPEND, family=family)


main()
