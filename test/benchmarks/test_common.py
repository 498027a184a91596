import json
import sys
from datetime import date
from pathlib import Path

import pytest
from benchmark_modules import FOLDER, benchmark

common = benchmark("common")
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "if __name__" in path.read_text())


def test_results_hold_what_the_table_needs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/speed.py", "/data/model", "a.png", "b.png", "--runs", "3"])
    path = common.write_result("speed", "Speed", ["part", "ms"], [["one", 12.3456], ["two", None]], "Why.", tmp_path)
    found = json.loads(path.read_text())
    assert list(found) == ["title", "date", "commit", "machine", "command", "columns", "rows", "text"]
    assert (path.name, found["date"]) == ("speed.json", date.today().isoformat())
    assert found["rows"] == [["one", 12.3456], ["two", None]]
    assert found["command"] == "python benchmarks/speed.py model a.png ... --runs 3"
    assert "cores" in found["machine"] and found["commit"]
    assert "| one | 12.35 |" in capsys.readouterr().out


def test_rows_must_fit_the_columns(tmp_path):
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        common.write_result("x", "X", ["a", "b"], [[1]], folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_shared_data_by_option_variable_or_place(monkeypatch):
    def shared(*argv):
        parser = common.option_parser("text")
        common.add_shared(parser)
        return parser.parse_args(argv).shared

    monkeypatch.setenv("PAD_SHARED", "/variable")
    assert shared("--shared", "/option") == Path("/option")
    assert shared() == Path("/variable")
    monkeypatch.delenv("PAD_SHARED")
    assert shared() == common.REPOSITORY.parent / "shared"


def test_unknown_names_are_usage_errors(capsys):
    parser = common.option_parser("text")
    assert common.chosen(parser, "a,b", ("a", "b")) == ["a", "b"]
    with pytest.raises(SystemExit):
        common.chosen(parser, "a,c", ("a", "b"))
    assert "no 'c'; there are: a, b" in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_imports_and_explains_itself(script, monkeypatch, capsys):
    if "rclpy" in script.read_text():
        pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        benchmark(script.stem).main()
    assert stop.value.code == 0 and script.name in capsys.readouterr().out
