#!/usr/bin/env python3
"""Writes the seeds of fuzz_pickle: small pickles of every protocol, and each opcode at least once."""

import argparse
import collections
import decimal
import pathlib
import pickle
import pickletools

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus" / "fuzz_pickle"

SHARED = ["shared"]
VALUES = {
    "scalars": [None, True, False, 0, 255, 256, 65536, -1, 2**31, 2**63, -(2**80), 1.5, float("inf"), "é\n\\", b"\xff\0"],
    "containers": {"list": [1, [2]], "dict": {"a": {}}, 3: (), (1, 2): (1, 2, 3, 4), "set": {1}, "frozen": frozenset([2])},
    "shared": [SHARED, SHARED, (SHARED, SHARED)],
    "calls": [collections.OrderedDict(a=1), collections.Counter("aab"), collections.defaultdict(list, {1: []}),
              collections.deque([1, 2]), bytearray(b"ab\xff"), complex(1, 2), decimal.Decimal("1.5"),
              argparse.Namespace(x=1), range(3)],
    "equal_keys": {str(i): i for i in range(20)},
}

# By hand: what Python's own pickler no longer writes.
BY_HAND = {
    "python2_strings": b"\x80\x02(U\x03abcT\x02\x00\x00\x00\xff\x00S'a\\x41\\n'\nV\\u00e9x\nt.",
    "text_numbers": b"(I01\nI-12\nL123456789012345678901234567890L\nF1.5\nl.",
    "memo_text": b"(lp0\ng0\na.",
    "memo_far": b"Nr\xff\xff\xff\x7f0j\xff\xff\xff\x7f.",
    "dict_by_mark": b"(S'a'\nI1\nS'a'\nI2\nd.",
    "pops": b"N(NN1N(002\x86.",
    "newobj_ex": b"\x80\x04ca\nB\nK\x01\x85}\x8c\x01kK\x02s\x92}b.",
    "persistent": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ.",
    "ordered_python2": b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR.",
    "encode": b"c_codecs\nencode\n(X\x02\x00\x00\x00\xc3\xbfX\x06\x00\x00\x00latin1tR.",
    "wide": b"\x80\x05(\x8d\x01\x00\x00\x00\x00\x00\x00\x00a\x8e\x01\x00\x00\x00\x00\x00\x00\x00b"
            b"\x96\x01\x00\x00\x00\x00\x00\x00\x00cB\x01\x00\x00\x00d\x8b\x01\x00\x00\x00\x05t.",
    "frames": b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x01K\x02\x95\x02\x00\x00\x00\x00\x00\x00\x00\x86.",
    "laughs": b"N" + b"2\x86" * 30 + b".",
    "cycle": b"]q\x00h\x00\x85q\x01a0h\x01.",
    "refused": b"\x80\x05(P1\n.\x82\x01\x83\x01\x00\x84\x01\x00\x00\x00\x97\x98ia\nb\no",
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    seen = set()

    def write(name: str, data: bytes) -> None:
        (FOLDER / name).write_bytes(data)

    for name, value in VALUES.items():
        for protocol in range(6):
            data = pickle.dumps(value, protocol)
            seen.update(opcode.name for opcode, _, _ in pickletools.genops(data))
            write(f"{name}_{protocol}", data)
    for name, data in BY_HAND.items():
        write(name, data)
    codes = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
    by_hand = b"".join(BY_HAND.values())
    missing = [name for name, code in codes.items() if name not in seen and code not in by_hand]
    assert not missing, missing


if __name__ == "__main__":
    main()
