"""Any range of any served file equals the slice of the eager conversion, however it is read (design: semantics 2, 11)."""

import mmap
import os
from pathlib import Path

import pytest

import checkpoints
import oracle
from reading import PAGE, drop_cached, pread_exactly, read_direct

VIEWS = {
    "keep": ("zip_views", []),
    "cast": ("zip_views", ["--dtype", "f16"]),
    "widened": ("lz4_zip_views", ["--dtype", "f64"]),
    "deflated": ("zip_deflated", []),
    "legacy": ("legacy_views", ["--dtype", "bf16"]),
    "lz4": ("lz4_small_blocks", []),
    "big_endian": ("zip_big_endian", []),
    "tar": ("tar", []),
    "many": ("many_tensors", ["--dtype", "f16"]),
    "sharded": ("zip_protocol_2", ["--max-shard-size", "20KB"]),
}


def eager_files(weightfs, path: Path, options: list[str], out: Path) -> dict[str, bytes]:
    """The exported view: another road through the program, compared with save_file in test_byte_equality."""
    weightfs("export", path, out, *options)
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def ranges(rng, size: int, count: int):
    """Short and long ranges anywhere, those that end at or pass the end, and those around page boundaries."""
    for _ in range(count):
        kind = rng.randrange(4)
        if kind == 0:
            offset, length = rng.randrange(size), rng.randrange(1, 64)
        elif kind == 1:
            offset, length = rng.randrange(size), rng.randrange(1, size + 1)
        elif kind == 2:
            offset, length = max(0, size - rng.randrange(1, 5000)), rng.randrange(1, 10000)
        else:
            offset, length = rng.randrange(size // PAGE + 1) * PAGE + rng.randrange(-3, 4), rng.randrange(1, 3 * PAGE)
        yield max(0, offset), length


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_random_ranges_equal_the_eager_result(view, source, tmp_path, weightfs, mount, rng):
    name, options = VIEWS[view]
    path, _ = checkpoints.CASES[name].write(source)
    expected = eager_files(weightfs, path, options, tmp_path / "eager")
    with mount(path, *options) as mounted:
        for file, data in expected.items():
            fd = os.open(mounted / file, os.O_RDONLY)
            try:
                for step, (offset, length) in enumerate(ranges(rng, len(data), 150)):
                    if step % 10 == 0:
                        drop_cached(fd)
                    assert pread_exactly(fd, length, offset) == data[offset:offset + length], (file, offset, length)
            finally:
                os.close(fd)


@pytest.mark.parametrize("view", ["cast", "deflated"])
def test_direct_reads_with_odd_tails(view, source, tmp_path, weightfs, mount, rng):
    name, options = VIEWS[view]
    path, _ = checkpoints.CASES[name].write(source)
    (file, data), = eager_files(weightfs, path, options, tmp_path / "eager").items()
    with mount(path, *options) as mounted:
        for _ in range(60):
            offset = rng.randrange(len(data) // PAGE + 1) * PAGE
            length = rng.randrange(1, 8) * PAGE
            assert read_direct(mounted / file, length, offset) == data[offset:offset + length], (offset, length)
        assert read_direct(mounted / file, PAGE, -(-len(data) // PAGE) * PAGE) == b""


def test_direct_io_mount_gives_the_same_bytes(source, mount, rng):
    path, tensors = checkpoints.CASES["zip_views"].write(source)
    data = oracle.safetensors_bytes(tensors)
    with mount(path, "--direct-io") as mounted:
        fd = os.open(mounted / "model.safetensors", os.O_RDONLY)
        try:
            for offset, length in ranges(rng, len(data), 200):
                assert pread_exactly(fd, length, offset) == data[offset:offset + length]
        finally:
            os.close(fd)


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_mapped_pages_in_random_order(flags, source, mount, rng):
    path, tensors = checkpoints.CASES["zip_views"].write(source)
    data = oracle.safetensors_bytes(tensors)
    with mount(path) as mounted, open(mounted / "model.safetensors", "rb") as file:
        with mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as mapping:
            pages = list(range(0, len(data), PAGE))
            rng.shuffle(pages)
            for page in pages:
                assert mapping[page:page + PAGE] == data[page:page + PAGE]


@pytest.mark.parametrize("options", [["--threads", "1"], ["--threads", "16"], ["--cache", "64KiB"], ["--cache", "1MB"],
                                     ["--source-io", "buffered"], ["--source-io", "direct"], ["--readahead", "128KiB"]])
def test_settings_do_not_change_bytes(options, source, mount):
    path, tensors = checkpoints.CASES["zip_views"].write(source)
    with mount(path, "--dtype", "bf16", *options) as mounted:
        served = (mounted / "model.safetensors").read_bytes()
    assert served == oracle.safetensors_bytes(oracle.cast(tensors, "bf16"))
