"""Reads safetensors files by the format alone, to compare two of them and say where they differ."""

import json
import struct
from dataclasses import dataclass

import numpy as np

# (exponent bits, mantissa bits, unsigned numpy type) of the floats that are cast.
FLOATS = {"F64": (11, 52, np.uint64), "F32": (8, 23, np.uint32), "F16": (5, 10, np.uint16), "BF16": (8, 7, np.uint16)}


@dataclass(frozen=True)
class Entry:
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def parse(data: bytes) -> tuple[dict[str, Entry], dict]:
    """Tensors in file order, and the metadata."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    body = data[8 + size:]
    return {name: Entry(item["dtype"], tuple(item["shape"]), body[slice(*item["data_offsets"])])
            for name, item in header.items()}, metadata


def assert_same_file(actual: bytes, expected: bytes) -> None:
    """Equal byte for byte; the message names the first difference."""
    if actual == expected:
        return
    size = struct.unpack("<Q", expected[:8])[0] + 8
    assert actual[:size].decode(errors="replace") == expected[:size].decode(errors="replace"), "headers differ"
    assert len(actual) == len(expected), f"{len(actual)} bytes, expected {len(expected)}"
    ours, theirs = parse(actual)[0], parse(expected)[0]
    different = [name for name in theirs if ours[name] != theirs[name]]
    name = different[0]
    a, b = (np.frombuffer(side[name].data, np.uint8) for side in (ours, theirs))
    at = int(np.flatnonzero(a != b)[0])
    raise AssertionError(f"{len(different)} tensors differ: {different[:5]}; {name!r} {theirs[name].dtype} "
                         f"{theirs[name].shape} from byte {at}: {a[at:at + 16]} instead of {b[at:at + 16]}")


def is_nan(bits: np.ndarray, dtype: str) -> np.ndarray:
    exponent, mantissa, _ = FLOATS[dtype]
    ones = ((1 << exponent) - 1) << mantissa
    return ((bits & ones) == ones) & ((bits & ((1 << mantissa) - 1)) != 0)


def cast_nans(bits: np.ndarray, source: str, target: str) -> np.ndarray:
    """The NaNs `bits` of `source` as a cast must give them: sign and leading payload bits kept, quiet.

    bf16 to f32 is a shift, so a signalling NaN stays one there.
    """
    if source == target:
        return bits
    from_exponent, from_mantissa, _ = FLOATS[source]
    exponent, mantissa, kind = FLOATS[target]
    bits = bits.astype(np.uint64)
    sign = (bits >> np.uint64(from_exponent + from_mantissa)) << np.uint64(exponent + mantissa)
    payload = bits & np.uint64((1 << from_mantissa) - 1)
    shift = mantissa - from_mantissa
    payload = payload << np.uint64(shift) if shift >= 0 else payload >> np.uint64(-shift)
    quiet = np.uint64(0 if (source, target) == ("BF16", "F32") else 1 << (mantissa - 1))
    ones = np.uint64(((1 << exponent) - 1) << mantissa)
    return (sign | ones | payload | quiet).astype(kind)


def assert_same_cast(actual: bytes, expected: bytes, original: bytes) -> None:
    """`actual` equals torch's cast `expected` but for NaNs, which follow `cast_nans` of `original`."""
    ours, theirs, before = parse(actual)[0], parse(expected)[0], parse(original)[0]
    assert list(ours) == list(theirs)
    for name, entry in theirs.items():
        mine = ours[name]
        assert (mine.dtype, mine.shape) == (entry.dtype, entry.shape), name
        source = before[name].dtype
        if source not in FLOATS or source == entry.dtype:
            assert mine.data == entry.data, name
            continue
        bits = np.frombuffer(mine.data, FLOATS[entry.dtype][2])
        wanted = np.frombuffer(entry.data, FLOATS[entry.dtype][2]).copy()
        stored = np.frombuffer(before[name].data, FLOATS[source][2])
        nans = is_nan(stored, source)
        wanted[nans] = cast_nans(stored[nans], source, entry.dtype)
        wrong = np.flatnonzero(bits != wanted)
        assert wrong.size == 0, (
            f"{name}: {source} to {entry.dtype}: {wrong.size} of {bits.size} differ; first at {wrong[0]}: "
            f"{stored[wrong[0]]:#x} became {bits[wrong[0]]:#x}, expected {wanted[wrong[0]]:#x}")
