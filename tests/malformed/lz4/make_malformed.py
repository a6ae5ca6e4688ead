#!/usr/bin/env python3
"""Writes the malformed lz4 files of this folder and expected.json: what opening or reading each must say.

Needs the `lz4` command. The files are committed, so that the tests need neither this script nor the command; run it
again after a change here. Every file derives from one sound file of three blocks of 64 KiB.
"""

import json
import pathlib
import struct
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FRAME_MAGIC = 0x184D2204
BLOCK = 65536
CONTENT = b"".join(b"%03d weights\n" % (i % 100) for i in range(12000))[: 2 * BLOCK + 1000]


def compress(*flags: str, content: bytes = CONTENT) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "content")
        source.write_bytes(content)
        target = pathlib.Path(folder, "content.lz4")
        subprocess.run(["lz4", "-q", "-f", "-B4", *flags, source, target], check=True)
        return target.read_bytes()


def xxh32(data: bytes) -> int:
    """XXH32 with seed 0 of fewer than 16 bytes."""
    p2, p3, p4, p5 = 2246822519, 3266489917, 668265263, 374761393
    assert len(data) < 16
    mask = 0xFFFFFFFF
    h = (p5 + len(data)) & mask
    i = 0
    while i + 4 <= len(data):
        h = (h + int.from_bytes(data[i : i + 4], "little") * p3) & mask
        h = (((h << 17) | (h >> 15)) & mask) * p4 & mask
        i += 4
    for byte in data[i:]:
        h = (h + byte * p5) & mask
        h = (((h << 11) | (h >> 21)) & mask) * 2654435761 & mask
    h = ((h ^ (h >> 15)) * p2) & mask
    h = ((h ^ (h >> 13)) * p3) & mask
    return h ^ (h >> 16)


def header(flags: int = 0x68, descriptor: int = 0x40, content_bytes: int | None = len(CONTENT)) -> bytes:
    """A frame header with a right checksum: independent blocks and a content size unless told otherwise."""
    fields = bytes([flags, descriptor])
    if content_bytes is not None:
        fields += struct.pack("<Q", content_bytes)
    return struct.pack("<I", FRAME_MAGIC) + fields + bytes([xxh32(fields) >> 8 & 0xFF])


def stored(data: bytes) -> bytes:
    return struct.pack("<I", len(data) | 0x80000000) + data


def block_offsets(data: bytes, header_bytes: int, checksums: bool = False) -> list[int]:
    """The offsets of the block headers, and of the end mark."""
    offsets = [header_bytes]
    while (size := struct.unpack_from("<I", data, offsets[-1])[0]) != 0:
        offsets.append(offsets[-1] + 4 + (size & 0x7FFFFFFF) + (4 if checksums else 0))
    return offsets


def patch(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def main() -> None:
    cases: dict[str, tuple[bytes, str, str]] = {}

    def add(name: str, data: bytes, code: str, message: str) -> None:
        cases[name] = (data, code, message)

    sound = compress("-BI", "--content-size", "--no-frame-crc")
    assert sound.startswith(header()), "the lz4 command writes another header than expected"
    first, second, last, end = block_offsets(sound, len(header()))
    blocks = sound[first:end]
    checked = compress("-BI", "-BX", "--content-size", "--no-frame-crc")

    # Frames that are sound, and cannot be sought in.
    add("linked-blocks.lz4", compress("-BD", "--content-size"), "unsupported", "linked blocks")
    add("no-content-size.lz4", compress("-BI"), "unsupported", "no content size")
    add("legacy.lz4", compress("-l"), "unsupported", "legacy")
    dictionary = bytes([0x69, 0x40]) + struct.pack("<QI", len(CONTENT), 7)
    # 14 bytes, within what xxh32 above takes.
    dictionary = struct.pack("<I", FRAME_MAGIC) + dictionary + bytes([xxh32(dictionary) >> 8 & 0xFF])
    add("dictionary.lz4", dictionary + sound[first:], "unsupported", "dictionary")
    add("version-2.lz4", header(flags=0xA8) + sound[first:], "unsupported", "version 2; expected 1")
    short = header(content_bytes=3 * 1000) + stored(b"a" * 1000) * 3 + bytes(4)
    add("flushed-short-blocks.lz4", short, "corrupt", "cannot hold the last 3000 bytes")
    short = header(content_bytes=BLOCK + 2000) + stored(b"a" * 1000) + stored(b"b" * BLOCK) + stored(b"c" * 1000)
    add("short-block-first.lz4", short + bytes(4), "unsupported", "too short to hold 65536 bytes")
    add("more-blocks-than-content.lz4", header(content_bytes=BLOCK) + sound[first:], "unsupported", "more blocks than")

    # Headers that are wrong.
    add("empty.lz4", b"", "corrupt", "empty; expected an lz4 frame")
    add("wrong-magic.lz4", patch(sound, 0, b"\x28\xb5\x2f\xfd"), "corrupt", "offset 0: 0xfd2fb528 is no magic number")
    add("three-bytes.lz4", sound[:3], "corrupt", "offset 0: the file ends within the magic number")
    add("cut-in-header.lz4", sound[:10], "corrupt", "ends within an lz4 frame header")
    add("header-checksum.lz4", patch(sound, 7, b"\x01"), "corrupt", "does not match its checksum")
    add("reserved-flag.lz4", header(flags=0x6A) + sound[first:], "corrupt", "reserved bits")
    add("reserved-descriptor.lz4", header(descriptor=0xC0) + sound[first:], "corrupt", "reserved bits")
    add("block-size-code.lz4", header(descriptor=0x30) + sound[first:], "corrupt", "block size code 3")
    add("content-of-2-to-63.lz4", header(content_bytes=1 << 63) + sound[first:], "corrupt", "expected less than 2^63")
    add("content-of-a-tebibyte.lz4", header(content_bytes=1 << 40) + sound[first:], "corrupt", "do not fit")
    add("content-too-large.lz4", header(content_bytes=3 * BLOCK + 1) + sound[first:], "corrupt", "ends before its content of 196609 bytes")
    add("content-sizes-overflow.lz4", sound + header(content_bytes=(1 << 64) - 1) + sound[first:], "corrupt",
        "expected less than 2^63")

    # Blocks that are wrong.
    add("cut-in-block-header.lz4", sound[: second + 2], "corrupt", f"offset {second}: the file ends within a block header")
    add("cut-in-block.lz4", sound[: second + 100], "corrupt", f"offset {second}: an lz4 block of")
    add("no-end-mark.lz4", sound[:end], "corrupt", f"offset {end}: the file ends within a block header")
    add("early-end-mark.lz4", sound[:second] + bytes(4), "corrupt", f"offset {second}: the lz4 frame at offset 0 ends")
    add("huge-block.lz4", patch(sound, second, b"\xff\xff\xff\x7f"), "corrupt", "expected at most the frame's block size")
    add("stored-block-too-long.lz4", header(content_bytes=10) + stored(b"a" * 11) + bytes(4), "corrupt",
        "cannot hold the last 10 bytes")
    add("empty-stored-block.lz4", header(content_bytes=10) + stored(b"") + bytes(4), "corrupt", "cannot hold the last 10")
    add("first-block-damaged.lz4", patch(sound, first + 40, bytes(200)), "corrupt", "lz4 block 0 at offset 19")
    add("last-block-damaged.lz4", patch(sound, last + 4, b"\xff" * 30), "corrupt", "lz4 block 2 at offset")
    add("middle-block-damaged.lz4", patch(sound, second + 4, b"\xff" * 64), "corrupt", "lz4 block 1 at offset")
    add("last-block-decodes-short.lz4", header(content_bytes=len(CONTENT) + 10) + blocks + bytes(4), "corrupt",
        "decodes to 1000 bytes; expected 1010")
    checked_offsets = block_offsets(checked, len(header()), checksums=True)
    add("block-checksum.lz4", patch(checked, checked_offsets[2] - 4, b"\0\0\0\0"), "corrupt", "expected 00000000")
    add("cut-in-block-checksum.lz4", checked[: checked_offsets[3] - 2], "corrupt", "expected 2 bytes more")
    add("no-content-checksum.lz4", compress("-BI", "--content-size")[:-1], "corrupt", "within a content checksum")

    # What follows or surrounds frames.
    add("bytes-after-frame.lz4", sound + b"PK\x03\x04", "corrupt", f"offset {len(sound)}: 0x04034b50 is no magic number")
    add("one-byte-after-frame.lz4", sound + b"\0", "corrupt", f"offset {len(sound)}: the file ends within the magic")
    skippable = struct.pack("<II", 0x184D2A50, 1000) + b"x" * 999
    add("skippable-too-long.lz4", sound + skippable, "corrupt", "a skippable frame of 1000 bytes passes the end")
    add("skippable-cut.lz4", sound + skippable[:6], "corrupt", "ends within the size of a skippable frame")

    for old in HERE.glob("*.lz4"):
        old.unlink()
    for name, (data, _, _) in cases.items():
        (HERE / name).write_bytes(data)
    expected = {name: {"code": code, "message_contains": message} for name, (_, code, message) in cases.items()}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
