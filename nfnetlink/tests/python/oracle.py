"""Sends requests about tables and prints what comes back, in a form that is the same whoever answers: the kernel, or the toy."""

import os
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nl import *


def show(name, sock):
    for data in drain(sock):
        if isinstance(data, str):
            print(name, data)
            continue
        for kind, flags, seq, pid, body in parse(data):
            own = "own" if pid == sock.getsockname()[0] else pid
            # Of what is no acknowledgement only the kind is ours to compare.
            print(name, f"{kind:#x} {flags:#x} {seq} {own}", body.hex() if kind == ERROR else "")


def case(name, *datagrams, options=(), groups=0):
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, groups))
    for option in options:
        sock.setsockopt(SOL_NETLINK, option, 1)
    for datagram in datagrams:
        try:
            sock.send(datagram)
        except OSError as error:
            print(name, errno.errorcode[error.errno])
        show(name, sock)
    print(name, "end")
    sock.close()


def address(name, function):
    try:
        print(name, function())
    except OSError as error:
        print(name, errno.errorcode[error.errno])


NEW = CREATE
new = lambda name, flags=0, seq=1: table(NEW_TABLE, name, NEW | flags, seq)
delete = lambda name, flags=0, seq=1: table(DEL_TABLE, name, flags, seq)
acked = dict(options=(EXT_ACK,))
capped = dict(options=(EXT_ACK, CAP_ACK))

case("nothing", b"")
case("too short", b"\0" * 15)
case("length too long", struct.pack("=IHHII", 100, GET_GEN, REQUEST | ACK, 1, 0) + b"\0" * 4)
case("length too short", struct.pack("=IHHII", 15, GET_GEN, REQUEST | ACK, 1, 0) + b"\0" * 4)
case("no request", message(GET_GEN, ACK, 1, request=0), message(GET_GEN, 0, 2, request=0))
case("control message", message(1, ACK, 1), message(3, 0, 2), message(15, ACK, 3))
case("no nfgenmsg", struct.pack("=IHHII", 16, GET_GEN, REQUEST | ACK, 1, 0))
case("subsystem", message(0x6300, 0, 1), message(0xff01, ACK, 2), message(0x0011, 0, 3))
case("command", message(NFTABLES | 99, 0, 1), message(NFTABLES | 99, ACK, 2), **acked)
case("generation", message(GET_GEN, 0, 1), message(GET_GEN, ACK, 2))
case("several", message(GET_GEN, ACK, 1) + message(NFTABLES | 99, 0, 2) + message(GET_GEN, ACK, 3))
case("outside of a batch", new("x", ACK), **acked)
case("outside of a batch, dump bits", table(NEW_TABLE, "x", 0x300, 3))
case("empty dump", message(GET_TABLE, DUMP | ACK, 4, family=0))

case("batch", batch(new("a"), new("b", ACK, 2)))
case("acknowledged all over", begin(flags=ACK) + new("c", ACK, 1) + end(flags=ACK))
case("dump", message(GET_TABLE, DUMP, 5, family=0))
case("excl", batch(new("a", EXCL | ACK, 7)), **acked)
case("excl capped", batch(new("a", EXCL | ACK, 7)), **capped)
case("excl plain", batch(new("a", EXCL | ACK, 7)))
case("again", batch(new("a", ACK, 7)))
case("missing", batch(delete("none", 0, 8)), **acked)
case("several faults", batch(new("d", ACK, 1), delete("none", 0, 2), new("a", EXCL, 3), new("e", ACK, 4)), **acked)
case("nothing of it stays", batch(delete("d", ACK, 1)), batch(delete("e", ACK, 1)))
case("faulty and acknowledged", begin(flags=ACK) + delete("none", 0, 2) + end(flags=ACK))
case("empty", begin() + end(), begin(flags=ACK) + end(flags=ACK))
case("no end", begin() + new("f", ACK, 1), begin() + delete("none", ACK, 1), begin(flags=ACK))
case("no end stays", batch(delete("f", ACK, 1)))
case("not a request inside", begin() + new("g") + message(NEW_TABLE, NEW, 3, attr(1, b"h\0"), request=0) + end())
case("control inside", batch(message(3, 0, 2), message(1, ACK, 3)))
case("other subsystem inside", batch(message(0x0100, ACK, 2), message(0x0b00, 0, 3)))
case("unknown command inside", batch(message(NFTABLES | 99, 0, 2)))
case("begin twice", begin() + new("i", ACK, 1) + begin(seq=5) + end())
case("broken inside", begin() + new("i", ACK, 1) + struct.pack("=IHHII", 5, NEW_TABLE, REQUEST, 1, 0) + end())
case("broken behind", begin() + new("i", ACK, 1) + struct.pack("=IHHII", 500, NEW_TABLE, REQUEST, 1, 0))
case("bare inside", begin() + new("i", ACK, 1) + struct.pack("=IHHII", 16, NEW_TABLE, REQUEST, 1, 0) + end())
case("cut off behind", begin() + new("i", ACK, 1) + b"\0" * 12)
case("nothing of those stays", batch(delete("i", ACK, 1)))
case("behind the end", begin() + new("j", ACK, 1) + end() + new("k", ACK, 2) + end(flags=ACK))
case("behind the end stays", batch(delete("j", ACK, 1)), batch(delete("k", ACK, 1)))
case("subsystem of a batch", begin(res_id=13) + end(), begin(res_id=0xff00) + end(), begin(res_id=10 << 8, flags=ACK) + end())
case("subsystem without batches", begin(res_id=1) + new("l", ACK) + end())
case("begin without nfgenmsg", struct.pack("=IHHII", 16, BATCH_BEGIN, REQUEST | ACK, 1, 0))
case("wrong generation", begin(body=attr(1, struct.pack(">I", 0x7fffffff))) + new("m", ACK) + end(), **acked)
case("no generation", begin(body=attr(1, struct.pack(">I", 0))) + new("m", ACK) + end())
case("short generation", begin(body=attr(1, b"\0\1")) + new("m", ACK) + end())
case("begin is no request", struct.pack("=IHHII", 20, BATCH_BEGIN, ACK, 1, 0) + struct.pack(">BBH", 0, 0, 10) + new("n", ACK) + end())
case("end in the middle of messages", message(GET_GEN, 0, 1) + end(flags=ACK))
case("begin in the middle of messages", message(GET_GEN, 0, 1) + begin() + new("o", ACK, 3) + end())

case("echo", batch(new("p", ECHO_FLAG | ACK, 1)))
case("echo to a member", batch(new("q", ECHO_FLAG, 1)), groups=1 << (GROUP - 1))

one, two = (socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) for _ in range(2))
address("not bound", one.getsockname)
one.bind((0, 0))
address("first", lambda: one.getsockname()[0] == os.getpid())
address("taken", lambda: two.bind((os.getpid(), 0)))
two.bind((0, 0))
address("second", lambda: two.getsockname()[0] > 1 << 31)
address("bound again to any", lambda: two.bind((0, 0)))
address("bound again to another", lambda: two.bind((4, 0)))
address("bound again to the same", lambda: two.bind((two.getsockname()[0], 0)))
address("groups", lambda: two.bind((two.getsockname()[0], 0x41)))
address("groups are", lambda: two.getsockname()[1])
for group in (0, 3, 32, 33, 64, 65):
    address(f"join {group}", lambda: two.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group))
address("groups are", lambda: two.getsockname()[1] & 0x7fffffff)
address("bind again", lambda: two.bind((two.getsockname()[0], 0x2)))
address("groups are", lambda: two.getsockname()[1] & 0x7fffffff)
for option in range(15):
    address(f"option {option}", lambda: option in (1, 2, 6, 7, 8) or two.setsockopt(SOL_NETLINK, option, 1))
    address(f"option {option}", lambda: option in (9,) or two.getsockopt(SOL_NETLINK, option))
address("other level", lambda: two.setsockopt(socket.IPPROTO_TCP, 1, 1))
address("peer", two.getpeername)
address("to somebody", lambda: two.sendto(b"\0" * 20, (77777, 0)))
address("connect", lambda: two.connect((0, 0)))
