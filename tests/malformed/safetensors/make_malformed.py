#!/usr/bin/env python3
"""Writes the malformed safetensors files of this folder and expected.json. Needs nothing but Python."""

import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
EXPECTED = {}


def case(name, content, message_contains, code="corrupt"):
    (HERE / name).write_bytes(content)
    EXPECTED[name] = {"code": code, "message_contains": message_contains}


def of_text(header, data=b""):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype='"U8"', shape="[4]", offsets="[0,4]", more=""):
    return '{"dtype":%s,"shape":%s,"data_offsets":%s%s}' % (dtype, shape, offsets, more)


def one(data=b"\0" * 4, **fields):
    return of_text('{"t":%s}' % entry(**fields), data)


def two(second_offsets, data_bytes, first_offsets="[0,4]"):
    a = entry(offsets=first_offsets)
    b = entry(offsets=second_offsets)
    return of_text('{"a":%s,"b":%s}' % (a, b), b"\0" * data_bytes)


def main():
    case("empty.safetensors", b"", "0 bytes; expected at least the 8 bytes")
    case("seven-bytes.safetensors", b"\0" * 7, "7 bytes; expected at least the 8 bytes")
    case("header-above-limit.safetensors", struct.pack("<Q", 100_000_001) + b"{}", "expected at most 100000000",
         "limit_exceeded")
    case("header-of-2-to-64.safetensors", b"\xff" * 16, "expected at most 100000000", "limit_exceeded")
    case("header-past-end.safetensors", struct.pack("<Q", 3) + b"{}", "a header of 3 bytes; expected one that fits")
    case("header-of-nothing.safetensors", struct.pack("<Q", 0), "header")
    case("not-utf8.safetensors", of_text(b'{"\xff":{}}'), "header")
    case("not-json.safetensors", of_text("hello"), "header")
    case("cut-json.safetensors", of_text('{"t":{"dtype":"U8"'), "header")
    case("byte-order-mark.safetensors", of_text("\ufeff{}"), "header")
    case("text-after-json.safetensors", of_text("{} x"), "header")
    case("two-objects.safetensors", of_text("{}{}"), "header")
    case("comment.safetensors", of_text("{/* */}"), "header")
    case("lone-surrogate.safetensors", of_text('{"\\ud800":%s}' % entry(), b"\0" * 4), "header")
    case("deep.safetensors", one(more=',"x":' + "[" * 100 + "]" * 100), "header", "limit_exceeded")
    for name, text in (("array", "[]"), ("string", '"x"'), ("null", "null"), ("number", "1")):
        case(f"root-{name}.safetensors", of_text(text), "byte 8: the header has")
    case("same-name-twice.safetensors", of_text('{"t":%s,"t":%s}' % (entry(), entry()), b"\0" * 4), '"t"')
    case("same-name-escaped.safetensors", of_text('{"t":%s,"\\u0074":%s}' % (entry(), entry()), b"\0" * 4), '"t"')
    case("metadata-twice.safetensors", of_text('{"__metadata__":{},"__metadata__":{}}'), "__metadata__")
    case("metadata-number.safetensors", of_text('{"__metadata__":{"a":1}}'), "expected a string")
    case("metadata-nested.safetensors", of_text('{"__metadata__":{"a":{}}}'), "expected a string")
    case("metadata-array.safetensors", of_text('{"__metadata__":[]}'), "expected an object or null")
    case("entry-null.safetensors", of_text('{"t":null}'), 'tensor "t" has null; expected an object')
    case("entry-array.safetensors", of_text('{"t":["U8",[4],[0,4]]}', b"\0" * 4), "expected an object")
    case("no-dtype.safetensors", of_text('{"t":{"shape":[4],"data_offsets":[0,4]}}', b"\0" * 4), "has no dtype")
    case("no-shape.safetensors", of_text('{"t":{"dtype":"U8","data_offsets":[0,4]}}', b"\0" * 4), "has no shape")
    case("no-offsets.safetensors", of_text('{"t":{"dtype":"U8","shape":[4]}}', b"\0" * 4), "has no data_offsets")
    case("dtype-unknown.safetensors", one(dtype='"F128"'), 'dtype "F128" in dtype; expected a dtype name')
    case("dtype-torch-name.safetensors", one(dtype='"uint8"'), 'dtype "uint8"')
    case("dtype-null.safetensors", one(dtype="null"), "has null in dtype")
    case("dtype-object.safetensors", one(dtype="{}"), "has an object in dtype")
    case("dtype-twice.safetensors", one(more=',"dtype":"U8"'), "dtype")
    case("shape-float.safetensors", one(shape="[4.0]"), "has the number 4 in shape; expected integers")
    case("shape-negative.safetensors", one(shape="[-4]"), "has -4 in shape; expected integers")
    case("shape-string.safetensors", one(shape='["4"]'), "has a string in shape")
    case("shape-number.safetensors", one(shape="4"), "has 4 in shape; expected an array")
    case("shape-nested.safetensors", one(shape="[[4]]"), "has an array in shape")
    case("shape-2-to-64.safetensors", one(shape="[18446744073709551616]"), "in shape; expected integers from 0 to 2^64")
    case("shape-rank-65.safetensors", one(shape="[4" + ",1" * 64 + "]"), "more than 64 dimensions", "limit_exceeded")
    case("offsets-one.safetensors", one(offsets="[4]"), "1 offsets in data_offsets")
    case("offsets-three.safetensors", one(offsets="[0,4,4]"), "third offset")
    case("offsets-negative.safetensors", one(offsets="[-1,4]"), "has -1 in data_offsets")
    case("offsets-object.safetensors", one(offsets='{"a":0}'), "has an object in data_offsets")
    case("offsets-reversed.safetensors", one(offsets="[0,4]", shape="[0]", data=b"") , "4 bytes of data; expected 0")
    case("offsets-end-before-begin.safetensors", two("[4,3]", 4), 'tensor "b": data_offsets [4, 3]')
    case("first-not-at-zero.safetensors", one(offsets="[4,8]", data=b"\0" * 8), "expected them to begin at 0")
    case("hole.safetensors", two("[5,9]", 9), 'tensor "b": data_offsets [5, 9]; expected them to begin at 4')
    case("overlap.safetensors", two("[3,7]", 7), 'tensor "b": data_offsets [3, 7]; expected them to begin at 4')
    case("same-bytes-twice.safetensors", two("[0,4]", 4), 'tensor "b": data_offsets [0, 4]')
    case("wrong-size.safetensors", one(shape="[5]"), "4 bytes of data; expected 5")
    case("wrong-size-dtype.safetensors", one(dtype='"F32"', shape="[2]"), "4 bytes of data; expected 8")
    case("half-a-byte.safetensors", one(dtype='"F4"', shape="[7]"), "is 28 bits; expected whole bytes")
    case("shape-overflows.safetensors", one(shape="[4294967296,4294967296]"), "too large")
    case("bits-overflow.safetensors", one(shape="[4611686018427387904]"), "too large")
    case("offsets-overflow.safetensors", one(offsets="[0,18446744073709551615]"), "expected 4 for shape")
    case("cut-data.safetensors", one(data=b"\0" * 3), "3 bytes of tensor data; expected 4")
    case("bytes-after-data.safetensors", one(data=b"\0" * 5), "5 bytes of tensor data; expected 4")
    case("bytes-after-nothing.safetensors", of_text("{}", b"x"), "1 bytes of tensor data; expected 0")
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")


if __name__ == "__main__":
    main()
