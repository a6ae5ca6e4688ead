"""Mutates family tables mechanically: what a slip of the hand would write, where shapes still fit or nearly."""

import copy
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

AXIS = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Mutant:
    kind: str
    where: str  # the line, and what became of it
    table: dict


def exchanged(text: str, a: re.Match, b: re.Match) -> str:
    """`text` with two matches in each other's place; `a` lies before `b`."""
    return text[:a.start()] + b[0] + text[a.end():b.start()] + a[0] + text[b.end():]


def arrangements(do) -> Iterator[tuple[object, str, str]]:
    """Every rearrangement of a `do` with one change: the changed `do`, the kind of change, the changed text."""
    if isinstance(do, list):
        for index, step in enumerate(do):
            for changed, kind, text in arrangements(step):
                yield do[:index] + [changed] + do[index + 1:], kind, text
        return
    if isinstance(do, dict):
        for changed, kind, text in arrangements(do["do"]):
            yield do | {"do": changed}, kind, text
        for at, text in positions(do.get("at", {})):
            yield do | {"at": at}, "at", text
        return
    left, arrow, right = do.partition("->")
    for a, b in itertools.combinations(AXIS.finditer(right), 2):
        yield f"{left}->{exchanged(right, a, b)}", "axes", f"{left}->{exchanged(right, a, b)}"
    marks = [match.start() for match in re.finditer(r"[|?]", left)]
    for at in marks:
        text = left[:at] + left[at + 1:] + arrow + right
        yield text, "marks", text
    # The mark of a dimension on another one.
    if len(marks) == 1:
        plain = left.replace("|", "").replace("?", "")
        for dimension in re.finditer(r"\([^)]*\)|[^\s()]+", plain):
            text = plain[:dimension.start()] + "|" + plain[dimension.start():] + arrow + right
            if text != do:
                yield text, "marks", text


def positions(at: dict) -> Iterator[tuple[dict, str]]:
    """Every `at` with one index or range changed."""
    for axis, value in at.items():
        changes = []
        if isinstance(value, list):
            for a, b in itertools.combinations(range(len(value)), 2):
                other = list(value)
                other[a], other[b] = other[b], other[a]
                changes.append(other)
        elif isinstance(value, str) and ":" in value:
            begin, end = value.split(":")
            changes += [f"{begin} + 1:{end} + 1", f"{begin} + 1:{end}", f"{begin}:{end} - 1"]
            if begin != "0":
                changes += [f"{begin} - 1:{end} - 1", f"0:({end}) - ({begin})"]
        else:
            changes += [f"{value} + 1", f"{value} - 1"]
        for change in changes:
            yield at | {axis: change}, f"at {axis} {change}"


def tuples(line: dict) -> Iterator[tuple[dict, str]]:
    """The line with two entries of one column of an index's list exchanged."""
    for key, values in line.get("for", {}).items():
        if not isinstance(values, list) or not isinstance(values[0], list):
            continue
        for column in range(len(values[0])):
            for a, b in itertools.combinations(range(len(values)), 2):
                if values[a][column] == values[b][column]:
                    continue
                other = copy.deepcopy(values)
                other[a][column], other[b][column] = other[b][column], other[a][column]
                if sorted(map(str, other)) == sorted(map(str, values)):
                    continue  # the same lines in another order
                yield {**line, "for": {**line["for"], key: other}}, f"{key}: {other}"


def changed_lines(line: dict) -> Iterator[tuple[str, str, dict]]:
    """Kind, description and changed line."""
    if "do" in line:
        for do, kind, text in arrangements(line["do"]):
            yield kind, text, line | {"do": do}
    for at, text in positions(line.get("at", {})):
        yield "at", text, line | {"at": at}
    for other, text in tuples(line):
        yield "names", text, other
    sources = line.get("from")
    if isinstance(sources, list):
        for a, b in itertools.combinations(range(len(sources)), 2):
            other = list(sources)
            other[a], other[b] = other[b], other[a]
            yield "order", f"sources {a} and {b} exchanged", line | {"from": other}
        for index, source in enumerate(sources):
            if isinstance(source, dict):
                for kind, text, other in changed_lines(source):
                    yield kind, text, line | {"from": sources[:index] + [other] + sources[index + 1:]}
    if "when" in line:
        yield "when", "negated", line | {"when": f"!({line['when']})"}
    if "fill" in line:
        yield "fill", "one more", line | {"fill": line["fill"] + 1}
    if "scale" in line or "add" in line:
        yield "arithmetic", "left out", {key: value for key, value in line.items() if key not in ("scale", "add")}


def mutants(table: dict) -> Iterator[Mutant]:
    lines = table.get("tensors", [])

    def with_lines(changes: dict[int, dict]) -> dict:
        return table | {"tensors": [changes.get(index, line) for index, line in enumerate(lines)]}

    for index, line in enumerate(lines):
        name = line.get("to") or line.get("drop") or line.get("keep")
        for kind, text, changed in changed_lines(line):
            yield Mutant(kind, f"{name}: {text}", with_lines({index: changed}))
    # Two lines give each other's target.
    for (i, a), (j, b) in itertools.combinations(enumerate(lines), 2):
        makes = all("to" in line and "keep" not in line for line in (a, b))
        if makes and a.get("for", {}).keys() == b.get("for", {}).keys() and a["to"] != b["to"]:
            changed = {i: a | {"to": b["to"]}, j: b | {"to": a["to"]}}
            yield Mutant("targets", f"{a['to']} and {b['to']} exchanged", with_lines(changed))
    # Sizes that follow from the wrong fact: only for those that lines use.
    names = [name for name, value in table.get("let", {}).items() if isinstance(value, str)]
    used = set(AXIS.findall(" ".join(str(line) for line in lines)))
    for a, b in itertools.combinations([name for name in names if name in used], 2):
        let = table["let"] | {a: table["let"][b], b: table["let"][a]}
        yield Mutant("sizes", f"{a} and {b} exchanged", table | {"let": let})


def config_mutants(table: dict) -> Iterator[Mutant]:
    """Two keys of config.json with each other's value."""
    config = table.get("config", {})
    plain = [key for key, value in config.items() if isinstance(value, str) and re.fullmatch(r"=[A-Za-z_]\w*", value)]
    for a, b in itertools.combinations(plain, 2):
        exchanged_values = config | {a: config[b], b: config[a]}
        yield Mutant("configuration", f"{a} and {b} exchanged", table | {"config": exchanged_values})
