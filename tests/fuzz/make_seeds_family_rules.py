#!/usr/bin/env python3
"""Writes the seeds of fuzz_family_rules: tables that fit its source. Needs nothing but Python."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent / "corpus" / "fuzz_family_rules"


def table(*lines, name="mine", **members):
    whole = {"family": name, "title": "t", "source": "s", "target": "hf", "detect": ["has('wte.weight')"],
             "names": [["^module\\.", ""]], "metadata": {"m": ["m", "params.json/m"]}, "tensors": list(lines)}
    whole.update(members)
    return whole


def main():
    whole = [
        {"to": "embed", "from": "wte.weight", "do": "V* D -> D V"},
        {"drop": "head\\.weight", "alias": "wte.weight", "why": "tied", "when": "tied"},
        {"for": {"i": "L", "n k": [["q", 0], ["k", 1], ["v", 2]]}, "to": "h.{i}.{n}", "from": "h.{i}.qkv",
         "do": "(three H j h) D -> (H h j) D", "at": {"three": "k"}, "with": {"three": 3, "j": 2, "h": "D / H / j"}},
        {"for": {"i": "L"}, "to": "n.{i}", "from": "h.{i}.norm", "do": "D"},
        {"to": "up", "from": "h.0.up", "do": "|F* D"},
        {"for": {"i": "L"}, "to": "b.{i}", "fill": 0, "shape": ["D", 2], "dtype": "dtype('wte.weight')"},
        {"drop": "mask", "why": "mask"},
    ]
    let = {"D": "m.n", "H": "m.heads", "L": "count('h.{#}.qkv')", "tied": "same('head.weight', 'wte.weight')"}
    config = {"n": "=D", "h": "=H", "l": "=L", "t": {"when": "tied", "value": True, "else": "=null"},
              "list": {"for": {"i": "L"}, "value": "=i * 2"}, "eps": "=float(m.eps ?? 1e-6)", "s": [1, "==x", {"a": None}]}
    reverse = {"let": {"L": "c.l", "tied": "true"}}
    seeds = {
        "whole": table(*whole, let=let, config=config, reverse=reverse, check=[{"that": "D % H == 0", "why": "heads"}]),
        "kept": table({"keep": "(.*)", "to": "x.\\1"}, check=["any('h.*') && !any('g') || stored_all('module.*')"]),
        "joined": table(
            {"to": "all", "from": [{"from": "h.0.qkv", "do": "(a b) D -> D (a b)", "at": {"a": "1:3"}},
                                   {"from": "wte.weight", "do": "V* D -> D V"}],
             "join": 1, "do": "...", "with": {"a": 3, "b": 4, "D": 4}},
            {"to": "rest", "from": "h.0.qkv", "do": "(a b) D", "at": {"a": "0:1"}, "with": {"a": 3, "b": 4, "D": 4}},
            {"to": "s", "from": ["h.0.norm", "h.1.norm"], "join": "stack", "do": "e* D -> D e", "with": {"D": 4}},
            {"to": "mean", "from": "h.0.up", "do": "~ a* b*", "scale": 0.5, "add": 1}, {"keep": ".*"}),
        "families": {"families": [
            table(name="base", abstract=True, let={"a": "1", "b": "2"}, options={"act": {"default": "x", "values": ["x", "y"]}}),
            table({"keep": ".*"}, name="child", extends="base", let={"b": None, "c": "a + (options.vocab_size ?? 3)"})]},
        "expressions": table({"keep": ".*"}, let={
            "a": "[1, 2.5, 'x', null][0] + len('abc') * (4 / 2) - -3 % 2", "b": "floor(7 / 2) == 3 ? lower('A') : str(1.5)",
            "c": "max(1, 2) <= min([3, 4]) && starts('ab', 'a')", "d": "range(3)", "e": "ceil(2.5) + int('12') + abs(-1)",
            "f": "m.list[1] ?? get(d, 1)", "g": "matches(source_name(), '.*instruct.*') || file('params.json')",
            "h": "dim('h.0.up', -1) + ndim('mask') + parts('h.0.norm')", "i": "wrapper() ?? served_dtype('mask')",
            "j": "ln(2.0) + float(1)"}, check=["a > 0", "b == 'a'", "c", "e == 16", "f == 2.5", "g", "h == 10", "j > 1"]),
        "pipeline": table(
            {"keep": ".*"}, target="diffusers", folder="part", options={"a": {"default": 1, "assumed": "nobody says"}},
            notes=[{"when": "dim('wte.weight', 1) == 4", "say": "{m.n} wide"}],
            pipeline={"needs": ["vae", "words"], "folders": {"words": "old", "vae": "old"}, "options": {"vae": {"k": "m.n", "l": "null"}},
                      "files": {"index.json": {"n": "=m.n"}, "a/b.json": {"x": ["y", {"when": "true", "value": 1}]}}},
            config={"n": "=m.n"}),
        "trims": table({"to": "w", "from": "wte.weight", "do": "V D", "at": {"V": ["5", "0", "1"]}, "with": {"V": 8, "D": 4},
                        "trims": "rows"}, {"keep": ".*"}),
        "steps": table({"to": "w", "from": "wte.weight", "do": [{"do": "(a b) D -> b a D", "at": {"a": "1:3"}}, "b c D -> (c b) 1 D"],
                        "with": {"a": 4, "b": 2, "c": 2, "D": 4}, "trims": "x"},
                       {"for": {"i": "[0, 1]"}, "drop": "h\\.{i}\\.no[a-z]{{2}}", "why": "x"}, {"keep": ".*"}),
    }
    HERE.mkdir(parents=True, exist_ok=True)
    for name, content in seeds.items():
        (HERE / name).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
