"""nf_tables messages by hand, for the scripts beside this one. Numbers are those of linux/netfilter/nf_tables.h."""

import errno
import os
import socket
import struct
import sys

NETLINK_NETFILTER = 12
REQUEST, MULTI, ACK, ECHO, DUMP = 1, 2, 4, 8, 0x300
REPLACE, EXCL, CREATE, APPEND, NONREC = 0x100, 0x200, 0x400, 0x800, 0x100
ERROR, DONE, BEGIN, END = 2, 3, 0x10, 0x11
IP, INET = 2, 1

NAMES = """NEWTABLE GETTABLE DELTABLE NEWCHAIN GETCHAIN DELCHAIN NEWRULE GETRULE DELRULE NEWSET GETSET DELSET NEWSETELEM
GETSETELEM DELSETELEM NEWGEN GETGEN TRACE NEWOBJ GETOBJ DELOBJ GETOBJ_RESET NEWFLOWTABLE GETFLOWTABLE DELFLOWTABLE
GETRULE_RESET DESTROYTABLE DESTROYCHAIN DESTROYRULE DESTROYSET DESTROYSETELEM DESTROYOBJ DESTROYFLOWTABLE
GETSETELEM_RESET""".split()
globals().update({name: number for number, name in enumerate(NAMES)})


def attr(kind, data):
    """An attribute: of bytes, text, a number of 32 bits, or (nested) a list of attributes."""
    if isinstance(data, str):
        data = data.encode() + b"\0"
    elif isinstance(data, int):
        data = struct.pack(">I", data)
    elif isinstance(data, list):
        kind, data = kind | 0x8000, b"".join(data)
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def u64(number):
    return struct.pack(">Q", number)


def message(command, *attrs, flags=0, family=IP, seq=1):
    body = struct.pack(">BBH", family, 0, 0) + b"".join(attrs)
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | command, flags | REQUEST, seq, 0) + body


def limits(kind, seq):
    return struct.pack("=IHHII", 20, kind, REQUEST, seq, 0) + struct.pack(">BBH", 0, 0, 10)


def batch(*messages):
    return limits(BEGIN, 0) + b"".join(messages) + limits(END, 99)


def parse(data):
    """Kind, flags, sequence number and body of each message."""
    while len(data) >= 16:
        length, kind, flags, seq, _ = struct.unpack_from("=IHHII", data)
        yield kind, flags, seq, data[16:length]
        data = data[(length + 3) & ~3:]


def attributes(data):
    """Type and bytes of each attribute; None where the bytes are no attributes."""
    found = []
    while data:
        if len(data) < 4:
            return None
        length, kind = struct.unpack_from("=HH", data)
        if length < 4 or length > len(data):
            return None
        found.append((kind if kind < 0x8000 else f"nested {kind & 0x3fff}", data[4:length]))
        data = data[(length + 3) & ~3:]
    return found


def text(attrs):
    """Attributes in text; those whose bytes can be attributes in brackets."""
    parts = []
    for kind, data in attrs:
        inside = attributes(data) if data else None
        parts.append(f"{kind}={data.hex() if inside is None else '{' + text(inside) + '}'}")
    return " ".join(parts)


def connect(groups=0):
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, groups))
    sock.setsockopt(270, 11, 1)
    return sock


def datagrams(sock):
    """What lies in the socket, without waiting; an error by its name."""
    while True:
        try:
            yield sock.recv(1 << 20, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                yield errno.errorcode[error.errno]
            return


def bodies(sock):
    """Name and body of each message of a dump."""
    for data in datagrams(sock):
        for kind, _, _, body in parse(data):
            if kind == ERROR:
                sys.exit(f"error {struct.unpack_from('=i', body)[0]}")
            if kind != DONE:
                yield NAMES[kind & 0xff], body


def answers(sock):
    """What lies in the socket, in text."""
    for data in datagrams(sock):
        if isinstance(data, str):
            yield data
            continue
        for kind, flags, seq, body in parse(data):
            if kind == ERROR:
                code = struct.unpack_from("=i", body)[0]
                name = errno.errorcode.get(-code, code) if code else "ack"
                # Behind the request's header, or the whole request: what the extended acknowledgement says.
                used = 20 if flags & 0x100 else 4 + struct.unpack_from("=I", body, 4)[0]
                attrs = attributes(body[(used + 3) & ~3:]) if flags & 0x200 else []
                # Only where the fault is: words and policies are the kernel's own.
                said = text([attr for attr in attrs if attr[0] == 2])
                yield f"{seq} {name} {said}"
            elif kind == DONE:
                yield f"{seq} done"
            else:
                yield f"{seq} {NAMES[kind & 0xff]} flags {flags:#x} family {body[0]} {text(attributes(body[4:]))}"
