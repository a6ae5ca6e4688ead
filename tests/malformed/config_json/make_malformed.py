#!/usr/bin/env python3
"""Writes the malformed config files of this folder and expected.json. Needs nothing but Python."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
EXPECTED = {}


def case(name, content, message_contains, code="corrupt"):
    (HERE / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    EXPECTED[name] = {"code": code, "message_contains": message_contains}


def main():
    case("empty.json", "", "")
    case("cut.json", '{"dtype": "float16"', "")
    case("cut-string.json", '{"dtype": "flo', "")
    case("not-utf8.json", b'{"a": "\xff"}', "")
    case("lone-surrogate.json", '{"a": "\\ud800"}', "")
    case("byte-order-mark.json", "\ufeff{}", "")
    case("utf16.json", '{"a": 1}'.encode("utf-16"), "")
    case("comment.json", "{} // none", "")
    case("comma-at-end.json", '{"a": 1,}', "")
    case("single-quotes.json", "{'a': 1}", "")
    case("two-roots.json", "{}{}", "")
    case("html.json", "<!DOCTYPE html>", "")
    case("pointer.json", "version https://git-lfs.github.com/spec/v1\n", "")
    case("root-array.json", '[{"dtype": "float16"}]', "byte 0: the root is no object")
    case("root-string.json", '"x"', "the root is no object")
    case("root-null.json", "null", "the root is no object")
    case("root-nan.json", "NaN", "the root is no object")
    case("control-character.json", '{"a": "\n"}', "")
    case("deep.json", '{"a": ' + "[" * 100 + "]" * 100 + "}", "", "limit_exceeded")
    case("unclosed-deep.json", "[" * 2000, "")
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")


if __name__ == "__main__":
    main()
