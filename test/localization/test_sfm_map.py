import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pad_ros.errors import ModelError
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.localization.sfm_map import TENSORS, SfmMap, load_map, save_map

FILES = ("map/cameras.bin", "map/images.bin", "map/points3D.bin", "features.safetensors")


def small_map() -> SfmMap:
    """Three views of five landmarks; every landmark is seen by two views."""
    generator = np.random.default_rng(0)
    views = [Pose.look_at(generator.normal(size=3) + [4, 0, 0], np.zeros(3), np.array([0, 0, 1.0])) for _ in range(3)]
    wide, narrow = Camera(400, 300, 500.0, 505.0, 200.0, 150.0), Camera(320, 240, 400.0, 400.0, 160.0, 120.0)
    landmark = np.repeat(np.arange(5, dtype=np.int32), 2)
    return SfmMap(
        view_names=("good/a b.png", "good/ü.png", "c.png"),
        poses=tuple(views),
        cameras=(wide, narrow, wide),
        points=generator.normal(size=(5, 3)),
        colours=generator.integers(0, 256, (5, 3)).astype(np.uint8),
        errors=generator.uniform(0, 1, 5).astype(np.float32),
        descriptors=generator.integers(0, 256, (10, 128)).astype(np.uint8),
        descriptor_landmark=landmark,
        descriptor_view=np.array([0, 1, 1, 2, 2, 0, 0, 2, 1, 0], np.int32),
        keypoints=generator.uniform(0, 240, (10, 2)).astype(np.float32),
        view_descriptors=generator.normal(size=(3, 4 * 128)).astype(np.float32),
        features="sift",
        vocabulary=generator.normal(size=(4, 128)).astype(np.float32),
    )


def test_round_trip(tmp_path: Path) -> None:
    original = small_map()
    save_map(original, tmp_path)
    loaded = load_map(tmp_path)
    assert loaded.view_names == original.view_names
    assert loaded.cameras == original.cameras
    assert loaded.features == "sift"
    for mine, theirs in zip(loaded.poses, original.poses, strict=True):
        np.testing.assert_allclose(mine.matrix, theirs.matrix, atol=1e-12)
    for name in ("points", "colours", "errors", "descriptors", "descriptor_landmark", "descriptor_view", "keypoints",
                 "view_descriptors", "vocabulary"):  # fmt: skip
        assert getattr(loaded, name).dtype == getattr(original, name).dtype
        np.testing.assert_array_equal(getattr(loaded, name), getattr(original, name))


def test_the_part_in_the_map_of_a_scene(tmp_path: Path) -> None:
    whole = replace(small_map(), on_part=np.arange(10) < 6)
    save_map(whole, tmp_path)
    loaded = load_map(tmp_path)
    np.testing.assert_array_equal(loaded.on_part, whole.on_part)
    part = loaded.of_part()
    np.testing.assert_array_equal(part.points, whole.points[:3])
    np.testing.assert_array_equal(part.descriptors, whole.descriptors[:6])
    assert part.on_part is None and part.of_part() is part
    left = loaded.without("c.png")
    np.testing.assert_array_equal(left.on_part, whole.on_part[whole.descriptor_view != 2])
    save_map(replace(whole, on_part=np.zeros(10, bool)), tmp_path)
    with pytest.raises(ModelError, match="none of its descriptors is of the part"):
        load_map(tmp_path)


def test_colmap_reads_the_map(tmp_path: Path) -> None:
    original = small_map()
    save_map(original, tmp_path)
    model = pycolmap.Reconstruction(tmp_path / "map")
    assert model.num_reg_images() == 3
    assert model.num_points3D() == 5
    assert model.num_cameras() == 2
    for point in model.points3D.values():
        assert point.track.length() == 2
    for number, point in model.points3D.items():
        for element in point.track.elements:
            pixel = model.images[element.image_id].points2D[element.point2D_idx].xy
            own = (original.descriptor_landmark == number - 1) & (original.descriptor_view == element.image_id - 1)
            np.testing.assert_allclose(pixel, original.keypoints[own][0], atol=1e-5)


@pytest.mark.parametrize("v", range(3))
def test_a_map_without_one_view(v: int, tmp_path: Path) -> None:
    original = small_map()
    left = original.without(original.view_names[v])
    kept, others = original.descriptor_view != v, [i for i in range(3) if i != v]
    assert left.view_names == tuple(original.view_names[i] for i in others)
    assert left.poses == tuple(original.poses[i] for i in others)
    assert left.cameras == tuple(original.cameras[i] for i in others)
    np.testing.assert_array_equal(left.view_descriptors, original.view_descriptors[others])
    for name in ("descriptors", "keypoints"):
        np.testing.assert_array_equal(getattr(left, name), getattr(original, name)[kept])
    # Each observation is still that of the same landmark by the same view.
    seen_by = [left.view_names[i] for i in left.descriptor_view]
    assert seen_by == [original.view_names[i] for i in original.descriptor_view[kept]]
    for name in ("points", "colours", "errors"):
        mine, theirs = getattr(left, name), getattr(original, name)
        np.testing.assert_array_equal(mine[left.descriptor_landmark], theirs[original.descriptor_landmark[kept]])
    assert (left.vocabulary is original.vocabulary) and left.features == "sift"
    save_map(left, tmp_path)
    assert load_map(tmp_path).view_names == left.view_names  # a valid map


def test_landmarks_that_only_one_view_saw_go_with_it() -> None:
    original = small_map()
    alone = replace(original, descriptor_view=np.array([1, 1, 1, 2, 2, 0, 0, 2, 1, 0], np.int32))  # landmark 0
    left = alone.without("good/ü.png")
    np.testing.assert_array_equal(left.points, original.points[1:])
    assert left.descriptor_landmark.dtype == left.descriptor_view.dtype == np.int32
    assert set(left.descriptor_landmark) == {0, 1, 2, 3} and set(left.descriptor_view) == {0, 1}


def test_a_map_without_a_view_that_it_does_not_have() -> None:
    original = small_map()
    assert original.without("good/other.png") is original


@pytest.mark.parametrize("name", FILES)
def test_missing_file(name: str, tmp_path: Path) -> None:
    save_map(small_map(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=Path(name).name):
        load_map(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True))
def test_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    save_map(small_map(), tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError):
        load_map(tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8))
def test_altered_file_gives_a_valid_map_or_an_error(tmp_path: Path, name: str, share: float, noise: bytes) -> None:
    save_map(small_map(), tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    at = int(share * len(data))
    data[at : at + len(noise)] = noise
    (tmp_path / name).write_bytes(bytes(data))
    try:
        loaded = load_map(tmp_path)
    except ModelError:
        return
    assert np.all(np.isfinite(loaded.points))
    assert loaded.descriptor_landmark.max() < len(loaded.points)


@pytest.mark.parametrize("name", FILES[:3])
def test_absurd_counts_do_not_hang(name: str, tmp_path: Path) -> None:
    save_map(small_map(), tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(struct.pack("<Q", 2**62) + data[8:])
    with pytest.raises(ModelError, match=Path(name).name):
        load_map(tmp_path)


def broken(name: str) -> SfmMap:
    original = small_map()
    if name == "landmark outside":
        return replace(original, descriptor_landmark=np.full(10, 4, np.int32) + np.eye(10, dtype=np.int32)[0])
    if name == "view negative":
        return replace(original, descriptor_view=original.descriptor_view - 1)
    if name == "keypoints not finite":
        return replace(original, keypoints=np.full((10, 2), np.nan, np.float32))
    if name == "descriptors too few":
        return replace(original, descriptors=original.descriptors[:9])
    if name == "vocabulary of another map":
        return replace(original, vocabulary=original.vocabulary[:3])
    return replace(original, keypoints=original.keypoints[:, :1].copy())


@pytest.mark.parametrize("name", ["landmark outside", "view negative", "keypoints not finite", "descriptors too few",
                                  "vocabulary of another map", "keypoints of one column"])  # fmt: skip
def test_contradictions_are_refused(name: str, tmp_path: Path) -> None:
    save_map(small_map(), tmp_path)
    odd = broken(name)
    tensors = {key: np.ascontiguousarray(getattr(odd, key)) for key in TENSORS}
    save_file(tensors, tmp_path / "features.safetensors", metadata={"features": "sift"})
    with pytest.raises(ModelError, match="damaged"):
        load_map(tmp_path)
