"""Puts a tensor together again from the pieces that a manifest names."""

import itertools


def piece_bytes(piece, unit_bytes):
    """{digits: bytes} of one piece, read from the file that it names."""
    data = open(piece["storage"], "rb").read()
    begin = piece["byte_range"][0]
    first = begin + sum(-stride * (extent - 1) for _, extent, stride in piece["modes"] if stride < 0)
    for offsets in itertools.product(*(range(extent) for _, extent, _ in piece["modes"])):
        digits = tuple(mode[0] + offset for mode, offset in zip(piece["modes"], offsets))
        at = first + sum(mode[2] * offset for mode, offset in zip(piece["modes"], offsets))
        yield digits, data[at:at + unit_bytes]


def whole_bytes(pieces, unit_bytes: int) -> bytes:
    """The elements of a tensor of one term, in row-major order."""
    units = {}
    for piece in pieces:
        assert piece["on_disk"] and piece["term"] == 0
        for digits, data in piece_bytes(piece, unit_bytes):
            assert digits not in units, "two pieces hold one element"
            units[digits] = data
    return b"".join(units[digits] for digits in sorted(units))
