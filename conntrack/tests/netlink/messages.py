# Messages by hand: what the socket answers, without what differs at each run. Prints the same against the kernel and against us.
import socket, struct

s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
s.settimeout(0.25)
ACK, CREATE, EXCL, REPLACE, DUMP, NEST = 4, 0x400, 0x200, 0x100, 0x300, 0x8000
seq = 0


def a(kind, data):
    n = 4 + len(data)
    return struct.pack("=HH", n, kind) + data + b"\0" * (-n % 4)


def u8(kind, value): return a(kind, bytes([value]))
def u16(kind, value): return a(kind, struct.pack(">H", value))
def u32(kind, value): return a(kind, struct.pack(">I", value))


def tup(kind, src, dst, proto, sport, dport, zone=None):
    ip = a(1 | NEST, a(1, socket.inet_aton(src)) + a(2, socket.inet_aton(dst)))
    ports = a(2 | NEST, u8(1, proto) + u16(2, sport) + u16(3, dport))
    return a(kind | NEST, ip + ports + (u16(3, zone) if zone is not None else b""))


def both(host, port, proto=17):
    return tup(1, host, "2.2.2.2", proto, 1, port) + tup(2, "2.2.2.2", host, proto, port, 1)


def attrs(data):
    out = []
    while len(data) >= 4:
        n, kind = struct.unpack("=HH", data[:4])
        # Ids, times, users, and the synproxy's numbers, which the kernel shows as zeros where there is none.
        if kind & 0x3fff not in (7, 11, 12, 20, 24):
            out.append("%x:%s" % (kind, data[4:n].hex()))
        data = data[n + 3 & ~3:]
    return " ".join(out)


def ask(name, command, flags, family, body=b"", version=0, sub=1):
    global seq
    seq += 1
    head = struct.pack("=IHHII", 20 + len(body), sub << 8 | command, flags | 1, seq, 0)
    s.send(head + bytes([family, version, 0, 0]) + body)
    answers, done = [], None
    while done is None:
        try:
            data = s.recv(65536)
        except socket.timeout:
            done = "silence"
            break
        while len(data) >= 16:
            n, kind, flags, number, _ = struct.unpack("=IHHII", data[:16])
            assert number == seq, (number, seq)
            if kind == 2:
                done = "errno %d" % -struct.unpack("=i", data[16:20])[0]
            elif kind == 3:
                done = "done"
            else:
                answers.append("  %x/%x %s %s" % (kind, flags, data[16:18].hex(), attrs(data[20:n])))
            data = data[n + 3 & ~3:]
    print(name, "->", done)
    for answer in sorted(answers):
        print(answer)


T, R = tup(1, "1.1.1.1", "2.2.2.2", 17, 1, 2), tup(2, "2.2.2.2", "1.1.1.1", 17, 2, 1)
Z = tup(1, "1.1.1.1", "2.2.2.2", 17, 1, 2, zone=3)
ask("new without timeout", 0, ACK | CREATE, 2, T + R)
ask("new without create", 0, ACK, 2, T + R + u32(7, 9000))
ask("new", 0, ACK | CREATE, 2, T + R + u32(7, 9000))
ask("new again", 0, ACK | CREATE, 2, T + R + u32(7, 9000))
ask("new exclusive", 0, ACK | CREATE | EXCL, 2, T + R + u32(7, 9000))
ask("without reply", 0, ACK | CREATE, 2, tup(1, "9.1.1.1", "2.2.2.2", 17, 1, 2) + u32(7, 9000))
ask("protocols differ", 0, ACK | CREATE, 2, tup(1, "9.1.1.1", "2.2.2.2", 17, 1, 2)
    + tup(2, "2.2.2.2", "1.1.1.1", 6, 2, 1) + u32(7, 9000))
ask("not confirmed", 0, ACK | CREATE, 2, both("9.1.1.1", 2) + u32(7, 9000) + u32(3, 2))
ask("reply taken", 0, ACK | CREATE, 2, tup(1, "9.1.1.1", "2.2.2.2", 17, 1, 2) + R + u32(7, 9000))
for family in (0, 7):
    ask("family %d" % family, 0, ACK | CREATE, family, T + R + u32(7, 9000))
ask("short timeout", 0, ACK | CREATE, 2, T + R + a(7, b"\0\0"))
ask("short status", 0, ACK, 2, T + a(3, b"\0\0"))
ask("short mark", 0, ACK, 2, T + a(8, b""))
ask("short zone", 0, ACK, 2, T + a(18, b"\0"))
ask("status", 0, ACK, 2, T + u32(3, 0xa))
ask("status back", 0, ACK, 2, T + u32(3, 0x8))
ask("status dying", 0, ACK, 2, T + u32(3, 0x20a))
ask("status nat bits", 0, ACK, 2, T + u32(3, 0x3fa))
ask("get", 1, ACK, 2, T)
ask("update with nat", 0, ACK, 2, T + a(6, b""))
ask("labels of 5 bytes", 0, ACK, 2, T + a(22, b"\0" * 5))
ask("labels of 20 bytes", 0, ACK, 2, T + a(22, b"\1" * 20))
ask("mask of another length", 0, ACK, 2, T + a(22, b"\1" * 16) + a(23, b"\1" * 8))
ask("empty mask", 0, ACK, 2, T + a(22, b"") + a(23, b""))
ask("labels", 0, ACK, 2, T + a(22, bytes(range(16))))
ask("get", 1, ACK, 2, T)
ask("labels masked", 0, ACK, 2, T + a(22, b"\xf1" * 16) + a(23, b"\xf0" * 16))
ask("get", 1, ACK, 2, T)
ask("labels of 4 bytes", 0, ACK, 2, T + a(22, b"\7" * 4))
ask("get", 1, ACK, 2, T)
ask("labels of 8 bytes masked", 0, ACK, 2, T + a(22, b"\x70" * 8) + a(23, b"\xf0" * 8))
ask("get", 1, ACK, 2, T)
ask("no labels", 0, ACK, 2, T + a(22, b""))
ask("get", 1, ACK, 2, T)
ask("helper without name", 0, ACK, 2, T + a(5, b""))
ask("helper of no name", 0, ACK, 2, T + a(5, a(1, b"\0")))
ask("helper of a long name", 0, ACK, 2, T + a(5, a(1, b"a" * 16 + b"\0")))
ask("helper unknown", 0, ACK, 2, T + a(5, a(1, b"nothing\0")))
ask("new with unknown helper", 0, ACK | CREATE, 2, both("9.1.1.1", 3) + u32(7, 9) + a(5, a(1, b"nothing\0")))
ask("master", 0, ACK, 2, T + tup(14, "1.1.1.1", "2.2.2.2", 17, 1, 2))
ask("mark", 0, ACK, 2, T + u32(8, 0x1234))
ask("mark masked", 0, ACK, 2, T + u32(8, 0x1200) + u32(21, 0xff0))
ask("mask alone", 0, ACK, 2, T + u32(21, 0xff0))
ask("get", 1, ACK, 2, T)
ask("fixed", 0, ACK, 2, T + u32(3, 0x40a))
ask("fixed timeout", 0, ACK, 2, T + u32(7, 8000))
ask("get nothing", 1, ACK, 2)
ask("get reversed", 1, ACK, 2, tup(1, "2.2.2.2", "1.1.1.1", 17, 2, 1))
ask("get by reply", 1, ACK, 2, R)
ask("get in another zone", 1, ACK, 2, T + u16(18, 3))
ask("get in two zones", 1, ACK, 2, Z + u16(18, 3))
ask("get what is not there", 1, ACK, 2, tup(1, "9.9.9.9", "2.2.2.2", 17, 1, 2))
ask("get without ports", 1, ACK, 2, a(1, a(1, a(1, b"\1\1\1\1") + a(2, b"\1\1\1\1")) + a(2, u8(1, 6))))
ask("get without addresses", 1, ACK, 2, a(1, a(2, u8(1, 6))))
ask("get without protocol", 1, ACK, 2, a(1, a(1, a(1, b"\1\1\1\1") + a(2, b"\1\1\1\1")) + a(2, b"")))
ask("get with a short address", 1, ACK, 2, a(1, a(1, a(1, b"\1\1\1") + a(2, b"\1\1\1\1")) + a(2, u8(1, 99))))
for kind in (1, 2, 4, 5, 6, 13, 14, 15, 16, 25):
    ask("nest of two bytes %d" % kind, 0, ACK, 2, T + a(kind, b"\0\0"))
ask("tuple with a short nest", 1, ACK, 2, a(1, a(1, b"\0") + a(2, u8(1, 6))))
ask("tuple with a short protocol", 1, ACK, 2, a(1, a(1, a(1, b"\1\1\1\1") + a(2, b"\1\1\1\1")) + a(2, b"\0\0\0")))
ask("tuple with a short zone", 1, ACK, 2, a(1 | NEST, T[4:] + a(3, b"\0")))
ask("delete with another id", 2, ACK, 2, T + u32(12, 1))
for command in (4, 6, 7, 8, 9):
    ask("command %d" % command, command, ACK, 2)
ask("dying", 6, DUMP, 2)
ask("unconfirmed", 7, DUMP, 2)
ask("orig zone", 0, ACK | CREATE, 2, Z + tup(2, "2.2.2.2", "1.1.1.1", 17, 2, 3) + u32(7, 9000))
ask("reply zone", 0, ACK | CREATE, 2, tup(1, "1.1.1.1", "2.2.2.2", 17, 1, 4)
    + tup(2, "2.2.2.2", "1.1.1.1", 17, 4, 1, zone=3) + u32(7, 9000))
ask("both zones", 0, ACK | CREATE, 2, tup(1, "1.1.1.1", "2.2.2.2", 17, 1, 5, zone=3)
    + tup(2, "2.2.2.2", "1.1.1.1", 17, 5, 1, zone=3) + u32(7, 9000))
ask("get in a zone of one direction", 1, ACK, 2, Z)
ask("get the other direction in it", 1, ACK, 2, tup(1, "2.2.2.2", "1.1.1.1", 17, 2, 3, zone=3))
ask("get the other direction", 1, ACK, 2, tup(1, "2.2.2.2", "1.1.1.1", 17, 2, 3))


def filtered(orig, reply=0):
    return a(25 | NEST, a(1, struct.pack("=I", orig)) + a(2, struct.pack("=I", reply)))


for name, family, body in (
    ("all", 0, b""), ("family", 2, b""), ("family 10", 10, b""), ("family 7", 7, b""), ("zone 0", 0, u16(18, 0)),
    ("zone 3", 0, u16(18, 3)), ("mask alone", 0, u32(21, 3)), ("mask of a family", 2, u32(21, 3)),
    ("mark 0", 0, u32(8, 0)), ("mark", 0, u32(8, 0x1204)), ("mark masked", 0, u32(8, 4) + u32(21, 15)),
    ("status 0", 0, u32(3, 0)), ("status 8", 0, u32(3, 8)), ("status masked", 0, u32(3, 8) + u32(26, 10)),
    ("status mask alone", 2, u32(26, 10)), ("empty filter", 0, a(25 | NEST, b"")),
    ("unknown in filter", 0, a(25 | NEST, a(5, b"1234"))), ("filter without family", 0, filtered(3) + T),
    ("source", 2, filtered(1) + T), ("source of none", 2, filtered(1) + tup(1, "3.1.1.1", "2.2.2.2", 17, 1, 2)),
    ("filter without tuple", 2, filtered(1)), ("port without protocol", 2, filtered(0x11) + T),
    ("port", 2, filtered(0x39) + T), ("filter's zone", 2, filtered(4) + Z), ("and zone", 2, filtered(4) + Z + u16(18, 3)),
    ("and zone 0", 2, filtered(4) + Z + u16(18, 0)), ("source in zone", 2, filtered(1) + T + u16(18, 3)),
    ("bit that is none", 2, filtered(0x1000) + T), ("reply", 2, filtered(0, 2) + R),
):
    ask("dump " + name, 1, DUMP, family, body)

ask("zeroing", 3, DUMP, 0)
ask("get zeroing", 3, ACK, 2, T)
ask("flush by mark", 2, ACK, 2, u32(8, 1))
ask("flush by family of version 1", 2, ACK, 10, b"", 1)
ask("flush by filter", 2, ACK, 2, filtered(0x20 | 8) + tup(1, "1.1.1.1", "2.2.2.2", 17, 1, 4))
ask("dump all", 1, DUMP, 0)
ask("flush a zone", 2, ACK, 0, u16(18, 3))
ask("dump all", 1, DUMP, 0)
ask("flush whatever family", 2, ACK, 10)
ask("dump all", 1, DUMP, 0)


def protocol(state):
    return a(4, a(1, state))


for n, (name, proto, body) in enumerate((
    ("state 10", 6, protocol(u8(1, 10))), ("state 9", 6, protocol(u8(1, 9))),
    ("shift 15", 6, protocol(u8(2, 15) + u8(3, 3) + a(4, b"\1\1") + a(5, b"\1\1"))),
    ("shift 14", 6, protocol(u8(1, 3) + u8(2, 14) + u8(3, 3) + a(4, b"\1\1") + a(5, b"\1\1"))),
    ("shift of one side", 6, protocol(u8(1, 3) + u8(2, 14) + u8(3, 3) + a(4, b"\1\1"))),
    ("flags masked", 6, protocol(a(4, b"\xff\x0f") + a(5, b"\xf0\xff"))), ("short flags", 6, protocol(a(4, b"\1"))),
    ("empty", 6, a(4, b"")), ("of UDP", 17, protocol(u8(1, 10))), ("none", 6, b""),
    ("part of SCTP", 132, a(4, a(3, u8(1, 3)))), ("SCTP", 132, a(4, a(3, u8(1, 3) + u32(2, 5) + u32(3, 6)))),
    ("SCTP 8", 132, a(4, a(3, u8(1, 8) + u32(2, 5) + u32(3, 6)))),
    ("SCTP 9", 132, a(4, a(3, u8(1, 9) + u32(2, 5) + u32(3, 6)))),
)):
    flow = both("5.1.1.1", 10 + n, proto)
    ask("protocol " + name, 0, ACK | CREATE, 2, flow + u32(7, 9000) + body)
    ask("get", 1, ACK, 2, tup(1, "5.1.1.1", "2.2.2.2", proto, 1, 10 + n))
flow = tup(1, "5.1.1.1", "2.2.2.2", 6, 1, 13)
ask("protocol update", 0, ACK, 2, flow + protocol(u8(1, 5) + a(4, b"\0\1")))
ask("get", 1, ACK, 2, flow)


def address(kind, ip): return a(kind, socket.inet_aton(ip))


ask("nat short", 0, ACK | CREATE, 2, both("6.1.1.1", 1) + u32(7, 9000) + a(6, a(1, b"\1")))
ask("nat of source", 0, ACK | CREATE, 2, both("6.1.1.1", 2) + u32(7, 9000) + a(6, address(1, "9.9.9.9")))
ask("get", 1, ACK, 2, tup(1, "6.1.1.1", "2.2.2.2", 17, 1, 2))
ask("nat of destination", 0, ACK | CREATE, 2, both("6.1.1.1", 3) + u32(7, 9000)
    + a(13, address(1, "9.9.9.8") + a(3, u16(1, 77))))
ask("get", 1, ACK, 2, tup(1, "6.1.1.1", "2.2.2.2", 17, 1, 3))
ask("get by translated", 1, ACK, 2, tup(1, "9.9.9.8", "6.1.1.1", 17, 77, 1))
ask("nat of nothing", 0, ACK | CREATE, 2, both("6.1.1.1", 4) + u32(7, 9000) + a(6, b""))
ask("get", 1, ACK, 2, tup(1, "6.1.1.1", "2.2.2.2", 17, 1, 4))
for kind in (3, 13, 15, 16, 17, 18):
    icmp = lambda n, kind: a(n, a(1, address(1, "7.1.1.1") + address(2, "7.1.1.2")) + a(2, u8(1, 1) + u16(4, kind) + u8(5, kind) + u8(6, 0)))
    ask("icmp type %d" % kind, 0, ACK | CREATE, 2, icmp(1, kind) + icmp(2, kind) + u32(7, 9000))
M = b"".join(tup(kind, "1.1.1.1", "2.2.2.2", 17, 1, 2) for kind in (1, 2, 3)) + u32(4, 50)
ask("expect of nobody", 0, ACK | CREATE, 2, M, 0, 2)
ask("master", 0, ACK | CREATE, 2, T + R + u32(7, 9000))
ask("expect without create", 0, ACK, 2, M, 0, 2)
ask("expect of a master without helper", 0, ACK | CREATE, 2, M, 0, 2)
ask("expect in another zone", 0, ACK | CREATE, 2, M + u16(7, 3), 0, 2)
ask("flush", 2, ACK, 0)

X = tup(2, "1.1.1.1", "2.2.2.2", 17, 1, 2)
for command in range(5):
    ask("expect command %d" % command, command, ACK, 2, b"", 0, 2)
ask("expect dump", 1, DUMP, 2, b"", 0, 2)
ask("expect delete", 2, ACK, 2, X, 0, 2)
ask("expect get", 1, ACK, 2, X, 0, 2)
ask("expect stats", 3, DUMP, 2, b"", 0, 2)


def name(text): return a(1, text + b"\0")


U = u16(2, 2) + u8(3, 17)
ask("timeout new of nothing", 0, ACK, 0, b"", 0, 8)
ask("timeout get nothing", 1, ACK, 0, b"", 0, 8)
ask("timeout without end", 1, ACK, 0, a(1, b"abc"), 0, 8)
ask("timeout of a long name", 1, ACK, 0, name(b"a" * 32), 0, 8)
ask("timeout of 31 bytes", 1, ACK, 0, name(b"a" * 31), 0, 8)
ask("timeout new", 0, ACK | CREATE, 0, name(b"t") + U + a(4, u32(1, 3)), 0, 8)
ask("timeout again", 0, ACK | CREATE, 0, name(b"t") + U + a(4, u32(1, 3)), 0, 8)
ask("timeout exclusive", 0, ACK | CREATE | EXCL, 0, name(b"t") + U + a(4, u32(1, 3)), 0, 8)
ask("timeout replaced", 0, ACK | CREATE | REPLACE, 0, name(b"t") + U + a(4, u32(1, 4)), 0, 8)
ask("timeout of another", 0, ACK | CREATE | REPLACE, 0, name(b"t") + u16(2, 2) + u8(3, 6) + a(4, u32(1, 4)), 0, 8)
ask("timeout of defaults", 0, ACK | CREATE, 0, name(b"u") + U + a(4, b""), 0, 8)
ask("timeout of 99", 0, ACK | CREATE, 0, name(b"v") + u16(2, 2) + u8(3, 99) + a(4, b""), 0, 8)
ask("timeout short", 0, ACK | CREATE, 0, name(b"v") + U + a(4, a(1, b"\0")), 0, 8)
ask("timeout short nest", 0, ACK | CREATE, 0, name(b"v") + U + a(4, b"\0"), 0, 8)
ask("timeout short family", 0, ACK | CREATE, 0, name(b"v") + a(2, b"\0") + u8(3, 17) + a(4, b""), 0, 8)
ask("timeout unknown", 0, ACK | CREATE, 0, name(b"v") + U + a(4, u32(9, 1)), 0, 8)
ask("timeout get", 1, ACK, 0, name(b"t"), 0, 8)
ask("timeout dump", 1, DUMP, 0, b"", 0, 8)
ask("timeout delete", 2, ACK, 0, name(b"t"), 0, 8)
ask("timeout delete again", 2, ACK, 0, name(b"t"), 0, 8)
ask("timeout flush", 2, ACK, 0, b"", 0, 8)
ask("timeout dump", 1, DUMP, 0, b"", 0, 8)
ask("timeout command 5", 5, ACK, 0, b"", 0, 8)
ask("timeout default of nothing", 3, ACK, 0, U, 0, 8)
ask("timeout default get of nothing", 4, ACK, 0, u16(2, 2), 0, 8)
for proto in (1, 6, 17, 33, 47, 58, 99, 132, 136, 255):
    ask("timeout default of %d" % proto, 4, ACK, 0, u16(2, 10) + u8(3, proto), 0, 8)
print("end")
