"""The page of results is made from files, and tables that scripts print become such files."""

import io
import json
import sys

import pytest
from benchmark_modules import benchmark

PRINTED = (
    "6 images\n| a | b |\n|---|---|\n| x | 0 |\n\n| part | AUROC |\n|---|---|\n| cube | 0.98 |\n| ball |  |\ndone\n"
)


@pytest.fixture
def report(tmp_path, monkeypatch):
    module = benchmark("report_results")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "PAGE", tmp_path / "RESULTS.md")
    return module


def test_the_last_table_that_a_script_prints_is_kept(report, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(PRINTED))
    command = ["--add", "parts", "--title", "Parts", "--command", "python benchmarks/accuracy.py", "--text", "Two."]
    monkeypatch.setattr(sys, "argv", ["report_results.py", *command])
    monkeypatch.setattr(report, "read_results", lambda read=report.read_results: read(tmp_path))
    assert report.main() == 0
    (found,) = report.read_results()
    assert found["columns"] == ["part", "AUROC"] and found["rows"] == [["cube", "0.98"], ["ball", ""]]
    assert found["title"] == "Parts" and found["commit"] and found["machine"] and found["date"]
    page = (tmp_path / "RESULTS.md").read_text()
    assert "## Parts\n" in page and "| cube | 0.98 |" in page and page.endswith("Two.\n")


def test_output_without_a_table_is_refused(report):
    with pytest.raises(ValueError, match="no table"):
        report.last_table("6 images\n")


@pytest.mark.parametrize("change", [{"rows": [["only one"]]}, {"rows": []}, {"title": None}, {"other": "field"}])
def test_a_damaged_file_is_named(report, tmp_path, change):
    whole = {"title": "t", "date": "d", "commit": "c", "machine": "m", "command": "x", "columns": ["a", "b"],
             "rows": [["1", None]], "text": ""}  # fmt: skip
    (tmp_path / "one.json").write_text(json.dumps(whole))
    assert report.read_results(tmp_path) == [whole]
    (tmp_path / "one.json").write_text(json.dumps({**whole, **change}))
    with pytest.raises(ValueError, match=r"one\.json"):
        report.read_results(tmp_path)
