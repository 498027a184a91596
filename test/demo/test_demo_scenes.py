"""Generated scenes: what is said to have changed is what differs, and masks show it."""

import json

import numpy as np
import pytest

from pad_ros.demo.scenes import KINDS, camera_of, make_pair, poses, write_pair
from pad_ros.imaging import images

SMALL = camera_of(64, 48)


def test_each_kind_changes_another_object():
    pair = make_pair(3)
    assert [change.kind for change in pair.changes] == list(KINDS)
    assert len({change.name for change in pair.changes}) == len(KINDS)
    before, after = ({t.name: t for t in things} for things in (pair.before, pair.after))
    appeared, vanished, moved, repainted = (change.name for change in pair.changes)
    assert appeared not in before and vanished not in after
    assert not np.allclose(before[moved].place, after[moved].place)
    assert before[repainted].material.colour != after[repainted].material.colour


def test_objects_stand_apart():
    things = make_pair(5).before
    for k, one in enumerate(things):
        for other in things[:k]:
            assert np.hypot(*(one.place - other.place)[:2, 3]) > one.radius + other.radius


def test_masks_show_the_changes_and_nothing_else():
    assert not make_pair(1, ()).changed(poses(1, 0)[0], SMALL).any()
    masks = [make_pair(1, ("appeared",)).changed(pose, SMALL) for pose in poses(4, 0)]
    assert any(mask.any() for mask in masks) and all(mask.mean() < 0.3 for mask in masks)


@pytest.mark.slow
def test_a_pair_on_disk(tmp_path):
    write_pair(make_pair(1, ("vanished",)), tmp_path, (1, 1), camera=SMALL)
    assert images.load(tmp_path / "after" / "000.png").shape == (48, 64, 3)
    assert (tmp_path / "truth" / "000.png").is_file()
    (change,) = json.loads((tmp_path / "truth" / "changes.json").read_text())
    assert change["kind"] == "vanished"
