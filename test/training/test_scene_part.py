"""The part cut out of a scene, by the Gaussians that are in its region."""

from dataclasses import replace

import numpy as np
import pytest
from splat_scenes import CAMERA, box, orbit

from pad_ros.errors import TrainingError
from pad_ros.imaging.background import Background, background_mask
from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.views import View
from pad_ros.localization.sfm_map import SfmMap
from pad_ros.rendering.gaussians import ARRAYS, Gaussians
from pad_ros.rendering.renderer import Renderer
from pad_ros.training.region import Region
from pad_ros.training.scene_part import BEHIND_PART, inside_region, map_of, part_views

REGION = Region("sphere", (0.0, 0.0, 0.0, 1.2))
NOTHING = Background(None, 0.0)


def wall(distance: float, count: int = 2500, size: float = 3.0) -> Gaussians:
    """Spots of all colours on a plane y = distance."""
    rng = np.random.default_rng(1)
    spots = box(count, seed=2)
    means = np.stack([rng.uniform(-size, size, count), np.full(count, distance), rng.uniform(-size, size, count)], 1)
    scales = np.stack([np.full(count, 0.12), np.full(count, 0.01), np.full(count, 0.12)], 1)
    return replace(spots, means=means.astype(np.float32), scales=scales.astype(np.float32))


def joined(*parts: Gaussians) -> Gaussians:
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS})


def views_of(scene: Gaussians, poses: list[Pose]) -> list[View]:
    renderer = Renderer(scene, NOTHING)
    return [View(f"{i}.png", renderer.part(CAMERA, pose).rgb8, CAMERA, pose) for i, pose in enumerate(poses)]


def from_front(count: int = 6) -> list[Pose]:
    """Cameras on the side of the part that the wall is not on."""
    up = np.array([0.0, 0, 1])
    return [Pose.look_at(np.array([x, -4.0, 0.8]), np.zeros(3), up) for x in np.linspace(-1.5, 1.5, count)]


PART = box(1500)
SCENE = joined(PART, wall(2.0))
INSIDE = np.arange(len(SCENE)) < len(PART)


@pytest.fixture(scope="module")
def cut():
    return part_views(SCENE, INSIDE, views_of(SCENE, from_front()), "cpu")


def test_masks_are_the_silhouettes_of_the_part(cut):
    renderer = Renderer(PART, BEHIND_PART)
    for view in cut:
        truth = renderer.part(CAMERA, view.taken.pose).alpha > 0.5
        assert np.count_nonzero(view.taken.mask != truth) < 0.01 * truth.sum()
        np.testing.assert_array_equal(view.taken.mask, view.alone.mask)


def test_alone_the_part_stands_before_one_colour(cut):
    renderer = Renderer(PART, BEHIND_PART)
    for view in cut:
        expected = renderer.part(CAMERA, view.taken.pose).rgb
        error = np.abs(view.alone.image / 255 - expected).max(axis=2)
        assert error.mean() < 0.01 and np.quantile(error, 0.99) < 0.06  # edges of the photograph are 8 bits as well
        corner = view.alone.image[:10, :10].reshape(-1, 3)
        assert np.all((corner == 127) | (corner == 128))


def test_what_hides_the_part_is_not_the_part():
    beam = box(400, seed=5)
    beam = replace(beam, means=beam.means * np.float32([0.15, 0.1, 3]) + np.float32([0, -1.6, 0]))
    scene = joined(PART, beam)
    inside = np.arange(len(scene)) < len(PART)
    oblique = Pose.look_at(np.array([0.5, -4.0, 0.4]), np.array([0, -1.6, 0]), np.array([0, 0, 1.0]))
    (view,) = part_views(scene, inside, views_of(scene, [oblique]), "cpu")
    hidden = np.s_[54:74, 62:66]
    assert not view.taken.mask[hidden].any() and view.taken.mask[64, 45] and view.taken.mask[64, 80]
    assert view.alone.mask[64, 45:80].all()  # where it is hidden it is as the Gaussians have it
    expected = Renderer(PART, BEHIND_PART).part(CAMERA, oblique).rgb[hidden]
    np.testing.assert_allclose(view.alone.image[hidden] / 255, expected, atol=0.03)


def test_views_that_do_not_show_the_part_are_left_out():
    away = Pose.look_at(np.array([0, -4.0, 0]), np.array([0, -8.0, 0.0]), np.array([0, 0, 1.0]))
    poses = [*from_front(2), away]
    assert [view.taken.name for view in part_views(SCENE, INSIDE, views_of(SCENE, poses), "cpu")] == ["0.png", "1.png"]


def test_gaussians_that_nothing_shows_are_not_the_part():
    core = box(200, seed=3)
    core = replace(core, means=core.means * np.float32(0.3))
    scene = joined(box(4000), core, wall(2.0))
    inside = inside_region(REGION, scene, views_of(scene, orbit(10)), "cpu")
    assert inside[:4000].mean() > 0.8 and inside[4000:4200].mean() < 0.2 and not inside[4200:].any()


def test_an_empty_region_is_refused_in_words():
    region = Region("sphere", (0.0, -3.0, 0.0, 0.3))
    with pytest.raises(TrainingError, match=r"sphere:0,-3,0,0.3 holds 0 of \d+ Gaussians, too few for a part: give a"):
        inside_region(region, SCENE, views_of(SCENE, from_front(3)), "cpu")


def test_the_map_knows_what_the_masks_show_of_the_region(cut):
    sfm_map = a_map(cut)
    whole = map_of(REGION, sfm_map, cut)
    assert len(whole.points) == 180
    kept = whole.of_part()
    assert len(kept.points) == 80 and kept.on_part is None and np.all(REGION.contains(kept.points))
    assert kept.view_names == tuple(view.taken.name for view in cut)
    assert kept.descriptor_landmark.max() == 79
    first = map_of(REGION, sfm_map, cut[1:]).of_part()
    assert first.view_names == kept.view_names[1:]


def test_too_few_landmarks_on_the_part_are_refused_in_words(cut):
    with pytest.raises(TrainingError, match=r"0 landmarks lie on the part, 50 are needed .* localization.context=true"):
        map_of(Region("sphere", (0.0, 2.0, 0.0, 0.01)), a_map(cut), cut)


def a_map(cut):
    """80 landmarks on the part and 100 on the wall, seen by all views."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-0.3, 0.3, (80, 3)), rng.uniform(-2, 2, (100, 3))])
    points[80:, 1] = 2.0
    views, count = len(cut), len(points)
    pixels = [np.clip(CAMERA.project(v.taken.pose.transform(points)), 0, 127) for v in cut]
    return SfmMap(
        tuple(v.taken.name for v in cut), tuple(v.taken.pose for v in cut), (CAMERA,) * views, points,
        np.zeros((count, 3), np.uint8), np.zeros(count, np.float32),
        rng.integers(0, 255, (views * count, 128)).astype(np.uint8), np.tile(np.arange(count, dtype=np.int32), views),
        np.repeat(np.arange(views, dtype=np.int32), count), np.concatenate(pixels).astype(np.float32),
        np.zeros((views, 4), np.float32), "sift",
    )  # fmt: skip


def test_the_colour_behind_the_part_is_one_that_no_image_has():
    greys = np.stack([np.arange(256, dtype=np.uint8)] * 3, axis=-1)[None]
    assert not background_mask(greys, BEHIND_PART).any()
