#!/usr/bin/env python3
"""Writes the malformed index files of this folder and expected.json. Needs nothing but Python."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
EXPECTED = {}


def case(name, content, message_contains, code="corrupt"):
    (HERE / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    EXPECTED[name] = {"code": code, "message_contains": message_contains}


def main():
    case("empty.json", "", "")
    case("not-json.json", "<html>", "")
    case("cut.json", '{"weight_map": {"a": "f.bin"', "")
    case("not-utf8.json", b'{"weight_map": {"\xff": "f.bin"}}', "")
    case("root-array.json", "[]", "the root is an array; expected an object")
    case("root-string.json", '"weight_map"', "the root is a string; expected an object")
    case("no-weight-map.json", '{"metadata": {"total_size": 1}}', "no weight_map")
    case("nested-weight-map.json", '{"metadata": {"weight_map": {"a": "f.bin"}}}', "no weight_map")
    case("weight-map-null.json", '{"weight_map": null}', "byte 15: weight_map is null; expected an object")
    case("weight-map-array.json", '{"weight_map": ["a"]}', "weight_map is an array")
    case("weight-map-string.json", '{"weight_map": "f.bin"}', "weight_map is a string")
    case("weight-map-twice.json", '{"weight_map": {"a": "f"}, "weight_map": {}}', "weight_map")
    case("tensor-twice.json", '{"weight_map": {"a": "f", "a": "g"}}', '"a"')
    case("tensor-twice-escaped.json", '{"weight_map": {"a": "f", "\\u0061": "f"}}', '"a"')
    case("shard-number.json", '{"weight_map": {"a": 1}}', 'tensor "a" is in a number')
    case("shard-null.json", '{"weight_map": {"a": null}}', 'tensor "a" is in null')
    case("shard-array.json", '{"weight_map": {"a": ["f"]}}', 'tensor "a" is in an array')
    case("shard-object.json", '{"weight_map": {"a": {"b": "f"}}}', 'tensor "a" is in an object')
    for name, path in (("empty", ""), ("dot", "."), ("parent", ".."), ("absolute", "/etc/passwd"),
                       ("above", "../f.bin"), ("below", "sub/f.bin"), ("nul", "f\\u0000.bin")):
        case(f"shard-{name}.json", '{"weight_map": {"a": "%s"}}' % path, "expected the name of a file in the same folder")
    case("deep.json", '{"metadata": ' + "[" * 100 + "]" * 100 + "}", "", "limit_exceeded")
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")


if __name__ == "__main__":
    main()
