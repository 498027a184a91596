"""The table of all parts while they are done."""

import sys

from pad_ros.scale_out.progress_table import SHOWN, ProgressTable
from pad_ros.scale_out.task import FAILED, Outcome


def test_a_line_for_each_change_where_nobody_looks(capsys):
    table = ProgressTable("pad train", 3)
    table.start("a", 1)
    table.end(Outcome("a", "done", 1.25, figures={"dB": 31.0}, tries=1))
    table.start("b", 2)
    table.end(Outcome("b", FAILED, why="no views", tries=2))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/3]", "b:", "[2/3]"]
    assert "dB 31" in lines[0] and "try 2" in lines[1] and "no views" in lines[2]


def test_on_a_terminal_the_table_is_drawn_anew_and_stays_small(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    table = ProgressTable("pad train", 100)
    for i in range(50):
        table.start(f"part {i}", 1)
        if i < 40:
            table.end(Outcome(f"part {i}", "done"))
    assert "\x1b[" in capsys.readouterr().err
    lines = table.lines()
    assert lines[0] == "pad train: 40 of 100 parts, 0 failed, 10 at work" and len(lines) == 1 + SHOWN
    assert "part 49" in lines[10] and "part 39" in lines[-1]
