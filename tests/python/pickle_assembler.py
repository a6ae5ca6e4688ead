"""Pickles written opcode by opcode, for streams that today's torch no longer writes, or never would."""

import struct
from dataclasses import dataclass
from typing import Any

MARK, STOP = b"(", b"."


@dataclass(frozen=True)
class Raw:
    """Opcodes that leave one value on the stack."""

    code: bytes


@dataclass(frozen=True)
class ByteString:
    """A Python 2 `str` (SHORT_BINSTRING)."""

    value: bytes


def encode(value: Any) -> bytes:
    """The opcodes of a plain value; `Raw` values stand for themselves."""
    match value:
        case Raw(code):
            return code
        case ByteString(data):
            return b"U" + bytes([len(data)]) + data
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            if 0 <= value < 256:
                return b"K" + bytes([value])
            if -(2**31) <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            data = value.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(data)) + data
        case tuple():
            return MARK + b"".join(encode(item) for item in value) + b"t"
        case list():
            return b"]" + MARK + b"".join(encode(item) for item in value) + b"e"
        case dict():
            items = b"".join(encode(key) + encode(item) for key, item in value.items())
            return b"}" + MARK + items + b"u"
    raise TypeError(type(value))


def pickled(value: Any, protocol: int = 2) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + encode(value) + STOP


def name(module: str, attribute: str) -> Raw:
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(function: Raw, *arguments: Any) -> Raw:
    return Raw(function.code + encode(tuple(arguments)) + b"R")


def build(instance: Raw, state: Any) -> Raw:
    return Raw(instance.code + encode(state) + b"b")


def persistent(value: Any) -> Raw:
    return Raw(encode(value) + b"Q")


def ordered_dict(items: dict) -> Raw:
    """An OrderedDict filled with SETITEMS, as state dicts are."""
    body = b"".join(encode(key) + encode(item) for key, item in items.items())
    return Raw(call(name("collections", "OrderedDict")).code + MARK + body + b"u")


def storage(kind: str, key: Any, count: int, *, legacy: bool = False, view: Any = None, location: Any = "cpu") -> Raw:
    """A storage reference: five items in zip files, six in the legacy format."""
    items = ("storage", name("torch", kind), key, location, count)
    return persistent((*items, view) if legacy else items)


def tensor(stored: Raw, shape: tuple, stride: tuple, offset: int = 0) -> Raw:
    """A tensor by _rebuild_tensor_v2."""
    hooks = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), stored, offset, shape, stride, False, hooks)
