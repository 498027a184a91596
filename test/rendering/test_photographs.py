"""Reference photographs warped to another pose, and the file that keeps them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_factory import make_photographs
from safetensors.numpy import load_file, save_file

from pad_ros.errors import ModelError
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.rendering.photographs import (
    CONTRADICTION,
    Photograph,
    close_together,
    directions,
    doubtful_depth,
    load_photographs,
    save_photographs,
    warp,
)

CAMERA = Camera(60, 50, 100.0, 100.0, 30.0, 25.0)
DEPTH = 4.0  # of a wall that faces the camera
INSIDE = np.s_[1:-1, 1:-1]  # at the border bilinear sampling lacks a neighbour


def wall(pose=None, depth=DEPTH):
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    return Photograph("wall.png", image, np.full((50, 60), depth, np.float16), CAMERA, pose or Pose.identity())


def rendered(depth=DEPTH):
    return np.full((50, 60), depth, np.float32), np.ones((50, 60), np.float32)


def test_from_its_own_pose_a_photograph_is_itself():
    photograph = wall()
    colours, seen, _ = warp(photograph, *rendered(), CAMERA, Pose.identity())
    assert colours.dtype == np.uint8 and seen[INSIDE].all()
    np.testing.assert_array_equal(colours[INSIDE], photograph.image[INSIDE])


def test_a_window_of_a_photograph_serves_its_part_of_the_image():
    whole = wall()
    x0, y0, w, h = 20, 10, 25, 30
    part = np.s_[y0 : y0 + h, x0 : x0 + w]
    window = replace(
        whole, image=whole.image[part].copy(), depth=whole.depth[part].copy(), camera=CAMERA.cropped(x0, y0, w, h)
    )
    colours, seen, _ = warp(window, *rendered(), CAMERA, Pose.identity())
    inner = np.s_[y0 + 1 : y0 + h - 1, x0 + 1 : x0 + w - 1]
    assert seen[inner].all() and seen.sum() <= w * h
    np.testing.assert_array_equal(colours[inner], whole.image[inner])


def test_a_moved_camera_sees_the_wall_moved():
    photograph = wall()
    pixels = 5
    moved = Pose.from_rt(np.eye(3), np.array([pixels * DEPTH / CAMERA.fx, 0, 0]))  # the wall lies 5 px further right
    colours, seen, _ = warp(photograph, *rendered(), CAMERA, moved)
    np.testing.assert_allclose(
        colours[1:-1, pixels + 1 : -1].astype(int), photograph.image[1:-1, 1 : -pixels - 1].astype(int), atol=1
    )
    assert not seen[:, :pixels].any()  # the photograph does not reach that far
    assert not colours[~seen].any()


def test_a_point_that_another_surface_hid_from_the_photograph_is_not_seen():
    photograph = wall()
    photograph.depth[:, 30:] = 2.0  # something stood before the right half
    _, seen, _ = warp(photograph, *rendered(), CAMERA, Pose.identity())
    assert seen[1:-1, 1:28].all() and not seen[:, 31:].any()


def test_a_point_whose_depth_is_somewhat_wrong_is_seen_only_if_the_depth_is_doubtful():
    away = Pose.from_rt(np.eye(3), np.array([0, 0, DEPTH]))  # tolerances grow with the distance to the part frame
    photograph = wall(away, 2 * DEPTH)
    for wrong, is_seen, is_perhaps in ((0.01, True, True), (0.1, False, True), (0.5, False, False)):
        colours, seen, perhaps = warp(photograph, *rendered(2 * DEPTH + wrong), CAMERA, away)
        assert (seen[INSIDE] == is_seen).all() and (perhaps[INSIDE] == is_perhaps).all()
        assert colours[INSIDE].any() == is_perhaps


def test_the_depth_is_doubtful_where_a_photograph_that_saw_the_point_contradicts_the_rendering():
    rgb = np.full((20, 30, 3), 100, np.uint8)
    photographs, seen = np.full((2, 20, 30, 3), 100, np.uint8), np.ones((2, 20, 30), np.bool_)
    photographs[1] += np.uint8(0.9 * 255 * CONTRADICTION)  # a little other light
    assert not doubtful_depth(rgb, photographs, seen).any()
    photographs[0][8:12, 8:12] = 250
    doubtful = doubtful_depth(rgb, photographs, seen)
    assert doubtful[8:12, 8:12].all() and not doubtful[:, 18:].any()
    seen[0][5:15, 5:15] = False
    assert not doubtful_depth(rgb, photographs, seen).any()


def test_beside_the_part_nothing_is_seen():
    depth, alpha = rendered()
    alpha[:, :20] = 0.1
    depth[:10] = 0
    _, seen, _ = warp(wall(), depth, alpha, CAMERA, Pose.identity())
    assert not seen[:, :20].any() and not seen[:10].any() and seen[12:-1, 21:-1].all()
    photograph = wall()
    photograph.depth[:] = 0  # the model has nothing there
    assert not warp(photograph, *rendered(), CAMERA, Pose.identity())[1].any()


def test_a_photograph_from_behind_or_from_elsewhere_shows_nothing():
    behind = Pose.look_at(np.array([0, 0, 10.0]), np.array([0, 0, 20.0]), np.array([0, 1.0, 0]))
    aside = Pose.from_rt(np.eye(3), np.array([50.0, 0, 0]))
    for pose in (behind, aside):
        colours, seen, _ = warp(wall(pose), *rendered(), CAMERA, Pose.identity())
        assert not seen.any() and not colours.any()


@pytest.mark.parametrize(("count", "close"), [(100, True), (80, True), (40, False), (4, False)])
def test_many_views_around_a_part_lie_close_together(count, close):
    k = np.arange(count) + 0.5  # a Fibonacci lattice
    height, angle = 1 - 2 * k / count, k * np.pi * (1 + np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    assert close_together(np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)) == close


def test_directions_are_those_from_which_the_photographs_were_taken():
    centre = np.array([0.5, -1.0, 2.0])
    angles = np.radians([0, 10, 60, 180, 350])
    towards = np.stack([np.cos(angles), np.sin(angles), np.zeros(5)], axis=1)
    photographs = [
        wall(Pose.look_at(centre + (3 + i) * d, centre, np.array([0, 0, 1.0]))) for i, d in enumerate(towards)
    ]
    np.testing.assert_allclose(directions(photographs, centre), towards, atol=1e-9)
    assert directions([], centre).shape == (0, 3)


# --- on disk ---


def same(a, b):
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.depth, b.depth)
    np.testing.assert_allclose(a.pose.matrix, b.pose.matrix, atol=1e-12)
    return (a.name, a.camera) == (b.name, b.camera)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_photographs_come_back_as_they_were(tmp_path, count):
    photographs = make_photographs(count) if count else ()
    save_photographs(photographs, tmp_path / "p.safetensors")
    loaded = load_photographs(tmp_path / "p.safetensors")
    assert len(loaded) == count and all(same(a, b) for a, b in zip(photographs, loaded, strict=True))


@pytest.fixture
def saved(tmp_path):
    save_photographs(make_photographs(2), tmp_path / "p.safetensors")
    return tmp_path / "p.safetensors"


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_harmless(saved, tmp_path, data):
    """Cut short or with a byte changed in its header, it is a ModelError or still whole photographs."""
    whole = saved.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    if data.draw(st.booleans()):
        damaged.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(ModelError):
            load_photographs(damaged)
        return
    header = 8 + int.from_bytes(whole[:8], "little")
    position = data.draw(st.integers(0, header - 1))
    damaged.write_bytes(whole[:position] + bytes([data.draw(st.integers(0, 255))]) + whole[position + 1 :])
    try:
        loaded = load_photographs(damaged)
    except ModelError:
        return
    assert all(p.image.shape[:2] == p.depth.shape == (p.camera.height, p.camera.width) for p in loaded)


# What a file from elsewhere may hold; each change takes the tensors and the metadata.
def change(name, value):
    def apply(tensors, metadata):
        tensors[name] = value(tensors[name])

    return apply


def drop(name):
    return lambda tensors, metadata: tensors.pop(name) if name in tensors else metadata.pop(name)


CHANGES = {
    "no poses": drop("poses"),
    "no cameras": drop("cameras"),
    "an image missing": drop("image.1"),
    "a depth missing": drop("depth.0"),
    "no names": drop("names"),
    "a name missing": lambda tensors, metadata: metadata.update(names='["one"]'),
    "names that are no list": lambda tensors, metadata: metadata.update(names="1"),
    "names that are no JSON": lambda tensors, metadata: metadata.update(names="[one"),
    "a pose that is no number": change("poses", lambda x: np.full_like(x, np.nan)),
    "a mirrored pose": change("poses", lambda x: x * np.array([-1, 1, 1, 1.0])[:, None]),
    "poses of another shape": change("poses", lambda x: x[:, :3]),
    "poses that are a number": change("poses", lambda x: np.array(2.0)),
    "fewer cameras": change("cameras", lambda x: x[:1]),
    "more poses": change("poses", lambda x: np.concatenate([x, x])),
    "a camera without focal length": change("cameras", lambda x: 0 * x),
    "a grey image": change("image.0", lambda x: x[..., 0].copy()),
    "an image of floats": change("image.0", lambda x: x.astype(np.float32)),
    "an empty image": change("image.0", lambda x: x[:0]),
    "a depth of another size": change("depth.0", lambda x: x[1:].copy()),
    "a depth in doubles": change("depth.0", lambda x: x.astype(np.float64)),
    "a depth that is no number": change("depth.0", lambda x: np.full_like(x, np.nan)),
}


@pytest.mark.parametrize("damage", CHANGES)
def test_a_file_that_contradicts_itself_is_refused(saved, damage):
    from safetensors import safe_open

    with safe_open(saved, "numpy") as file:
        metadata = dict(file.metadata())
    tensors = load_file(saved)
    CHANGES[damage](tensors, metadata)
    save_file({name: value.copy() for name, value in tensors.items()}, saved, metadata=metadata)
    with pytest.raises(ModelError, match=str(saved)):
        load_photographs(saved)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError):
        load_photographs(tmp_path / "none.safetensors")
