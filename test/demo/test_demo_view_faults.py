import numpy as np
import pytest
from view_faults import behind_cable, behind_glove, partly_out_of_frame

from pad_ros.demo.parts import make_part
from pad_ros.demo.render import Scene, build_scene, render, surface
from pad_ros.errors import InputError
from pad_ros.imaging.geometry import Camera, Pose

CAMERA = Camera.from_fov(96, 96, 0.69)
POSE = Pose.look_at(np.array([2.0, -2.2, 1.6]), np.zeros(3), np.array([0.0, 0.0, 1.0]))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(make_part("bracket").subparts)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.0])
@pytest.mark.parametrize("direction", [0.0, 2.0])
def test_the_share_of_the_part_is_left_in_the_frame(scene: Scene, share: float, direction: float) -> None:
    pose = partly_out_of_frame(scene, CAMERA, POSE, share, direction)
    np.testing.assert_allclose(pose.centre, POSE.centre)
    wide = CAMERA.cropped(-300, -300, 696, 696)
    whole = surface(scene, wide, pose).subpart >= 0
    inside = whole[300:396, 300:396]
    assert inside.sum() / whole.sum() == pytest.approx(share, abs=0.1)  # pixels near the border are stretched
    moved = np.argwhere(whole).mean(axis=0)[::-1] - 348
    assert moved @ [np.cos(direction), np.sin(direction)] > 20


def test_the_whole_part_needs_no_turn(scene: Scene) -> None:
    np.testing.assert_allclose(partly_out_of_frame(scene, CAMERA, POSE, 1.0).matrix, POSE.matrix, atol=1e-6)


@pytest.mark.parametrize(("cover", "share"), [(behind_cable, 0.1), (behind_glove, 0.3)])
@pytest.mark.parametrize("seed", range(4))
def test_the_share_of_the_part_is_hidden(scene: Scene, cover, share: float, seed: int) -> None:
    rendering = render(scene, CAMERA, POSE)
    part = rendering.coverage(range(len(scene.subparts))) > 0.5
    image, hidden = cover(rendering.image, part, share, seed)
    assert np.mean(hidden[part]) == pytest.approx(share, abs=0.02)
    assert np.any(hidden & ~part)  # it comes from elsewhere
    far = np.pad(hidden, 1)
    far = far[1:-1, 1:-1] | far[2:, 1:-1] | far[:-2, 1:-1] | far[1:-1, 2:] | far[1:-1, :-2]
    np.testing.assert_array_equal(image[~far], rendering.image[~far])
    assert np.abs(image.astype(int) - rendering.image)[hidden].mean() > 30
    np.testing.assert_array_equal(image, cover(rendering.image, part, share, seed)[0])


def test_what_cannot_be_is_refused(scene: Scene) -> None:
    white, part = np.full((96, 96, 3), 255, np.uint8), np.zeros((96, 96), bool)
    part[30:60, 20:70] = True
    for share in (-0.1, 1.1, 2.0):
        with pytest.raises(InputError, match="cannot be hidden"):
            partly_out_of_frame(scene, CAMERA, POSE, share)
    with pytest.raises(InputError, match="cannot be hidden"):
        behind_glove(white, part, 0.99)
    with pytest.raises(InputError, match="no part"):
        behind_cable(white, part & False, 0.1)
    away = POSE.retract(np.array([0, np.pi, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="no part"):
        partly_out_of_frame(scene, CAMERA, away, 0.5)
