"""The page of results is made from files."""

import json
import re

import pytest
from benchmark_modules import benchmark

WHOLE = {
    "title": "Parts", "date": "d", "commit": "c", "machine": "m", "command": "x", "columns": ["part", "AUROC"],
    "rows": [["cube", 0.98761], ["ball", None]], "text": "Two.",
}  # fmt: skip


@pytest.fixture
def report():
    return benchmark("report_results")


def test_the_page_shows_every_result_in_order(report, tmp_path):
    for name in ("zebra", "methods_loader", "accuracy", "ros_faults_cell"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**WHOLE, "title": name}))
    page = report.document(report.read_results(tmp_path))
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == ["accuracy", "ros_faults_cell", "methods_loader", "zebra"]
    assert "| part | AUROC |\n| --- | --- |\n| cube | 0.9876 |\n| ball |  |\n\nTwo.\n" in page
    assert "`x` · d · commit c · m" in page


@pytest.mark.parametrize("change", [{"rows": [["only one"]]}, {"rows": []}, {"title": None}, {"other": "field"}])
def test_a_damaged_file_is_named(report, tmp_path, change):
    (tmp_path / "one.json").write_text(json.dumps(WHOLE))
    assert report.read_results(tmp_path) == [WHOLE]
    (tmp_path / "one.json").write_text(json.dumps({**WHOLE, **change}))
    with pytest.raises(ValueError, match=r"one\.json"):
        report.read_results(tmp_path)
