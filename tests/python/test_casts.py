"""The cast kernels against torch: every value that is not a NaN bit for bit, NaNs as docs/semantics.md says.

The kernels are run by `weightfs_cast_tool` over raw files; $WEIGHTFS_CAST_TOOL names another one than the build's.
"""

import os
import subprocess
from pathlib import Path

import numpy
import pytest
import torch

import mounting

TYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
BITS = {"f64": numpy.uint64, "f32": numpy.uint32, "f16": numpy.uint16, "bf16": numpy.uint16}
FRACTION_BITS = {"f64": 52, "f32": 23, "f16": 10, "bf16": 7}
WIDTH = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16}
SIGNED = {64: torch.int64, 32: torch.int32, 16: torch.int16}


@pytest.fixture(scope="session")
def cast_tool() -> Path:
    built = mounting.default_binary().parents[1] / "tests" / "support" / "weightfs_cast_tool"
    tool = Path(os.environ.get("WEIGHTFS_CAST_TOOL") or built)
    assert os.access(tool, os.X_OK), f"{tool} is not there: build it, or set WEIGHTFS_CAST_TOOL"
    return tool


@pytest.fixture
def cast(cast_tool, tmp_path):
    """`cast(bits, from, to)`: the kernel's results as unsigned integers."""

    def run(bits, from_, to):
        source, destination = tmp_path / "source", tmp_path / "destination"
        bits.tofile(source)
        subprocess.run([cast_tool, from_, to, source, destination], check=True)
        return numpy.fromfile(destination, dtype=BITS[to])

    return run


def torch_cast(bits, from_, to):
    tensor = torch.from_numpy(bits.view(f"i{bits.itemsize}")).view(TYPES[from_])
    return tensor.to(TYPES[to]).view(SIGNED[WIDTH[to]]).numpy().view(BITS[to])


def is_nan(bits, type_):
    fraction = FRACTION_BITS[type_]
    one = BITS[type_](1)
    infinity = BITS[type_](((1 << (WIDTH[type_] - 1 - fraction)) - 1) << fraction)
    return (bits & ((one << BITS[type_](WIDTH[type_] - 1)) - one)) > infinity


def expected_nan(bits, from_, to):
    """A quiet NaN with the sign and the leading payload bits; bf16 to f32 is a shift."""
    fraction = FRACTION_BITS[from_]
    wide = bits.astype(numpy.uint64)
    sign = wide >> numpy.uint64(WIDTH[from_] - 1)
    payload = (wide & numpy.uint64((1 << fraction) - 1)) << numpy.uint64(52 - fraction)
    payload = payload >> numpy.uint64(52 - FRACTION_BITS[to])
    exponent = ((1 << (WIDTH[to] - 1 - FRACTION_BITS[to])) - 1) << FRACTION_BITS[to]
    quiet = 0 if (from_, to) == ("bf16", "f32") else 1 << (FRACTION_BITS[to] - 1)
    result = (sign << numpy.uint64(WIDTH[to] - 1)) | payload | numpy.uint64(exponent | quiet)
    return result.astype(BITS[to])


def check(cast, bits, from_, to):
    got = cast(bits, from_, to)
    nan = is_nan(bits, from_)
    expected = torch_cast(bits, from_, to)
    expected[nan] = expected_nan(bits[nan], from_, to)
    wrong = numpy.flatnonzero(got != expected)
    assert wrong.size == 0, [(hex(bits[i]), hex(got[i]), hex(expected[i])) for i in wrong[:5]]


PAIRS = [(a, b) for a in TYPES for b in TYPES if a != b]


@pytest.mark.parametrize("from_, to", [pair for pair in PAIRS if WIDTH[pair[0]] == 16])
def test_all_values_of_the_halves(cast, from_, to):
    check(cast, numpy.arange(65536, dtype=numpy.uint16), from_, to)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["f64", "f16", "bf16"])
def test_floats(cast, rng, to):
    """2^27 floats: all upper 27 bits, the others at random. All ties of both halves are among them."""
    generator = numpy.random.default_rng(rng.randrange(1 << 32))
    chunk = 1 << 24
    for begin in range(0, 1 << 27, chunk):
        bits = numpy.arange(begin, begin + chunk, dtype=numpy.uint32) << numpy.uint32(5)
        bits |= generator.integers(0, 32, chunk, dtype=numpy.uint32)
        check(cast, bits, "f32", to)


@pytest.mark.parametrize("to", ["f32", "f16", "bf16"])
def test_doubles(cast, rng, to):
    """Random doubles of all exponents, and of those that the smaller types have, with few bits and with many."""
    generator = numpy.random.default_rng(rng.randrange(1 << 32))
    count = 1 << 22
    anything = generator.integers(0, 1 << 64, count, dtype=numpy.uint64)
    check(cast, anything, "f64", to)
    exponent = generator.integers(1023 - 160, 1023 + 140, count, dtype=numpy.uint64) << numpy.uint64(52)
    near = (anything & numpy.uint64(0x800FFFFFFFFFFFFF)) | exponent
    check(cast, near, "f64", to)
    check(cast, near & ~((numpy.uint64(1) << generator.integers(0, 52, count, dtype=numpy.uint64)) - numpy.uint64(1)),
          "f64", to)
    # One bit beyond the last place of f16, bf16 and f32, and a little more or less: where rounding twice differs.
    ties = numpy.concatenate(
        [numpy.uint64(0x3FF0000000000000) | numpy.uint64(1 << place) + numpy.arange(-3, 4).astype(numpy.uint64)
         for place in range(2, 52)])
    check(cast, ties, "f64", to)


@pytest.mark.parametrize("from_, to", PAIRS)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 100])
def test_lengths(cast, rng, from_, to, length):
    """torch takes other code for short tensors and for tails; the values must not."""
    bits = numpy.array([rng.randrange(1 << WIDTH[from_]) for _ in range(length)], dtype=BITS[from_])
    check(cast, bits, from_, to)
