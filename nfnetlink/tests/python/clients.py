"""Programs as they use netlink, run with the preload library against the toy server: clients.py NAME."""

import array
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nl import *


def fails(expected, function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        assert error.errno == expected, f"{errno.errorcode[error.errno]} instead of {errno.errorcode[expected]}"
    else:
        assert False, f"no {errno.errorcode[expected]}"


def ask(sock, seq=1, text=b"hello"):
    sock.send(message(ECHO, 0, seq, attr(1, text)))
    data, address = sock.recvfrom(65536, socket.MSG_DONTWAIT)
    [(kind, _, got, pid, body)] = parse(data)
    assert (kind, got, pid) == (ECHO, seq, sock.getsockname()[0]), (kind, got, pid)
    assert body[8:8 + len(text)] == text and address == (0, 0), (body, address)


def answers_are_there_when_send_returns():
    sock = open_socket()
    for seq in range(200):
        ask(sock, seq)
    sock.setblocking(False)
    for seq in range(200):
        ask(sock, seq)
    fails(errno.EAGAIN, sock.recv, 100)


def addresses_and_options():
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    assert sock.getsockname() == (0, 0)
    sock.bind((0, 0))
    assert sock.getsockname() == (os.getpid(), 0)
    second = open_socket()
    assert second.getsockname()[0] not in (0, os.getpid())
    third = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_NETFILTER)
    fails(errno.EADDRINUSE, third.bind, (os.getpid(), 0))
    third.bind((12345, 1 << (GROUP - 1)))
    assert third.getsockname() == (12345, 1 << (GROUP - 1))
    fails(errno.EINVAL, third.bind, (12346, 0))
    sock.close()
    fourth = open_socket()
    assert fourth.getsockname() == (os.getpid(), 0), "a port id is free again"
    # Unbound, a send binds.
    fifth = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    ask(fifth)
    assert fifth.getsockname()[0] != 0
    assert fifth.getpeername() == (0, 0)
    fifth.connect((0, 0))
    for option in (PKTINFO, NO_ENOBUFS, CAP_ACK, EXT_ACK):
        assert fifth.getsockopt(SOL_NETLINK, option) == 0
        fifth.setsockopt(SOL_NETLINK, option, 1)
        assert fifth.getsockopt(SOL_NETLINK, option) == 1
    fails(errno.ENOPROTOOPT, fifth.setsockopt, SOL_NETLINK, 99, 1)
    fails(errno.EINVAL, fifth.setsockopt, SOL_NETLINK, ADD_MEMBERSHIP, 77)
    fifth.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, GROUP)
    assert fifth.getsockopt(SOL_NETLINK, LIST_MEMBERSHIPS) == 1 << (GROUP - 1)
    fifth.setsockopt(SOL_NETLINK, DROP_MEMBERSHIP, GROUP)
    assert fifth.getsockopt(SOL_NETLINK, LIST_MEMBERSHIPS) == 0
    assert fifth.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_NETLINK
    assert fifth.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == NETLINK_NETFILTER
    assert third.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF, SO_RCVBUFFORCE):
        fifth.setsockopt(socket.SOL_SOCKET, option, 100000)
    assert fifth.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 200000
    # Another process is nobody's to reach through the server.
    fails(errno.ECONNREFUSED, fifth.sendto, b"x" * 20, (1, 0))


def poll_select_and_epoll_wait_for_answers():
    sock, other = open_socket(), open_socket(groups=1 << (GROUP - 1))
    poll, epoll = select.poll(), select.epoll()
    poll.register(other, select.POLLIN)
    epoll.register(other, select.EPOLLIN)
    assert not poll.poll(0) and not epoll.poll(0) and not select.select([other], [], [], 0)[0]
    sock.send(message(SHOUT, 0, 1, numbers(1, 10, GROUP)))
    assert select.select([other], [], [], 0)[0] and poll.poll(0) and epoll.poll(0)
    data, address = other.recvfrom(65536)
    assert address == (0, 1 << (GROUP - 1)), "the group is told"
    assert not poll.poll(0)


def every_way_to_send_and_receive():
    sock = open_socket()
    ping = message(ECHO, 0, 1, attr(1, b"abcd"))
    whole = struct.calcsize("=IHHIIBBH") + 8
    views = [ping[:10], ping[10:]]
    for send in (lambda: sock.send(ping), lambda: sock.sendto(ping, (0, 0)), lambda: sock.sendmsg(views),
                 lambda: os.write(sock.fileno(), ping), lambda: os.writev(sock.fileno(), views)):
        assert send() == len(ping)
        assert sock.recv(65536, socket.MSG_DONTWAIT)[24:] == b"abcd"
    parts = [bytearray(10), bytearray(100)]
    for receive in (lambda: sock.recv(65536), lambda: sock.recvfrom(65536)[0], lambda: sock.recvmsg(65536)[0],
                    lambda: os.read(sock.fileno(), 65536),
                    lambda: bytes(parts[0] + parts[1])[:sock.recvmsg_into(parts)[0]] and bytes(parts[0] + parts[1])[:whole],
                    lambda: os.readv(sock.fileno(), parts) and bytes(parts[0] + parts[1])[:whole]):
        sock.send(ping)
        assert receive()[24:] == b"abcd"


def peek_and_truncation():
    sock = open_socket()
    sock.send(message(ECHO, 0, 1, attr(1, b"x" * 1000)))
    length = 20 + 1004
    buffer = bytearray(100)
    assert sock.recv_into(buffer, 100, socket.MSG_PEEK | socket.MSG_TRUNC | socket.MSG_DONTWAIT) == length
    assert sock.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC) == length
    assert len(sock.recv(65536, socket.MSG_PEEK)) == length
    data, _, flags, _ = sock.recvmsg(100)
    assert len(data) == 100 and flags == socket.MSG_TRUNC, "the rest is gone"
    fails(errno.EAGAIN, sock.recv, 10, socket.MSG_DONTWAIT)
    sock.send(message(ECHO, 0, 1, attr(1, b"x" * 1000)))
    assert sock.recv_into(buffer, 100, socket.MSG_TRUNC) == length
    # What is told beside the data.
    sock.setsockopt(SOL_NETLINK, PKTINFO, 1)
    sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, GROUP)
    sock.send(message(SHOUT, 0, 1, numbers(1, 10, GROUP)))
    _, control, flags, address = sock.recvmsg(100, 100)
    assert control == [(SOL_NETLINK, PKTINFO, struct.pack("=I", GROUP))] and flags == 0, control
    assert address == (0, 1 << (GROUP - 1))


def dumps_do_not_end_early():
    """More than a socket's buffer holds, read without ever waiting."""
    sock = open_socket()
    sock.setblocking(False)
    for size in (4096, 65536):
        for count in (0, 1, 20000):
            sock.send(message(MANY, DUMP, 3, numbers(count, 100)))
            got, datagrams = 0, 0
            while True:
                data = sock.recv(size)
                datagrams += 1
                messages = list(parse(data))
                got += len(messages)
                if messages[-1][0] == DONE:
                    break
            assert got == count + 1, (got, count)
            fails(errno.EAGAIN, sock.recv, 100)
    assert datagrams < 120, f"{datagrams} datagrams: a large buffer is not used"
    # Another client is served while a dump waits for its reader.
    sock.send(message(MANY, DUMP, 3, numbers(1000000, 100)))
    other = open_socket()
    ask(other)
    # And the reader's own requests are answered in between.
    sock.send(message(REFUSED_COMMAND, ACK, 4))
    sock.send(message(MANY, DUMP, 5, numbers(1, 1)))
    errors = {}
    while len(errors) < 2:
        for kind, _, seq, _, body in parse(sock.recv(65536)):
            if kind == ERROR:
                errors[seq] = -struct.unpack_from("=i", body)[0]
    assert errors == {4: errno.EINVAL, 5: errno.EBUSY}, errors


REFUSED_COMMAND = NFTABLES | 99


def more_answers_than_the_buffer_holds():
    sock = open_socket()
    sock.setblocking(False)
    sock.send(message(FLOOD, ACK, 1, numbers(20000, 10)))
    got = [next(parse(sock.recv(4096))) for _ in range(20001)]
    assert got[-1][0] == ERROR and all(kind == FLOOD for kind, *_ in got[:-1])
    fails(errno.EAGAIN, sock.recv, 100)


def large_batches():
    sock = open_socket()
    names = [table(NEW_TABLE, f"table-{n}", CREATE) for n in range(3000)]
    sock.send(batch(*names))
    assert drain(sock) == []
    # 16 MiB, most of it messages of which the toy forgets the contents.
    filler = message(NFTABLES | 12, 0, 5, attr(1, b"x\0") + attr(2, b"e" * 60000))
    large = batch(*[filler] * 280, table(DEL_TABLE, "none", 0, 77))
    assert sock.send(large) == len(large) and len(large) > 16 << 20
    [data] = drain(sock)
    [(kind, _, seq, _, body)] = parse(data)
    assert (kind, seq, struct.unpack_from("=i", body)[0]) == (ERROR, 77, -errno.ENOENT)
    # In many small parts, too.
    parts = [large[start:start + 4096] for start in range(0, 4 << 20, 4096)]
    assert sock.sendmsg(parts) == 4 << 20
    assert os.writev(sock.fileno(), parts[:300]) == 300 * 4096


def too_large_is_refused():
    """The test's server takes 64 MiB."""
    sock = open_socket()
    fails(errno.EMSGSIZE, sock.send, bytes(65 << 20))
    ask(sock)


def drain_slowly(sock):
    """What comes until nothing came for a while. Events are sent on as they are read, beside what else the server does."""
    got = []
    while select.select([sock], [], [], 0.3)[0]:
        got += drain(sock)
    return got


def events_are_lost_loudly_and_come_again():
    speaker = open_socket()
    for quiet in (0, 1):
        listener = open_socket(groups=1 << (GROUP - 1))
        listener.setblocking(False)
        listener.setsockopt(SOL_NETLINK, NO_ENOBUFS, quiet)
        speaker.send(message(SHOUT, 0, 1, numbers(5000, 1000, GROUP)))
        got = drain_slowly(listener)
        assert 50 < len(got) < 2000, len(got)
        assert got.count("ENOBUFS") == 1 - quiet, got.count("ENOBUFS")
        seqs = [next(parse(data))[2] for data in got if data != "ENOBUFS"]
        assert seqs == list(range(len(seqs))), "up to the loss, all in order"
        speaker.send(message(SHOUT, 0, 1, numbers(3, 1000, GROUP)))
        assert len(drain_slowly(listener)) == 3
        listener.close()
    # A larger receive buffer holds more.
    listener = open_socket(groups=1 << (GROUP - 1))
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    speaker.send(message(SHOUT, 0, 1, numbers(5000, 1000, GROUP)))
    listener.settimeout(5)
    for n in range(5000):
        assert next(parse(listener.recv(65536)))[2] == n
    # Looked at, a loss is told once as well.
    speaker.send(message(SHOUT, 0, 1, numbers(20000, 1000, GROUP)))
    listener.setblocking(False)
    while True:
        select.select([listener], [], [], 5)
        try:
            listener.recv(10, socket.MSG_PEEK)
        except OSError as error:
            assert error.errno == errno.ENOBUFS
            break
        listener.recv(65536)
    assert drain_slowly(listener) == []


def echo_comes_to_who_asked():
    sock = open_socket()
    sock.send(batch(table(NEW_TABLE, "echoed", CREATE | ECHO_FLAG | ACK, 9)))
    kinds = [next(parse(data))[0] for data in drain(sock)]
    assert kinds == [NEW_TABLE, ERROR], kinds


def other_families_are_untouched():
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    route.bind((0, 0))
    route.send(struct.pack("=IHHIIBxHiII", 32, 18, REQUEST | DUMP, 1, 0, 0, 0, 0, 0, 0))
    assert next(parse(route.recv(65536)))[0] == 16, "RTM_NEWLINK"
    a, b = socket.socketpair()
    a.send(b"x" * 100)
    assert b.recv(1000) == b"x" * 100
    copy = os.dup(a.fileno())
    os.write(copy, b"y")
    assert os.read(b.fileno(), 10) == b"y"
    read, write = os.pipe()
    os.write(write, b"z")
    assert os.read(read, 1) == b"z"


def duplicates_share_the_socket():
    sock = open_socket()
    fd = os.dup(sock.fileno())
    copy = socket.socket(fileno=fd)
    assert copy.family == socket.AF_NETLINK and copy.proto == NETLINK_NETFILTER
    ask(copy)
    # A dump begun on one is waited for on the other.
    sock.send(message(MANY, DUMP, 3, numbers(20000, 100)))
    copy.setblocking(False)
    while [kind for kind, *_ in parse(copy.recv(65536))][-1] != DONE:
        pass
    sock.close()
    ask(copy)
    target = os.open("/dev/null", os.O_RDONLY)
    os.dup2(copy.fileno(), target)
    ask(socket.socket(fileno=target))
    third = os.open("/dev/null", os.O_RDONLY)
    kept = copy.fileno()
    os.dup2(third, kept)
    assert os.read(kept, 10) == b"", "it is /dev/null now"


def closed_behind_our_back():
    """A number that was ours, closed by a direct system call, and given to something else."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    sock = open_socket()
    fd = sock.detach()
    libc.syscall(3, fd)  # close on x86-64
    read, write = os.pipe()
    assert fd in (read, write)
    os.write(write, b"0123456789abcdef")
    assert os.read(read, 100) == b"0123456789abcdef"


def fork_and_threads():
    sock = open_socket()
    child = os.fork()
    if child == 0:
        # The child's own socket has the child's number; the parent's is shared.
        own = open_socket()
        assert own.getsockname()[0] == os.getpid()
        ask(own)
        ask(sock)
        own.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ask(sock)
    # vfork (Python's subprocess) closes everything in the child, on the parent's memory.
    assert subprocess.run(["true"], close_fds=True).returncode == 0
    ask(sock)

    failures = []

    def work(n):
        try:
            own = open_socket()
            for seq in range(300):
                ask(own, seq, bytes([65 + n]) * 50)
            own.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures, failures

    # One socket, a thread that waits and one that asks.
    got = []
    reader = threading.Thread(target=lambda: [got.append(sock.recv(65536)) for _ in range(300)])
    reader.start()
    for seq in range(300):
        sock.send(message(ECHO, 0, seq, attr(1, b"x")))
    reader.join()
    assert [next(parse(data))[2] for data in got] == list(range(300))


def signals_do_not_interrupt_a_request():
    ticks = []
    signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    sock = open_socket()
    for seq in range(1000):
        ask(sock, seq)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert ticks


def many_sockets():
    """1,000 of them, half of which are told things and never read."""
    sockets = [open_socket(groups=(1 << (GROUP - 1)) * (n % 2)) for n in range(1000)]
    assert len({sock.getsockname()[0] for sock in sockets}) == 1000
    for sock in sockets[:1000:50]:
        ask(sock)
    sockets[0].send(message(SHOUT, 0, 1, numbers(1000, 1000, GROUP)))
    sockets[0].send(message(MANY, DUMP, 1, numbers(1000000, 1000)))
    started = time.monotonic()
    for sock in sockets[2:200:2]:
        ask(sock)
    assert time.monotonic() - started < 5
    [sock.close() for sock in sockets]
    ask(open_socket())


def dies_at_once():
    """Ends with a dump begun, events waiting, and a batch without an end."""
    sock = open_socket(groups=1 << (GROUP - 1))
    sock.send(message(SHOUT, 0, 1, numbers(10, 1000, GROUP)))
    sock.send(message(MANY, DUMP, 1, numbers(1000000, 1000)))
    sock.send(begin() + table(NEW_TABLE, "half", CREATE))
    os.kill(os.getpid(), signal.SIGKILL)


def dies_while_sending():
    sock = open_socket()
    filler = message(NFTABLES | 12, 0, 5, attr(1, b"x\0") + attr(2, b"e" * 60000))
    print("sending", flush=True)
    while True:
        sock.send(begin() + filler * 100)


def is_turned_away():
    fails(errno.ECONNREFUSED, socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)


def is_not_permitted():
    sock = open_socket()
    sock.send(message(GET_TABLE, DUMP, 1))
    [(kind, _, seq, _, body)] = parse(sock.recv(4096, socket.MSG_DONTWAIT))
    assert (kind, struct.unpack_from("=i", body)[0]) == (ERROR, -errno.EPERM)
    fails(errno.EPERM, sock.setsockopt, SOL_NETLINK, ADD_MEMBERSHIP, GROUP)


def loses_its_server():
    sock = open_socket(groups=1 << (GROUP - 1))
    print("ready", flush=True)
    sys.stdin.readline()
    fails(errno.ECONNRESET, sock.recv, 100)
    fails(errno.ECONNREFUSED, sock.send, message(ECHO))
    fails(errno.ECONNREFUSED, sock.send, bytes(1 << 20))
    fails(errno.ECONNREFUSED, socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)


def measure():
    """Microseconds for a request and its answer, and milliseconds for a batch of 100,000 set elements; best and median."""
    sock = open_socket()
    request = message(GET_GEN, 0, 1)

    def timed(function, times):
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            function()
            taken.append(time.perf_counter() - started)
        taken.sort()
        return taken[0], taken[len(taken) // 2]

    def round_trip():
        sock.send(request)
        sock.recv(4096, socket.MSG_DONTWAIT)

    best, median = timed(round_trip, 5000)
    print(f"round trip: best {best * 1e6:.1f} us, median {median * 1e6:.1f} us")
    if "TWINWALL_NFNL" not in os.environ:
        return  # The kernel takes no elements for a set that is not there.
    element = attr(1, attr(1 | 0x8000, attr(1 | 0x8000, attr(1, b"1234"))))
    elements = attr(3 | 0x8000, element * 1800)
    filler = message(NFTABLES | 12, 0, 5, attr(1, b"x\0") + attr(2, b"s\0") + elements)
    large = batch(*[filler] * 56)
    best, median = timed(lambda: sock.send(large), 20)
    print(f"batch of 100,800 elements, {len(large)} bytes: best {best * 1e3:.2f} ms, median {median * 1e3:.2f} ms")


globals()[sys.argv[1]]()
