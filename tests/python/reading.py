"""Ways to read a file that a client might use."""

import ctypes
import mmap
import os
from pathlib import Path

PAGE = 4096
_libc = ctypes.CDLL(None, use_errno=True)


def drop_cached(fd: int) -> None:
    """Asks the kernel to forget the file's cached pages, so that the next read goes to the mount again."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def pread_exactly(fd: int, size: int, offset: int) -> bytes:
    """Fails where a read is shorter than asked before the end of the file."""
    data = os.pread(fd, size, offset)
    expected = max(0, min(size, os.fstat(fd).st_size - offset))
    assert len(data) == expected, f"read {len(data)} of {expected} bytes at {offset}"
    return data


def read_direct(path: Path, size: int, offset: int) -> bytes:
    """An O_DIRECT read of `size` bytes into an aligned buffer; both may be any multiple of a page, tails included."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, -(-size // PAGE) * PAGE)
        got = os.preadv(fd, [memoryview(buffer)[:size]], offset)
        return buffer[:got]
    finally:
        os.close(fd)


def resident_bytes(path: Path) -> int:
    """How much of the file lies in the page cache (mincore over a mapping)."""
    size = path.stat().st_size
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE,
                                             prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        pages = -(-size // PAGE)
        vector = (ctypes.c_ubyte * pages)()
        address = (ctypes.c_char * size).from_buffer(mapping)
        status = _libc.mincore(ctypes.c_void_p(ctypes.addressof(address)), ctypes.c_size_t(size), vector)
        del address
        if status != 0:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in bytes(vector)) * PAGE
