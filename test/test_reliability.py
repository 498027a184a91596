"""docs/reliability.md: every test that it names exists, and matrix and sections agree."""

import re

FAULTS = ("missing", "truncated", "malformed", "hostile", "late", "early", "duplicated", "swapped")


def sections(page: str) -> dict[str, list[list[str]]]:
    """The rows of each section's table: when, promise, tests."""
    found = {}
    for title, body in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL):
        rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines() if line[:2] == "| "
        ]
        found[title] = rows[1:]
    return found


def test_every_test_that_is_named_exists(repository):
    page = (repository / "docs" / "reliability.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) > 100
    for file, name in named:
        assert f"def {name}(" in (repository / "test" / file).read_text(), f"{file}::{name}"


def test_every_promise_names_a_test(repository):
    for title, rows in sections((repository / "docs" / "reliability.md").read_text()).items():
        assert rows, title
        for when, promise, tests in rows:
            assert when in FAULTS and promise and "::test_" in tests, (title, when)


def test_the_matrix_has_a_promise_where_a_section_has_one(repository):
    page = (repository / "docs" / "reliability.md").read_text()
    header, *rows = re.findall(r"^\| (?:\| )?(.*) \|$", page.partition("### image")[0], re.MULTILINE)
    assert tuple(header.split(" | ")) == FAULTS
    matrix = {}
    for row in rows:
        name, *cells = row.split(" | ")
        if name.startswith("["):
            matrix[name[1:].partition("]")[0]] = {
                fault for fault, cell in zip(FAULTS, cells, strict=True) if cell != "–"
            }
    assert matrix == {title: {row[0] for row in rows} for title, rows in sections(page).items()}
