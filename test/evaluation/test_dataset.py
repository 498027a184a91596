import json

import numpy as np
import pytest

from pad_ros.errors import InputError
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.imaging import images

SIZE = 40


@pytest.fixture
def folder(tmp_path):
    image, mask = np.full((SIZE, SIZE, 3), 200, np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8)
    mask[5:9, 5:9] = 255
    for name in ("good/0", "good/2", "good/10", "Burrs/0", "Stains/1"):
        images.save(tmp_path / "test" / f"{name}.png", image)
    images.save(tmp_path / "ground_truth/Burrs/0_mask.png", mask)
    images.save(tmp_path / "ground_truth/Stains/1.png", mask)
    return tmp_path


def test_layout_is_read_in_order(folder):
    dataset = read_dataset(folder)
    assert [i.name for i in dataset.images] == [
        "test/good/0.png", "test/good/2.png", "test/good/10.png", "test/Burrs/0.png", "test/Stains/1.png"]  # fmt: skip
    assert list(dict.fromkeys(i.label for i in dataset.images)) == ["good", "Burrs", "Stains"]
    assert [i.defective for i in dataset.images] == [False] * 3 + [True] * 2
    masks = [i.load_mask((SIZE, SIZE)) for i in dataset.images]
    assert masks[0] is None
    assert [m.sum() for m in masks[3:]] == [16, 16]
    assert dataset.images[0].pose is None


@pytest.mark.parametrize("file_path", ["test/good/2.png", "./test/good/2", "test/good/2"])
def test_true_poses_find_their_image(folder, file_path):
    matrix = np.diag([1.0, -1, -1, 1])  # camera-to-world, OpenGL: the OpenCV camera is the part frame, 3 units back
    matrix[2, 3] = -3
    (folder / "test_poses.json").write_text(
        json.dumps({"frames": [{"file_path": file_path, "transform_matrix": matrix.tolist()}]})
    )
    poses = {i.name: i.pose for i in read_dataset(folder).images}
    assert poses["test/good/2.png"].translation == pytest.approx([0, 0, 3])
    assert poses["test/good/0.png"] is None


def test_without_any_ground_truth_masks_are_unknown(folder):
    (folder / "ground_truth").rename(folder / "elsewhere")
    assert all(image.mask_path is None for image in read_dataset(folder).images)


@pytest.mark.parametrize(
    "poses",
    ["[", "[]", '{"frames": 3}', '{"frames": [{"file_path": "a"}]}',
     '{"frames": [{"file_path": "a", "transform_matrix": [[1, 2], [3, 4]]}]}',
     '{"frames": [{"file_path": "a", "transform_matrix": "x"}]}', "\xff"],
)  # fmt: skip
def test_damaged_poses_are_refused_with_their_file(folder, poses):
    (folder / "test_poses.json").write_bytes(poses.encode("latin1"))
    with pytest.raises(InputError, match=r"test_poses\.json"):
        read_dataset(folder)


def test_wrong_layouts_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no folder test/"):
        read_dataset(folder / "ground_truth")
    (folder / "ground_truth/Burrs/0_mask.png").unlink()
    with pytest.raises(InputError, match="ground truth .*0_mask.png is missing"):
        read_dataset(folder)
    with pytest.raises(InputError, match="40x40 px for an image of 41x40"):
        (folder / "ground_truth/Stains/1.png").rename(folder / "ground_truth/Burrs/0.png")
        images.save(folder / "ground_truth/Stains/1.png", np.zeros((SIZE, SIZE, 3), np.uint8))
        read_dataset(folder).images[3].load_mask((40, 41))


def test_an_empty_set_is_refused(tmp_path):
    (tmp_path / "test/good").mkdir(parents=True)
    with pytest.raises(InputError, match="no images"):
        read_dataset(tmp_path)
