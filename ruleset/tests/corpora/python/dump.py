"""Prints every table, chain, rule, set, object, flowtable and element as it stands on the wire, one to the line, the table's name in
front.

What is nobody's to compare is left out: handles of tables (which tell how many there were before), the numbers of chains
without a name, what the kernel calls its kinds of sets, times that run, and the order of elements in a hash.
"""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nft import *

TABLE_HANDLE, SET_TYPE, LIST_ELEMENTS, ELEM_EXPIRATION = 4, 19, 3, 5
LEFT_OUT = {GETTABLE: {TABLE_HANDLE}, GETSET: {SET_TYPE}}
sock = connect()


def dump(command, *attrs, family=0):
    sock.send(message(command, *attrs, flags=DUMP, family=family))
    for kind, body in bodies(sock):
        yield kind, body[0], attributes(body[4:])


def show(table, *parts):
    line = re.sub(r"5f5f636861696e(3\d)+00", "__chain", " ".join(map(str, parts)))
    line = re.sub(r"(1=6c61737400 2=\{1=0+1 2=)[0-9a-f]+", r"\1", line)
    print(table[:-1].decode(), line)


sets = []
for command in (GETTABLE, GETCHAIN, GETRULE, GETSET, GETOBJ, GETFLOWTABLE):
    for kind, family, attrs in dump(command):
        show(attrs[0][1], kind, family, text([attr for attr in attrs if attr[0] not in LEFT_OUT.get(command, ())]))
        if command == GETSET:
            sets.append((family, dict(attrs)))
for family, attrs in sets:
    elements = []
    for kind, _, list in dump(GETSETELEM, attr(1, attrs[1]), attr(2, attrs[2]), family=family):
        for _, element in attributes(dict(list).get(LIST_ELEMENTS, b"")):
            elements.append(text([attr for attr in attributes(element) if attr[0] != ELEM_EXPIRATION]))
    for element in sorted(elements):
        show(attrs[1], "element of", attrs[2].hex(), element)
