"""A scene of Gaussians before and after: what is found, of which kind, where, and what is written."""

import json
from dataclasses import replace

import numpy as np
import pytest
from splat_table import BEFORE, CAMERA, GREEN, RED, SH_C0, Block, gaussians, known_scene, photographs, poses, truth

from pad_ros.changes.compare import Photo, changes_of, compare
from pad_ros.changes.fusion import carve, fuse_gaussians, shows, surface
from pad_ros.changes.known_scene import NO_BACKGROUND
from pad_ros.changes.report import write_changes
from pad_ros.errors import InputError
from pad_ros.evaluation.change_masks import change_figures
from pad_ros.rendering.renderer import Renderer

CAME, ELSEWHERE = Block(0.3, -0.7, GREEN), Block(0.3, -0.7, RED)
CASES = {  # after, what changed, where it is now (or was, where it is gone)
    "appeared": ((*BEFORE, CAME), (CAME,), CAME),
    "vanished": (BEFORE[1:], BEFORE[:1], BEFORE[0]),
    "moved": ((ELSEWHERE, BEFORE[1]), (ELSEWHERE, BEFORE[0]), ELSEWHERE),
    "repainted": ((Block(BEFORE[0].x, BEFORE[0].y, GREEN), BEFORE[1]), BEFORE[:1], BEFORE[0]),
}


@pytest.fixture(scope="module")
def known():
    return known_scene()


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_is_found_where_it_is(known, kind):
    after, changed, where = CASES[kind]
    seen = photographs(known, after)
    found = changes_of(known, seen)
    assert [change.kind for change in found.changes] == [kind]
    assert found.changes[0].place[:2] == pytest.approx((where.x, where.y), abs=0.15)
    assert found.changes[0].photographs == len(seen)
    if kind == "moved":
        assert found.changes[0].was[:2] == pytest.approx((BEFORE[0].x, BEFORE[0].y), abs=0.15)
    figures = change_figures([s.mask for s in found.shown], [truth(changed, s.pose) for s in seen])
    assert figures.miou > 0.7 and figures.f1 > 0.8


def test_nothing_is_found_where_nothing_changed(known, tmp_path):
    found = changes_of(known, photographs(known, BEFORE, 4))
    assert found.changes == () and not any(s.mask.any() for s in found.shown)
    write_changes(found, tmp_path, "nothing")
    assert json.loads((tmp_path / "changes.json").read_text())["changes"] == []


def test_a_dark_thing_on_a_grey_table_is_no_shadow(known):
    dark = Block(0.3, -0.7, (0.2, 0.2, 0.2))
    seen = photographs(known, (*BEFORE, dark))
    found = changes_of(known, seen)
    assert [change.kind for change in found.changes] == ["appeared"]
    assert found.changes[0].place[:2] == pytest.approx((dark.x, dark.y), abs=0.15)
    figures = change_figures([s.mask for s in found.shown], [truth([dark], s.pose) for s in seen])
    assert figures.miou > 0.6


def test_a_shadow_on_the_table_is_no_thing(known):
    shaded = gaussians(BEFORE)
    near = np.linalg.norm(shaded.means - (0.3, -0.7, 0.0), axis=1) < 0.4
    sh = shaded.sh.copy()
    sh[near] = 0.55 * (sh[near] + 0.5 / SH_C0) - 0.5 / SH_C0
    now = Renderer(replace(shaded, sh=sh), NO_BACKGROUND)
    seen = [replace(s, image=now.part(CAMERA, s.pose).rgb8) for s in photographs(known, BEFORE)]
    found = changes_of(known, seen)
    assert found.changes == () and any((s.cue > 0).any() for s in found.shown)


def test_changes_on_disk(known, tmp_path):
    found = changes_of(known, photographs(known, CASES["appeared"][0], 4))
    write_changes(found, tmp_path, "before and after")
    written = json.loads((tmp_path / "changes.json").read_text())
    assert [change["kind"] for change in written["changes"]] == ["appeared"]
    assert all((tmp_path / p["mask"]).is_file() and p["changed"] > 0 for p in written["photographs"])
    assert "appeared" in (tmp_path / "index.html").read_text()


def test_one_photograph_that_disagrees_changes_nothing(known):
    seen = photographs(known, BEFORE, 6)
    cues = [np.zeros(s.rendering.alpha.shape, np.float32) for s in seen]
    cues[0][30:60, 40:80] = 1
    signs = [(s.rendering, cue) for s, cue in zip(seen, cues, strict=True)]
    assert not carve(signs, np.full(3, -1.5), np.full(3, 1.5)).filled.any()


def test_a_surface_that_changed_is_found_beside_the_centres_of_voxels(known, monkeypatch):
    """The table in voxels of one unit: the nearest centres lie half a unit above and below it."""
    monkeypatch.setattr("pad_ros.changes.fusion.VOXELS", 3)
    signs = []
    for seen in photographs(known, BEFORE):
        solid = seen.rendering.alpha > 0.5
        stain = np.zeros(solid.shape, np.float32)
        stain[solid] = np.linalg.norm(surface(seen.rendering, solid) - (0.0, -0.9, 0.0), axis=1) < 0.3
        signs.append((seen.rendering, stain))
    filled = carve(signs, np.array([-1.5, -1.5, -1.0]), np.array([1.5, 1.5, 1.0])).filled
    assert filled.any() and not filled[:, 1:].any() and not filled[[0, 2]].any()


@pytest.mark.parametrize("scale", [1, 3])
def test_specks_go_and_stripes_close_at_any_size(scale):
    cue = np.zeros((240 * scale, 320 * scale), np.float32)
    cue[100 * scale : 140 * scale, 100 * scale : 140 * scale] = 1
    for x in range(103, 138, 6):  # stripes that look like what was there before
        cue[100 * scale : 140 * scale, x * scale : (x + 3) * scale] = 0
    cue[30 * scale : 33 * scale, 30 * scale : 33 * scale] = 1
    found = shows(cue)
    assert found[105 * scale : 135 * scale, 105 * scale : 135 * scale].all()
    assert not found[: 60 * scale].any()


def test_gaussians_are_fused_as_all_photographs_say(known):
    seen = photographs(known, BEFORE, 4)
    on_block = [truth(BEFORE[:1], pose) for pose in poses(4)]
    fused = fuse_gaussians(
        known.gaussians, [(s.rendering, m.astype(np.float32)) for s, m in zip(seen, on_block, strict=True)]
    )
    means = known.gaussians.means
    top = np.abs(means - (BEFORE[0].x, BEFORE[0].y, 0.45)).max(axis=1) < 0.2
    assert np.median(fused[top]) > 0.6 and np.median(fused[means[:, 0] > 1]) < 0.2


def test_photographs_of_another_place_are_left_out_with_a_reason(known):
    grey = np.full((90, 120, 3), 128, np.uint8)
    with pytest.raises(InputError, match="none of the 1 photographs shows the scene"):
        compare(known, [Photo("grey.png", grey)])
