#!/usr/bin/env python3
"""Writes the malformed rules files of this folder and expected.json. Needs nothing but Python."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
EXPECTED = {}


def case(name, content, message_contains):
    text = content if isinstance(content, (str, bytes)) else json.dumps(content, indent=1) + "\n"
    (HERE / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    EXPECTED[name] = {"code": "invalid_argument", "message_contains": message_contains}


def table(**members):
    whole = {"family": "mine", "title": "t", "source": "s", "target": "hf", "detect": ["has('w')"],
             "tensors": [{"to": "w", "from": "w", "do": "..."}]}
    whole.update(members)
    return whole


def lines(*lines, **members):
    return table(tensors=list(lines), **members)


def main():
    for text in HERE.glob("*.json"):
        text.unlink()
    # No JSON, or not of this shape.
    case("empty.json", "", "")
    case("cut.json", '{\n"family": "mine",\n"let": {', "rules.json:3: not valid JSON")
    case("comment.json", '{\n// a table\n"family": "mine"}', "rules.json:2: not valid JSON")
    case("not-utf8.json", b'{"family": "\xff"}', "")
    case("byte-order-mark.json", "\ufeff{}", "byte order mark")
    case("deep.json", '{"family": ' + "[" * 40 + "]" * 40 + "}", "JSON nested deeper than 32 levels")
    case("root-array.json", "[]", "a list; expected an object")
    case("no-name.json", {}, "no key family")
    case("duplicate-key.json", '{"family": "mine",\n"let": {},\n"let": {}}', "rules.json:3: let: this key stands on line 2")
    case("duplicate-let.json", '{"family": "mine",\n"let": {"a": "1",\n"a": "2"}}', "rules.json:3: let.a: this key stands")
    case("unknown-key.json", table(tensor=[]), "tensor: an unknown key; expected one of family, title")
    case("unknown-line-key.json", lines({"to": "w", "from": "w", "do": "...", "form": "w"}), "tensors[0].form: an unknown key")
    case("wrong-type.json", table(tensors={}), "tensors: an object; expected a list")
    case("line-of-text.json", lines("w"), "tensors[0]: a string; expected an object")
    case("number-as-name.json", table(family=3), "family: an integer; expected a string")
    case("name-of-a-path.json", table(family="../x"), "family: the name ../x")
    case("two-tables.json", {"families": [table(), table()]}, "families[1].family: a second table mine")
    case("target-unknown.json", table(target="tf"), "target: the target tf; expected hf")
    case("integer-of-64-bits.json", table(let={"a": 2 ** 63}), "let.a: 9223372036854775808; expected an integer of 64 bits")
    # Patterns.
    case("pattern-open.json", lines({"drop": "a(b", "why": "x"}), "tensors[0].drop: the pattern a(b does not compile")
    case("pattern-too-large.json", lines({"drop": "((a{100}){100}){100}", "why": "x"}), "does not compile")
    case("pattern-backreference.json", lines({"drop": "(a+)+\\1$", "why": "x"}), "does not compile")
    case("pattern-lookahead.json", table(names=[["(?=a)", ""]]), "names[0][0]: the pattern (?=a) does not compile")
    case("pattern-long.json", table(detect=["any('" + "a" * 2000 + "')"]), "a pattern of 2000 bytes; expected at most 1024")
    case("replacement-group.json", table(names=[["a", "\\3"]]), "names[0][1]")
    # Expressions.
    case("expression-cut.json", table(let={"a": "1 +"}), "let.a: column 4 of `1 +`: the end; expected a value")
    case("expression-overflow.json", table(let={"a": "9223372036854775808"}), "expected a number that fits 64 bits")
    case("expression-deep.json", table(let={"a": "(" * 500 + "1" + ")" * 500}), "nested deeper than 64 levels")
    case("expression-long-sum.json", table(let={"a": "+".join("1" * 200)}), "nested deeper than 64 levels")
    case("expression-long.json", table(let={"a": " " * 5000}), "expected an expression of at most 4096")
    case("expression-call.json", table(let={"a": "system('x')"}), "no function system")
    case("expression-assignment.json", table(check=["a = 1"]), "equality is ==")
    case("name-unknown.json", table(check=["L == 1"]), "check[0]: `L == 1` uses L")
    case("option-unknown.json", table(check=["options.act == 1"]), "uses the option act")
    case("circle.json", table(let={"a": "b + 1", "b": "c ? a : 1", "c": "true"}), "in a circle: a -> b -> a")
    case("circle-of-one.json", table(let={"a": "a ?? 1"}), "in a circle: a -> a")
    case("extends-itself.json", table(extends="mine"), "extends: mine extends itself")
    case("extends-in-a-circle.json", {"families": [table(family="a", extends="b"), table(family="b", extends="a")]},
         "extends itself, directly or by others")
    case("extends-nothing.json", table(extends="no-such-table"), "extends: no table no-such-table")
    case("extends-long.json", {"families": [table(family=f"t{i}", extends=f"t{i + 1}") for i in range(40)]
                               + [table(family="t40")]}, "more than 16 tables extend one another")
    # Lines.
    case("arrow-twice.json", lines({"to": "w", "from": "w", "do": "a* -> a -> a"}), "tensors[0].do: column")
    case("axis-unknown.json", lines({"to": "w", "from": "w", "do": "C"}), "has the axis C, whose size nothing gives")
    case("axis-twice.json", lines({"to": "w", "from": "w", "do": "a* a*"}), "a occurs twice on one side")
    case("axis-lost.json", lines({"to": "w", "from": "w", "do": "a* b* -> a"}), "b is missing on the right")
    case("axes-many.json", lines({"to": "w", "from": "w", "do": " ".join(f"a{i}*" for i in range(60))}), "more than 32 axes")
    case("at-unknown.json", lines({"to": "w", "from": "w", "do": "a*", "at": {"b": "0"}}), "`at` names b")
    case("mark-twice.json", lines({"to": "w", "from": "w", "do": "|a* |b*"}), "a second mark")
    case("template-open.json", lines({"to": "w{", "from": "w", "do": "..."}), "tensors[0].to: column 3 of `w{`")
    case("template-index.json", lines({"to": "w{i}", "from": "w", "do": "..."}), "tensors[0].to: `w{i}` uses i")
    case("index-tuple.json", lines({"for": {"a b": [["x"]]}, "to": "w", "from": "w", "do": "..."}), "1 values; expected 2")
    case("drop-without-why.json", lines({"drop": "w"}), "tensors[0]: no key why")
    case("fill-without-shape.json", lines({"to": "w", "fill": 0}), "expected the keys to, fill, shape and dtype")
    case("config-expression.json", table(config={"a": ["=1 +"]}), "config.a[0]: column 4")
    case("config-name.json", table(config={"a": "=L"}), "config.a: `L` uses L")
    case("option-default.json", table(options={"a": {"default": "x", "values": ["y"]}}), "is not among them")
    case("weights-path.json", table(weights=["../a.pt"]), "weights[0]: the name ../a.pt")
    case("folder-path.json", table(folder="../a"), "folder: ../a; expected the name of a folder")
    case("folder-dots.json", table(folder=".."), "folder: ..; expected the name of a folder")
    case("note-name.json", table(notes=[{"when": "true", "say": "{L}"}]), "notes[0].say: `{L}` uses L")
    case("pipeline-needs.json", table(pipeline={"files": {}}), "pipeline: no key needs")
    case("pipeline-needs-path.json", table(pipeline={"needs": ["a/b"]}), "pipeline.needs[0]: a/b; expected the name")
    case("pipeline-option.json", table(pipeline={"needs": ["a"], "options": {"b": {}}}), "b is not among needs")
    case("pipeline-file-path.json", table(pipeline={"needs": ["a"], "files": {"a/../../b": {}}}), "file below the folder")
    case("pipeline-file-root.json", table(pipeline={"needs": ["a"], "files": {"/etc/b": {}}}), "file below the folder")
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, indent=1) + "\n")


if __name__ == "__main__":
    main()
