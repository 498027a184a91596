import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.demo.defects import KINDS, Limits
from pad_ros.demo.generator import (
    CAMERA_ANGLE_X,
    Shoot,
    make_black,
    make_dataset,
    make_foreign,
    reference_poses,
)
from pad_ros.demo.parts import make_part
from pad_ros.demo.render import build_scene, render
from pad_ros.errors import InputError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose

SIZE, VIEWS = 96, 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "bracket"
    make_dataset(out, "bracket", views=VIEWS, size=SIZE, queries={"good": 2, **dict.fromkeys(KINDS, 1)})
    return out


def frames(path: Path) -> dict[str, Pose]:
    content = json.loads(path.read_text())
    assert content["camera_angle_x"] == CAMERA_ANGLE_X
    return {
        f["file_path"]: Pose.from_opengl_camera_to_world(np.array(f["transform_matrix"])) for f in content["frames"]
    }


def test_layout(dataset: Path) -> None:
    train, test = frames(dataset / "transforms.json"), frames(dataset / "test_poses.json")
    assert list(train) == [f"train/good/{k}.png" for k in range(VIEWS)]
    assert set(test) == {"test/good/0.png", "test/good/1.png", *(f"test/{kind}/0.png" for kind in KINDS)}
    written = {str(path.relative_to(dataset)) for path in dataset.rglob("*.png")}
    assert written == {*train, *test, *(f"ground_truth/{kind}/0_mask.png" for kind in KINDS)}
    for name in written:
        image = cv2.imread(str(dataset / name), cv2.IMREAD_UNCHANGED)
        assert image.shape == ((SIZE, SIZE) if name.startswith("ground_truth") else (SIZE, SIZE, 3))


def test_poses_are_those_of_the_images(dataset: Path) -> None:
    scene = build_scene(make_part("bracket").subparts)
    camera = Camera.from_fov(SIZE, SIZE, CAMERA_ANGLE_X)
    known = {**frames(dataset / "transforms.json"), **frames(dataset / "test_poses.json")}
    for name in ("train/good/3.png", "test/good/0.png"):
        difference = images.load(dataset / name).astype(int) - render(scene, camera, known[name]).image
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_masks_cover_what_differs(dataset: Path, kind: str) -> None:
    pose = frames(dataset / "test_poses.json")[f"test/{kind}/0.png"]
    camera = Camera.from_fov(SIZE, SIZE, CAMERA_ANGLE_X)
    good = render(build_scene(make_part("bracket").subparts), camera, pose).image
    difference = np.abs(good.astype(int) - images.load(dataset / f"test/{kind}/0.png")).max(axis=2)
    mask = cv2.imread(str(dataset / f"ground_truth/{kind}/0_mask.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}
    assert Limits(SIZE).area_fits(int(np.count_nonzero(mask)))
    assert np.count_nonzero(difference[mask > 0] >= Limits.MIN_CONTRAST) >= Limits.MIN_SHARE * np.count_nonzero(mask)
    around = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    assert np.mean(difference[~around] > 40) < 0.005  # shadows


def test_queries_lie_near_reference_views_and_show_the_whole_part() -> None:
    shoot = Shoot.prepare(make_part("bracket"), views=60, size=400)
    reference = reference_poses(60, shoot.part.distance)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def check(seed: int) -> None:
        pose = shoot.query_pose(np.random.default_rng(seed))
        cosines = [pose.centre @ r.centre / np.linalg.norm(pose.centre) / np.linalg.norm(r.centre) for r in reference]
        assert 1.999 <= np.degrees(np.arccos(max(cosines))) <= 12.001
        pixels = shoot.camera.project(pose.transform(shoot.scene.vertices))
        assert pixels.min() > 0
        assert pixels.max() < 400

    check()


def test_same_seed_same_files(tmp_path: Path, dataset: Path) -> None:
    seen = []
    again = tmp_path / "again"
    make_dataset(again, "bracket", views=3, size=SIZE, queries={"Stains": 1}, progress=lambda k, n: seen.append((k, n)))
    assert seen == [(k, 4) for k in range(1, 5)]
    twice = tmp_path / "twice"
    make_dataset(twice, "bracket", views=3, size=SIZE, queries={"Stains": 1})
    other = tmp_path / "other"
    make_dataset(other, "bracket", views=3, size=SIZE, queries={"Stains": 1}, seed=1)
    for path in again.rglob("*.*"):
        assert path.read_bytes() == (twice / path.relative_to(again)).read_bytes()
    stained = "test/Stains/0.png"
    assert (again / stained).read_bytes() != (other / stained).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"part": "teapot"}, "teapot"),
        ({"queries": {"Rust": 1}}, "Rust"),
        ({"views": 1}, "at least 3 views"),
        ({"size": 8}, "not 8"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_dataset(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="in use"):
        make_dataset(tmp_path, views=3, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("part", ["bracket", "toy"])
def test_foreign_object_and_black_image(tmp_path: Path, part: str) -> None:
    make_foreign(tmp_path / "foreign.png", part, size=SIZE)
    foreign = images.load(tmp_path / "foreign.png")
    assert 0.05 < (foreign < 250).any(axis=2).mean() < 0.4
    make_black(tmp_path / "black.png", size=SIZE)
    assert images.load(tmp_path / "black.png").max() == 0
