"""docs/semantics.md and the suite stay in step: every test it names exists, and every test of section 1 is named."""

import ast
import pathlib
import re

HERE = pathlib.Path(__file__).parent
PAGE = (HERE.parent.parent / "docs" / "semantics.md").read_text()


def tests_of(file):
    tree = ast.parse((HERE / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 30
    assert [f"{file}::{test}" for file, test in named if test not in tests_of(file)] == []


def test_every_test_of_the_semantics_is_named():
    numbered = {test for test in tests_of("test_semantics.py") if re.match(r"test_1_\d\d_", test)}
    assert {test for test in numbered if test not in PAGE} == set()
