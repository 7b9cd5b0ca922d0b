"""Sends what newer tools than those at hand would send, and what none should, and prints every answer and event."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nft import *

listener = connect(1 << 6)
sock = connect()


def show(kind, line):
    # Table handles and generations tell what was there before; processes differ.
    line = re.sub(r"((?:NEW|DEL|DESTROY)TABLE .* 4=)[0-9a-f]{16}", r"\1", line)
    line = re.sub(r"(NEWGEN .*) 1=.*", r"\1", line)
    line = re.sub(r"(NEWSET .*) 19=[0-9a-f]+", r"\1", line)
    # The names of devices and the like end in NUL, what follows is what it is; times run.
    line = re.sub(r"(NEWSETELEM .*) 5=[0-9a-f]{16}", r"\1", line)
    # Linux may end a dump with a message of no elements.
    if not re.search("NEWSETELEM .* 3=$", line):
        print(" ", kind, line)


def case(name, *datagrams):
    print(name)
    for datagram in datagrams:
        try:
            sock.send(datagram)
        except OSError as error:
            print("  send", errno.errorcode[error.errno])
        for line in answers(sock):
            show("answer", line)
        for line in answers(listener):
            show("event", line)


# Attributes by what they are in.
def table(name="t", *more):
    return [attr(1, name), *more]


def chain(name, *more):
    return [attr(1, "t"), attr(3, name), *more]


def hook(number, priority=0, *more):
    return attr(4, [attr(1, number), attr(2, priority & 0xffffffff), *more])


def rule(chain, *more):
    return [attr(1, "t"), attr(2, chain), *more]


def expr(name, *attrs):
    return attr(1, [attr(1, name), attr(2, [*attrs])])


def exprs(*list):
    return attr(4, [*list])


def verdict(code, chain=None):
    return expr("immediate", attr(1, 0), attr(2, [attr(2, [attr(1, code & 0xffffffff), *([attr(2, chain)] if chain else [])])]))


ACCEPT, DROP, JUMP, GOTO, RETURN = 1, 0, -3, -4, -5
counter = lambda: expr("counter", attr(1, u64(70)), attr(2, u64(7)))


def set_of(name, *more, flags=0, key_len=4, id=1):
    return [attr(1, "t"), attr(2, name), attr(3, flags), attr(4, 7), attr(5, key_len), attr(10, id), *more]


def elements(set, *list):
    return [attr(1, "t"), attr(2, set), attr(3, [*list])]


def element(key, *more):
    return attr(1, [attr(1, [attr(1, key)]), *more])


NEW = dict(flags=CREATE | ACK)
APPENDED = dict(flags=CREATE | APPEND | ACK)


def alone(*list):
    """A batch with a rule of these expressions, of which nothing stays: refused rules use up handles, and how many is nobody's."""
    z = attr(1, "z")
    return batch(message(NEWTABLE, z, flags=CREATE), message(NEWCHAIN, z, attr(3, "c"), flags=CREATE),
                 message(NEWRULE, z, attr(2, "c"), exprs(*list), seq=7, **APPENDED), message(DELTABLE, z))


# Tables.
case("table", batch(message(NEWTABLE, *table(), **NEW)))
case("again", batch(message(NEWTABLE, *table(), **NEW)), batch(message(NEWTABLE, *table(), flags=CREATE | EXCL | ACK)))
case("replace", batch(message(NEWTABLE, *table(), flags=CREATE | REPLACE | ACK)))
case("no name", batch(message(NEWTABLE, **NEW)), batch(message(NEWTABLE, attr(1, b""), **NEW)), batch(message(NEWTABLE, attr(1, b"x"), **NEW)))
case("long names", *(batch(message(NEWTABLE, *table("n" * n), **NEW)) for n in (254, 255, 256, 300)))
case("family", *(batch(message(NEWTABLE, *table("f"), family=n, **NEW)) for n in (0, 3, 4, 6, 8, 11, 255)))
case("flags", *(batch(message(NEWTABLE, *table("g", attr(2, n)), **NEW)) for n in (8, 0x80000000, 4, 5)))
case("short flags", batch(message(NEWTABLE, *table("g", attr(2, b"\0")), **NEW)), batch(message(NEWTABLE, *table("g", attr(2, b"")), **NEW)))
case("long flags", batch(message(NEWTABLE, *table("g1", attr(2, b"\0" * 8)), **NEW)))
case("unknown attribute", batch(message(NEWTABLE, *table("u", attr(77, 1)), **NEW)))
case("bytes behind", batch(message(NEWTABLE, *table("v"), b"\1\0\0", **NEW)))
case("bad length", batch(message(NEWTABLE, *table("w"), struct.pack("=HH", 200, 6), **NEW)))
case("twice the same attribute", batch(message(NEWTABLE, attr(1, "one"), attr(1, "two"), **NEW)))
case("userdata", batch(message(NEWTABLE, *table("x", attr(6, b"abc")), **NEW)), batch(message(NEWTABLE, *table("x2", attr(6, b"d" * 257)), **NEW)))
case("get", message(GETTABLE, *table()), message(GETTABLE, *table("missing")), message(GETTABLE), message(GETTABLE, *table(), family=10))
case("delete by handle", batch(message(DELTABLE, attr(4, u64(9999)), flags=ACK)))
case("delete without use", batch(message(DELTABLE, *table("x"), flags=ACK | NONREC)))
case("destroy", batch(message(DESTROYTABLE, *table("u"), flags=ACK)), batch(message(DESTROYTABLE, *table("u"), flags=ACK)), batch(message(DELTABLE, *table("u"), flags=ACK)))

# Chains.
case("chain", batch(message(NEWCHAIN, *chain("c"), **NEW)), batch(message(NEWCHAIN, *chain("d", attr(11, 5)), **NEW)))
case("chain again", batch(message(NEWCHAIN, *chain("c"), **NEW)), batch(message(NEWCHAIN, *chain("c"), flags=CREATE | EXCL | ACK)))
case("no chain name", batch(message(NEWCHAIN, attr(1, "t"), **NEW)), batch(message(NEWCHAIN, attr(3, "c"), **NEW)), batch(message(NEWCHAIN, attr(1, "missing"), attr(3, "c"), **NEW)))
case("base", batch(message(NEWCHAIN, *chain("in", hook(1), attr(5, ACCEPT), attr(7, "filter")), **NEW)))
case("base with counters", batch(message(NEWCHAIN, *chain("cnt", hook(1, 3), attr(7, "filter"), attr(8, [attr(1, u64(5)), attr(2, u64(6))])), **NEW)))
case("base wrong", batch(message(NEWCHAIN, *chain("w", hook(5), attr(7, "filter")), **NEW)), batch(message(NEWCHAIN, *chain("w", hook(1), attr(7, "nonsense")), **NEW)),
     batch(message(NEWCHAIN, *chain("w", hook(1), attr(5, 7), attr(7, "filter")), **NEW)), batch(message(NEWCHAIN, *chain("w", attr(5, 0)), **NEW)),
     batch(message(NEWCHAIN, *chain("w", attr(4, [attr(1, 1)])), **NEW)), batch(message(NEWCHAIN, *chain("w", hook(1)), **NEW)), batch(message(NEWCHAIN, *chain("w2", attr(7, "filter")), **NEW)))
case("policy", batch(message(NEWCHAIN, *chain("in", attr(5, DROP)), **NEW)), batch(message(NEWCHAIN, *chain("in", hook(1, 1), attr(7, "filter")), **NEW)), batch(message(NEWCHAIN, *chain("c", attr(5, DROP)), **NEW)))
case("chain flags", *(batch(message(NEWCHAIN, *chain(f"fl{n}", attr(10, n)), **NEW)) for n in (1, 2, 4, 8)))
case("rename", batch(message(NEWCHAIN, attr(1, "t"), attr(2, u64(2)), attr(3, "d2"), flags=ACK)), batch(message(NEWCHAIN, attr(1, "t"), attr(2, u64(2)), attr(3, "c"), flags=ACK)), batch(message(NEWCHAIN, attr(1, "t"), attr(2, u64(999)), attr(3, "zz"), flags=ACK)))
case("without create", batch(message(NEWCHAIN, *chain("nocreate"), flags=ACK)))
case("get chains", message(GETCHAIN, *chain("in")), message(GETCHAIN, *chain("missing")), message(GETCHAIN, attr(1, "t"), attr(2, u64(1))), message(GETCHAIN, flags=DUMP, family=0), message(GETCHAIN, attr(1, "t"), flags=DUMP))
case("delete chain by handle", batch(message(DELCHAIN, attr(1, "t"), attr(2, u64(2)), flags=ACK)), batch(message(DELCHAIN, attr(1, "t"), attr(2, u64(2)), flags=ACK)))
case("destroy chain", batch(message(DESTROYCHAIN, *chain("missing"), flags=ACK)), batch(message(DESTROYCHAIN, *chain("cnt"), flags=ACK)), batch(message(DESTROYCHAIN, attr(1, "missing"), attr(3, "x"), flags=ACK)))

# Rules.
case("rules", *(batch(message(NEWRULE, *rule("c", exprs(counter(), verdict(code))), **APPENDED)) for code in (ACCEPT, DROP, RETURN)))
case("no chain", batch(message(NEWRULE, attr(1, "t"), exprs(verdict(ACCEPT)), **APPENDED)), batch(message(NEWRULE, *rule("missing"), **APPENDED)))
case("no expressions", batch(message(NEWRULE, *rule("c"), **APPENDED)))
case("userdata of rules", batch(message(NEWRULE, *rule("c", attr(7, b"u" * 256)), **APPENDED)), batch(message(NEWRULE, *rule("c", attr(7, b"u" * 257)), **APPENDED)))
case("unknown expression", alone(expr("nonsense")), alone(attr(1, [attr(2, [])])), alone(attr(2, [attr(1, "counter")])))
case("expressions that lack something", *(alone(expr(name)) for name in
     "immediate cmp payload bitwise byteorder meta ct lookup limit quota log reject nat masq redir exthdr range numgen hash fib rt socket osf tproxy synproxy dup fwd objref dynset connlimit last inner xfrm tunnel counter".split()))
case("registers", *(alone(expr("meta", attr(1, reg), attr(2, 3))) for reg in (0, 1, 4, 5, 7, 8, 23, 24, 99)))
case("read before written", alone(expr("cmp", attr(1, 1), attr(2, 0), attr(3, [attr(1, b"abcd")]))))
case("too long to compare", alone(expr("meta", attr(1, 1), attr(2, 3)), expr("cmp", attr(1, 1), attr(2, 0), attr(3, [attr(1, b"a" * 65)]))),
     alone(expr("meta", attr(1, 1), attr(2, 3)), expr("cmp", attr(1, 1), attr(2, 99), attr(3, [attr(1, b"abcd")]))))
case("more than may be", alone(*(counter() for _ in range(128))), alone(*(counter() for _ in range(129))))
case("verdicts", *(alone(verdict(code)) for code in (2, 3, 4, 5, 6, -1, -2, -6, 0x00010003, 0x00010001, JUMP)))
case("jumps", batch(message(NEWRULE, *rule("c", exprs(verdict(JUMP, "in"))), **APPENDED)), batch(message(NEWRULE, *rule("c", exprs(verdict(JUMP, "c"))), **APPENDED)), batch(message(NEWRULE, *rule("c", exprs(verdict(JUMP, "none"))), **APPENDED)))
by_id = lambda chain: expr("immediate", attr(1, 0), attr(2, [attr(2, [attr(1, JUMP & 0xffffffff), attr(3, chain)])]))
case("jump by number", batch(message(NEWCHAIN, *chain("byid", attr(11, 77)), **NEW), message(NEWRULE, *rule("c", exprs(by_id(77))), **APPENDED)), batch(message(NEWRULE, *rule("c", exprs(by_id(77))), **APPENDED)))
case("a chain of the rule's own", batch(message(NEWCHAIN, attr(1, "t"), attr(10, 4), attr(11, 9), **NEW), message(NEWRULE, attr(1, "t"), attr(10, 9), exprs(counter()), **APPENDED), message(NEWRULE, *rule("c", exprs(by_id(9))), **APPENDED)),
     batch(message(NEWCHAIN, attr(1, "t"), attr(10, 4), attr(11, 10), **NEW)))
case("by place", batch(message(NEWRULE, *rule("c", attr(6, u64(10)), exprs(counter())), **APPENDED)), batch(message(NEWRULE, *rule("c", attr(6, u64(9999))), **APPENDED)),
     batch(message(NEWRULE, *rule("c", attr(9, 1), exprs(verdict(DROP))), flags=CREATE | ACK), message(NEWRULE, *rule("c", attr(10, 1), exprs(verdict(RETURN))), **APPENDED)), batch(message(NEWRULE, *rule("c", attr(10, 4)), **APPENDED)))
case("replace", batch(message(NEWRULE, *rule("c", attr(3, u64(10)), exprs(counter())), flags=REPLACE | ACK)), batch(message(NEWRULE, *rule("c", attr(3, u64(9999))), flags=REPLACE | ACK)), batch(message(NEWRULE, *rule("c", attr(3, u64(10))), flags=CREATE | EXCL | ACK)), batch(message(NEWRULE, *rule("c", exprs(counter())), flags=REPLACE | ACK)))
case("get rules", message(GETRULE, *rule("c"), attr(3, u64(9))), message(GETRULE, *rule("c"), attr(3, u64(9999))), message(GETRULE, *rule("c")), message(GETRULE, *rule("c"), flags=DUMP), message(GETRULE, *rule("missing"), flags=DUMP), message(GETRULE, attr(1, "missing"), flags=DUMP), message(GETRULE, flags=DUMP, family=10))
case("reset rules", message(GETRULE_RESET, *rule("c"), attr(3, u64(9))), message(GETRULE_RESET, attr(1, "t"), flags=DUMP), message(GETRULE, flags=DUMP))
case("delete rules", batch(message(DELRULE, *rule("c"), attr(3, u64(9)), flags=ACK)), batch(message(DELRULE, *rule("c"), attr(3, u64(9)), flags=ACK)), batch(message(DESTROYRULE, *rule("c"), attr(3, u64(9)), flags=ACK)), batch(message(DESTROYRULE, *rule("c"), attr(3, u64(10)), flags=ACK)),
     batch(message(NEWRULE, *rule("c", attr(9, 3), exprs(counter())), **APPENDED), message(DELRULE, *rule("c"), attr(9, 3), flags=ACK)), batch(message(DELRULE, *rule("c"), attr(9, 3), flags=ACK)), batch(message(DELRULE, *rule("missing"), flags=ACK)), batch(message(DESTROYRULE, *rule("missing"), flags=ACK)), batch(message(DELRULE, *rule("c"), flags=ACK)), batch(message(DELRULE, attr(1, "t"), flags=ACK)))
case("echo", batch(message(NEWRULE, *rule("c", exprs(counter())), flags=CREATE | APPEND | ACK | ECHO)))

# Sets.
case("set", batch(message(NEWSET, *set_of("s"), **NEW)), batch(message(NEWSET, *set_of("s"), **NEW)), batch(message(NEWSET, *set_of("s"), flags=CREATE | EXCL | ACK)), batch(message(NEWSET, *set_of("s", key_len=8), **NEW)))
case("set wrong", batch(message(NEWSET, attr(1, "t"), attr(2, "y"), **NEW)), *(batch(message(NEWSET, *set_of("y", key_len=n), **NEW)) for n in (0, 64, 65)), *(batch(message(NEWSET, *set_of("y", flags=n), **NEW)) for n in (0x40, 0x80, 0x100, 0x1000, 8, 0x28, 1)))
case("set with data", batch(message(NEWSET, *set_of("m", attr(6, 7), attr(7, 4), flags=8), **NEW)), batch(message(NEWSET, *set_of("m1", attr(6, 7), attr(7, 65), flags=8), **NEW)), batch(message(NEWSET, *set_of("m2", attr(6, 0xffffff00), flags=8), **NEW)), batch(message(NEWSET, *set_of("m3", attr(6, 7)), **NEW)))
case("set that is described", batch(message(NEWSET, *set_of("de", attr(9, [attr(1, 3)])), **NEW)), batch(message(NEWSET, *set_of("co", attr(9, [attr(2, [attr(1, [attr(1, 4)]), attr(1, [attr(1, 2)])])]), key_len=8, flags=0x84), **NEW)),
     batch(message(NEWSET, *set_of("co2", attr(9, [attr(2, [attr(1, [attr(1, 4)]), attr(1, [attr(1, 4)])])]), key_len=12, flags=0x84), **NEW)), batch(message(NEWSET, *set_of("co3", flags=0x80, key_len=8), **NEW)))
case("set with times", batch(message(NEWSET, *set_of("ti", attr(11, u64(60000)), attr(12, 5000), flags=0x10), **NEW)), batch(message(NEWSET, *set_of("ti2", attr(11, u64(60000))), **NEW)), batch(message(NEWSET, *set_of("ti3", attr(12, 5)), **NEW)), batch(message(NEWSET, *set_of("po", attr(8, 1)), **NEW)), batch(message(NEWSET, *set_of("po2", attr(8, 9)), **NEW)))
case("set with expressions", batch(message(NEWSET, *set_of("ex", attr(17, [attr(1, "counter")]), flags=0x20), **NEW)), batch(message(NEWSET, *set_of("ex2", attr(18, [attr(1, [attr(1, "counter")]), attr(1, [attr(1, "last")])]), flags=0x120), **NEW)), batch(message(NEWSET, *set_of("ex3", attr(17, [attr(1, "meta")])), **NEW)))
case("anonymous and unused", batch(message(NEWSET, *set_of("__set%d", flags=3), **NEW)))
case("objects in a set", batch(message(NEWSET, *set_of("ob", attr(15, 1), flags=0x40), **NEW)), batch(message(NEWSET, *set_of("ob2", attr(15, 99), flags=0x40), **NEW)))
case("elements", batch(message(NEWSETELEM, *elements("s", element(b"aaaa"), element(b"bbbb")), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"aaaa")), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"aaaa")), flags=CREATE | EXCL | ACK)),
     batch(message(NEWSETELEM, *elements("s", element(b"long key")), **NEW)), batch(message(NEWSETELEM, *elements("s", attr(1, [])), **NEW)), batch(message(NEWSETELEM, *elements("s"), **NEW)), batch(message(NEWSETELEM, attr(1, "t"), attr(2, "s"), **NEW)), batch(message(NEWSETELEM, *elements("missing", element(b"aaaa")), **NEW)))
case("elements with what the set has not", batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(2, [attr(1, b"data")]))), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(4, u64(1000)))), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(3, 1))), **NEW)),
     batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(3, 4))), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(9, "object"))), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(7, [attr(1, "counter")]))), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"cccc", attr(10, [attr(1, b"dddd")]))), **NEW)),
     batch(message(NEWSETELEM, *elements("s", element(b"ccdd", attr(6, b"x" * 257))), **NEW)), batch(message(NEWSETELEM, *elements("s", element(b"ccde", attr(6, b"x"))), **NEW)))
case("catch-all", batch(message(NEWSETELEM, *elements("s", attr(1, [attr(3, 2)])), **NEW)), batch(message(NEWSETELEM, *elements("s", attr(1, [attr(3, 2)])), flags=CREATE | EXCL | ACK)), batch(message(NEWSETELEM, *elements("s", element(b"eeee", attr(3, 2))), **NEW)), batch(message(DELSETELEM, *elements("s", attr(1, [attr(3, 2)])), flags=ACK)))
case("map", batch(message(NEWSETELEM, *elements("m", element(b"aaaa", attr(2, [attr(1, b"data")]))), **NEW)), batch(message(NEWSETELEM, *elements("m", element(b"aaaa", attr(2, [attr(1, b"tada")]))), **NEW)), batch(message(NEWSETELEM, *elements("m", element(b"bbbb")), **NEW)), batch(message(NEWSETELEM, *elements("m", element(b"bbbb", attr(2, [attr(1, b"longer data")]))), **NEW)))
case("verdict map", batch(message(NEWSETELEM, *elements("m2", element(b"aaaa", attr(2, [attr(2, [attr(1, JUMP & 0xffffffff), attr(2, "c")])]))), **NEW)), batch(message(NEWSETELEM, *elements("m2", element(b"bbbb", attr(2, [attr(1, b"data")]))), **NEW)), batch(message(DELCHAIN, *chain("c"), flags=ACK)))
case("ranges", batch(message(NEWSETELEM, *elements("co", element(b"\1\0\0\0\0\1\0\0", attr(10, [attr(1, b"\2\0\0\0\0\5\0\0")]))), **NEW)), batch(message(NEWSETELEM, *elements("co", element(b"\1\0\0\0\0\1\0\0", attr(10, [attr(1, b"\2\0\0\0\0\5\0\0")]))), flags=CREATE | EXCL | ACK)), batch(message(NEWSETELEM, *elements("co", element(b"\1\5\0\0\0\1\0\0", attr(10, [attr(1, b"\1\6\0\0\0\2\0\0")]))), **NEW)))
case("get elements", message(GETSETELEM, *elements("s", element(b"aaaa"))), message(GETSETELEM, *elements("s", element(b"zzzz"))), message(GETSETELEM, *elements("s", element(b"aaaa"), element(b"zzzz"))), message(GETSETELEM, *elements("s", element(b"a"))), message(GETSETELEM, attr(1, "t"), attr(2, "m"), flags=DUMP), message(GETSETELEM, attr(1, "t"), attr(2, "missing"), flags=DUMP), message(GETSETELEM, attr(1, "t"), flags=DUMP), message(GETSETELEM, attr(1, "t"), attr(2, "s")))
case("counted elements", batch(message(NEWSETELEM, *elements("ex", element(b"aaaa", attr(7, [attr(1, "counter"), attr(2, [attr(1, u64(5)), attr(2, u64(6))])]))), **NEW)), batch(message(NEWSETELEM, *elements("ex2", element(b"aaaa")), **NEW)), batch(message(NEWSETELEM, *elements("ex", element(b"bbbb", attr(7, [attr(1, "last")]))), **NEW)),
     message(GETSETELEM, attr(1, "t"), attr(2, "ex"), flags=DUMP), message(GETSETELEM_RESET, *elements("ex", element(b"aaaa"))), message(GETSETELEM, *elements("ex", element(b"aaaa"))), message(GETSETELEM_RESET, attr(1, "t"), attr(2, "ex"), flags=DUMP))
case("delete elements", batch(message(DELSETELEM, *elements("s", element(b"aaaa")), flags=ACK)), batch(message(DELSETELEM, *elements("s", element(b"aaaa")), flags=ACK)), batch(message(DESTROYSETELEM, *elements("s", element(b"aaaa")), flags=ACK)), batch(message(DESTROYSETELEM, *elements("s", element(b"bbbb")), flags=ACK)), batch(message(DESTROYSETELEM, *elements("missing", element(b"bbbb")), flags=ACK)), batch(message(DELSETELEM, attr(1, "t"), attr(2, "m"), flags=ACK)), batch(message(DELSETELEM, *elements("m2", element(b"aaaa")), flags=ACK)))
case("get sets", message(GETSET, attr(1, "t"), attr(2, "s")), message(GETSET, attr(1, "t"), attr(2, "missing")), message(GETSET, attr(1, "t"), flags=DUMP), message(GETSET, flags=DUMP, family=10), message(GETSET))
case("delete sets", batch(message(DELSET, attr(1, "t"), attr(2, "s"), flags=ACK)), batch(message(DELSET, attr(1, "t"), attr(2, "s"), flags=ACK)), batch(message(DESTROYSET, attr(1, "t"), attr(2, "s"), flags=ACK)), batch(message(DESTROYSET, attr(1, "t"), attr(2, "m"), flags=ACK)), batch(message(DELSET, attr(1, "t"), attr(16, u64(9999)), flags=ACK)))

# Objects.
def object(name, kind, *data):
    return [attr(1, "t"), attr(2, name), attr(3, kind), *([attr(4, [*data])] if data else [])]


case("objects", batch(message(NEWOBJ, *object("n", 1, attr(1, u64(9)), attr(2, u64(3))), **NEW)), batch(message(NEWOBJ, *object("n", 1), **NEW)), batch(message(NEWOBJ, *object("n", 1), flags=CREATE | EXCL | ACK)), batch(message(NEWOBJ, *object("e", 1), **NEW)), batch(message(NEWOBJ, *object("q", 2, attr(1, u64(1000))), **NEW)), batch(message(NEWOBJ, *object("q", 2, attr(1, u64(2000)), attr(2, 1)), **NEW)),
     batch(message(NEWOBJ, *object("bad", 99), **NEW)), batch(message(NEWOBJ, attr(1, "t"), attr(2, "bad"), **NEW)), batch(message(NEWOBJ, *object("l", 4, attr(1, u64(5)), attr(2, u64(1))), **NEW)), batch(message(NEWOBJ, *object("l0", 4, attr(1, u64(0)), attr(2, u64(1))), **NEW)))
case("get objects", message(GETOBJ, *object("n", 1)), message(GETOBJ, *object("n", 2)), message(GETOBJ, *object("missing", 1)), message(GETOBJ, flags=DUMP, family=0), message(GETOBJ, attr(3, 2), flags=DUMP), message(GETOBJ, attr(1, "missing"), flags=DUMP), message(GETOBJ, attr(1, "t"), attr(2, "n")))
case("reset objects", message(GETOBJ_RESET, *object("n", 1)), message(GETOBJ, *object("n", 1)), message(GETOBJ_RESET, attr(3, 1), flags=DUMP), message(GETOBJ, flags=DUMP))
case("use objects", batch(message(NEWRULE, *rule("c", exprs(expr("objref", attr(1, 1), attr(2, "n")))), **APPENDED)), batch(message(NEWRULE, *rule("c", exprs(expr("objref", attr(1, 2), attr(2, "n")))), **APPENDED)), batch(message(NEWRULE, *rule("c", exprs(expr("objref", attr(1, 1)))), **APPENDED)), batch(message(DELOBJ, *object("n", 1), flags=ACK)), batch(message(DESTROYOBJ, *object("n", 1), flags=ACK)))
case("delete objects", batch(message(DELOBJ, *object("e", 1), flags=ACK)), batch(message(DELOBJ, *object("e", 1), flags=ACK)), batch(message(DESTROYOBJ, *object("e", 1), flags=ACK)), batch(message(DESTROYOBJ, *object("q", 2), flags=ACK)), batch(message(DELOBJ, attr(1, "t"), attr(3, 4), attr(6, u64(9999)), flags=ACK)))
case("destroy flowtable", batch(message(DESTROYFLOWTABLE, attr(1, "missing"), attr(2, "f"), flags=ACK)), batch(message(DESTROYFLOWTABLE, attr(1, "t"), attr(2, "f"), flags=ACK)), batch(message(DELFLOWTABLE, attr(1, "t"), attr(2, "f"), flags=ACK)))

# Batches.
case("generation", message(GETGEN))
wrong = struct.pack("=IHHII", 28, BEGIN, REQUEST, 0, 0) + struct.pack(">BBH", 0, 0, 10) + attr(1, 12345678)
case("another generation", wrong + message(NEWTABLE, *table("never"), **NEW) + limits(END, 9))
case("nothing stays", batch(message(NEWTABLE, *table("never"), **NEW), message(NEWCHAIN, attr(1, "never2"), attr(3, "c"), **NEW), message(NEWRULE, *rule("c", exprs(expr("nonsense"))), seq=5, **APPENDED)), message(GETTABLE, *table("never")))
case("comes and goes", batch(message(NEWTABLE, *table("brief"), **NEW), message(NEWCHAIN, attr(1, "brief"), attr(3, "c"), **NEW), message(DELTABLE, *table("brief"), flags=ACK)))
case("commands in a batch that have no place there", batch(message(GETTABLE, *table(), flags=ACK)), batch(message(NEWGEN, flags=ACK)), batch(message(TRACE, flags=ACK)), batch(message(34, flags=ACK)), batch(message(99, flags=ACK)))
case("delete all", batch(message(DELTABLE, family=0, flags=ACK)), message(GETTABLE, flags=DUMP, family=0), message(GETRULE, flags=DUMP, family=0))
