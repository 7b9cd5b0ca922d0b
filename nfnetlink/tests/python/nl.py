"""Netlink messages of netfilter, for the scripts beside this one."""

import errno
import os
import socket
import struct

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
ADD_MEMBERSHIP, DROP_MEMBERSHIP, PKTINFO, NO_ENOBUFS = 1, 2, 3, 5
LIST_MEMBERSHIPS, CAP_ACK, EXT_ACK = 9, 10, 11
SO_RCVBUFFORCE = 33

REQUEST, MULTI, ACK, ECHO_FLAG, DUMP = 1, 2, 4, 8, 0x300
EXCL, CREATE = 0x200, 0x400
ERROR, DONE, BATCH_BEGIN, BATCH_END = 2, 3, 0x10, 0x11

NFTABLES = 10 << 8
NEW_TABLE, GET_TABLE, DEL_TABLE, GET_GEN = NFTABLES, NFTABLES | 1, NFTABLES | 2, NFTABLES | 16
# The toy's own (tests/common/toy.rs).
ECHO, FLOOD, SHOUT, MANY = NFTABLES | 200, NFTABLES | 201, NFTABLES | 202, NFTABLES | 203
GROUP = 7


def attr(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def numbers(*values):
    return b"".join(attr(kind, struct.pack(">I", value)) for kind, value in enumerate(values, 1))


def message(kind, flags=0, seq=1, body=b"", family=2, res_id=0, request=REQUEST):
    header = struct.pack("=IHHII", 20 + len(body), kind, flags | request, seq, 0)
    return header + struct.pack(">BBH", family, 0, res_id) + body


def table(kind, name, flags=0, seq=1):
    return message(kind, flags, seq, attr(1, name.encode() + b"\0"))


def begin(seq=100, flags=0, res_id=10, body=b""):
    return message(BATCH_BEGIN, flags, seq, body, 0, res_id)


def end(seq=101, flags=0):
    return message(BATCH_END, flags, seq, b"", 0, 10)


def batch(*messages):
    return begin() + b"".join(messages) + end()


def parse(data):
    """Kind, flags, sequence number, port id and body of each message."""
    while len(data) >= 16:
        length, kind, flags, seq, pid = struct.unpack_from("=IHHII", data)
        yield kind, flags, seq, pid, data[16:length]
        data = data[(length + 3) & ~3:]


def open_socket(kind=socket.SOCK_RAW, groups=0, pid=0):
    sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
    sock.bind((pid, groups))
    return sock


def drain(sock, size=65536):
    """What lies in the socket, without waiting; errors by name."""
    datagrams = []
    while True:
        try:
            datagrams.append(sock.recv(size, socket.MSG_DONTWAIT))
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return datagrams
            datagrams.append(errno.errorcode[error.errno])
