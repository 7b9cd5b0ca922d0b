"""Prints every table, chain, rule, set, element, object and flowtable as it stands on the wire, a message to the line."""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nft import *

sock = connect()


def dump(command, *attrs, family=0):
    sock.send(message(command, *attrs, flags=DUMP, family=family))
    for line in answers(sock):
        yield line


sets = []
for command in (GETTABLE, GETCHAIN, GETRULE, GETSET, GETOBJ, GETFLOWTABLE):
    for line in dump(command):
        # A table's own handle tells how many there were before.
        if command == GETTABLE:
            line = re.sub(r"\b4=[0-9a-f]{16}", "4=", line)
        print(line)
        if command == GETSET:
            found = re.match(r"1 NEWSET family (\d+) 1=([0-9a-f]+) 2=([0-9a-f]+)", line)
            if found:
                sets.append((int(found[1]), bytes.fromhex(found[2]), bytes.fromhex(found[3])))
# The kernel's hashes are seeded at boot: the order of elements says nothing.
for family, table, name in sets:
    lines = []
    for line in dump(GETSETELEM, attr(1, table), attr(2, name), family=family):
        lines += re.sub(r" (1=\{)", r"\n \1", line).split("\n")
    print("\n".join(sorted(lines)))
