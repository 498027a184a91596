import json
from pathlib import Path

import cv2
import numpy as np
from benchmark_modules import benchmark

from pad_ros.demo.defects import Limits
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose

script = benchmark("edited_photos")


def photo(seed: int):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (12, 16, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    image = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    allowed = np.zeros((240, 320), bool)
    allowed[40:-40, 60:-60] = True
    camera = Camera(320, 240, 400.0, 401.0, 161.0, 119.0, (0.05, -0.02, 0.001, 0.0))
    pose = Pose.look_at(np.array([seed, 2.0, 3.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    return script.Photo(image, camera, pose, allowed)


def test_edits_keep_to_their_masks() -> None:
    limits = Limits(round(np.sqrt(320 * 240)))
    for kind in script.KINDS:
        for seed in range(3):
            original = photo(seed)
            image, mask = script.edit(original, kind, np.random.default_rng(seed))
            assert limits.area_fits(int(mask.sum()))
            assert np.count_nonzero(mask & original.allowed) >= 0.95 * mask.sum()
            near = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
            if kind != "Stains":  # whose faint rim reaches further
                np.testing.assert_array_equal(image[~near], original.image[~near])
            assert np.abs(image.astype(int) - original.image)[mask].max() >= Limits.MIN_CONTRAST
            again, _ = script.edit(original, kind, np.random.default_rng(seed))
            np.testing.assert_array_equal(image, again)


def test_layout(tmp_path: Path) -> None:
    photos = [photo(seed) for seed in range(10)]
    script.write_dataset(photos, tmp_path / "set", "set", 0)
    train = json.loads((tmp_path / "set/transforms.json").read_text())["frames"]
    truth = json.loads((tmp_path / "set/test_poses.json").read_text())["frames"]
    assert [frame["file_path"] for frame in train] == [f"train/good/{k}.png" for k in range(8)]
    assert len(truth) == 2 * (1 + len(script.KINDS))
    assert (train[0]["fl_x"], train[0]["cy"], train[0]["k1"], train[0]["w"]) == (400.0, 119.0, 0.05, 320)
    np.testing.assert_array_equal(images.load(tmp_path / "set/test/good/0.png"), photos[2].image)
    pose = Pose.from_opengl_camera_to_world(np.array(truth[0]["transform_matrix"]))
    np.testing.assert_allclose(pose.matrix, photos[2].pose.matrix, atol=1e-12)
    for frame in truth[1:5]:
        _, kind, name = frame["file_path"].split("/")
        mask = cv2.imread(
            str(tmp_path / f"set/ground_truth/{kind}/{name.replace('.png', '_mask.png')}"), cv2.IMREAD_UNCHANGED
        )
        assert mask is not None
        assert mask.shape == (240, 320)
