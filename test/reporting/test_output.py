"""Files of results: whole, or not there."""

import os
import signal
import time

import numpy as np
import pytest

from pad_ros.errors import InputError
from pad_ros.reporting.output import write_text

TEXTS = "a" * 300_000, "b" * 400_000


def test_kill_at_any_moment_leaves_the_old_or_the_new_text(tmp_path):
    file = tmp_path / "report.html"
    write_text(file, TEXTS[0])
    for pause in np.random.default_rng(0).uniform(0.0, 0.02, 30):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    for text in TEXTS:
                        write_text(file, text)
            finally:
                os._exit(1)
        time.sleep(float(pause))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])  # it did not end by itself
        assert file.read_text() in TEXTS
    write_text(file, TEXTS[1])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]  # nothing of the killed ones is left


def test_what_another_process_writes_right_now_is_left_alone(tmp_path):
    other = tmp_path / f".report.html.{os.getppid()}.partial"
    other.write_text("")
    write_text(tmp_path / "report.html", "text")
    assert other.exists()


def test_a_full_disk_leaves_the_old_text(tmp_path, file_size_limit):
    file = tmp_path / "report.html"
    write_text(file, "old")
    with file_size_limit(10_000), pytest.raises(InputError, match="cannot be written"):
        write_text(file, TEXTS[0])
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
