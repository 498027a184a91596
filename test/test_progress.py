"""Progress: plain lines where nobody watches, a bar on a terminal."""

import io

import pytest

from pad_ros import progress as module
from pad_ros.progress import Progress, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_SECONDS", -1.0)
    assert list(progress("abcd", "reading", 4)) == list("abcd")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "reading ..." and lines[2].startswith("reading: 50 %") and lines[-1].startswith("reading: done")


def test_lines_are_rare(capsys):
    list(progress(range(5000), "reading", 5000))
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_failure_is_not_announced_as_done(capsys):
    with pytest.raises(ValueError), Progress("fit", 10) as shown:
        shown.update(3)
        raise ValueError
    assert "done" not in capsys.readouterr().err


def test_stopping_early_is_fine(capsys):
    for item in progress(range(10), "reading", 10):
        if item == 2:
            break
    assert "reading ..." in capsys.readouterr().err


@pytest.mark.parametrize("total", [0, 3, 3.5])
def test_bar_on_a_terminal(monkeypatch, total):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress("fit", total) as shown:
        for _ in range(5):  # more than promised
            shown.update(1, "31.2 dB")
    assert "fit" in terminal.getvalue()
