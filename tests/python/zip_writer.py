"""A zip writer of our own, for archives that torch and Python do not write: every header field can be set.

It shares nothing with the reader under test. Layout: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

STORED, DEFLATED = 0, 8
SATURATED_32, SATURATED_16 = 0xFFFFFFFF, 0xFFFF


@dataclass
class Member:
    """One member. `hole_bytes` makes it a hole of that size instead of `data` (sparse file, CRC 0)."""

    name: str
    data: bytes = b""
    method: int = STORED
    hole_bytes: int = 0
    # What the headers say, where that is to be wrong.
    local_name: str | None = None
    local_method: int | None = None
    flags: int = 0x0800
    central_flags: int | None = None
    crc: int | None = None
    claimed_size: int | None = None


def _local_extra(align: int, offset: int, name: bytes, sizes: tuple[int, int], zip64: bool) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, *sizes) if zip64 else b""
    begin = offset + 30 + len(name) + len(extra) + 4
    padding = -begin % align
    return extra + b"FB" + struct.pack("<H", padding) + b"Z" * padding


def write_zip(path: Path, members: list[Member], zip64: bool = False, align: int = 64, first_offset: int = 0) -> Path:
    """Writes `members` to `path` in order. `first_offset` leaves a hole before the second member (offsets over 4 GiB)."""
    central = []
    with open(path, "wb") as out:
        for index, member in enumerate(members):
            if index == 1 and first_offset:
                out.seek(first_offset)
            offset = out.tell()
            data = member.data
            if member.method == DEFLATED:
                deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
                data = deflate.compress(data) + deflate.flush()
            size = member.hole_bytes or len(member.data)
            packed_size = member.hole_bytes or len(data)
            crc = member.crc if member.crc is not None else (0 if member.hole_bytes else zlib.crc32(member.data))
            claimed = size if member.claimed_size is None else member.claimed_size
            packed_claimed = claimed if member.method == STORED else packed_size
            name = member.name.encode()
            local_name = (member.local_name or member.name).encode()
            big = zip64 or max(size, packed_size) >= SATURATED_32
            extra = _local_extra(align, offset, local_name, (claimed, packed_claimed), big)
            method = member.method if member.local_method is None else member.local_method
            sizes = (SATURATED_32, SATURATED_32) if big else (packed_claimed, claimed)
            out.write(
                struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45 if big else 20, member.flags, method, 0, 0, crc, *sizes,
                            len(local_name), len(extra))
                + local_name + extra)
            if member.hole_bytes:
                out.seek(member.hole_bytes, 1)
            else:
                out.write(data)
            big_offset = zip64 or offset >= SATURATED_32
            values = ([claimed, packed_claimed] if big else []) + ([offset] if big_offset else [])
            central_extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
            flags = member.flags if member.central_flags is None else member.central_flags
            central.append(
                struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 45, 45 if big or big_offset else 20, flags, member.method,
                            0, 0, crc, *sizes, len(name), len(central_extra), 0, 0, 0, 0,
                            SATURATED_32 if big_offset else offset)
                + name + central_extra)
        _write_end(out, central, zip64)
    return path


def _write_end(out, central: list[bytes], zip64: bool) -> None:
    offset = out.tell()
    directory = b"".join(central)
    out.write(directory)
    count, size = len(central), len(directory)
    if zip64 or offset >= SATURATED_32 or count >= SATURATED_16:
        end = out.tell()
        out.write(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 0x031E, 45, 0, 0, count, count, size, offset))
        out.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        if zip64:
            count, size, offset = SATURATED_16, SATURATED_32, SATURATED_32
    out.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, min(count, SATURATED_16), min(count, SATURATED_16),
                          min(size, SATURATED_32), min(offset, SATURATED_32), 0))
