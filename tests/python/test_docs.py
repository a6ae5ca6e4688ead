"""The documents say what is so: tests that they name exist, links lead somewhere, commands are complete."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]


def test_semantics_page_names_tests_that_exist():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "semantics.md").read_text())
    assert len(named) > 30
    missing = [f"{file}::{test}" for file, test in named
               if f"def {test}(" not in (Path(__file__).parent / file).read_text()]
    assert missing == []


def test_every_line_of_the_semantics_has_its_tests():
    page = (ROOT / "docs" / "semantics.md").read_text()
    own = set(re.findall(r"def (test_1_\d\d_\w+)\(", (Path(__file__).parent / "test_semantics.py").read_text()))
    assert {name[7:9] for name in own} == {f"{line:02d}" for line in range(1, 13)}
    assert [name for name in sorted(own) if name not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_names_the_scripts():
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", readme, re.DOTALL)
    assert "./mount-scripts/quickstart.sh" in blocks[0]
    assert "./tests/run.sh" in readme


def test_option_page_is_the_table(weightfs):
    """Every option that `mount --help` lists is in the README or a page of docs/."""
    text = "\n".join(page.read_text() for page in PAGES)
    options = set(re.findall(r"--[a-z][a-z-]+", weightfs("mount", "--help").stdout)) - {"--help"}
    assert len(options) > 15
    assert [option for option in sorted(options) if option not in text] == []
