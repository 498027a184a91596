import numba
import numpy as np
import pytest

from pad_ros.demo import meshes as g
from pad_ros.demo.materials import Mark, Material, Pattern, label
from pad_ros.demo.meshes import at
from pad_ros.demo.part_kit import plastic
from pad_ros.demo.parts import PARTS, make_part
from pad_ros.demo.render import Scene, SubPart, build_scene, render, surface
from pad_ros.demo.shading import SHADOW_EXTENT
from pad_ros.errors import InputError
from pad_ros.imaging.geometry import Camera, Pose

CAMERA = Camera.from_fov(96, 96, 0.69)
UP = np.array([0.0, 0.0, 1.0])
POSE = Pose.look_at(np.array([2.0, -2.2, 1.6]), np.zeros(3), UP, 0.3)
GREY = Material((0.5, 0.5, 0.5), grain=0.0)


def plate_and_ball() -> Scene:
    ball = SubPart("ball", g.sphere(0.2), at(0, 0, 0.4), plastic((0.8, 0.1, 0.1)))
    return build_scene([SubPart("plate", g.box(1.2, 1.2, 0.1), np.eye(4), GREY), ball])


def test_tiny_spheres_appear_where_the_camera_projects_them() -> None:
    camera = Camera(160, 120, 230.0, 225.0, 75.0, 63.0)
    points = np.array([[0.5, 0.2, 0.1], [-0.4, 0.3, -0.2], [0.1, -0.5, 0.3], [0.0, 0.0, 0.0]])
    scene = build_scene([SubPart(f"p{k}", g.sphere(0.04), at(*p), GREY) for k, p in enumerate(points)])
    rendering = render(scene, camera, POSE)
    expected = camera.project(POSE.transform(points))
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    for k in range(len(points)):
        share = rendering.coverage([k])
        centre = [np.average(x, weights=share), np.average(y, weights=share)]
        np.testing.assert_allclose(centre, expected[k], atol=0.1)


def test_surface_points_lie_on_the_rays_of_their_pixels() -> None:
    seen = surface(plate_and_ball(), CAMERA, POSE)
    rows, columns = np.nonzero(seen.subpart >= 0)
    pixels = CAMERA.project(POSE.transform(seen.points[rows, columns]))
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1) + 0.5, atol=1e-6)
    ball = seen.points[seen.subpart == 1]
    np.testing.assert_allclose(np.linalg.norm(ball - [0, 0, 0.4], axis=1), 0.2, atol=0.004)


def test_background_is_white_and_the_part_is_not() -> None:
    rendering = render(plate_and_ball(), CAMERA, POSE)
    share = rendering.coverage([0, 1])
    assert np.all(rendering.image[share == 0] == 255)
    assert rendering.image[share == 1].max() < 245


def test_ball_shades_the_plate_below() -> None:
    alone = build_scene([SubPart("plate", g.box(1.2, 1.2, 0.1), np.eye(4), GREY)])
    above = Pose.look_at(np.array([0.0, 0.01, 4.0]), np.zeros(3), UP)
    both, plate = render(plate_and_ball(), CAMERA, above), render(alone, CAMERA, above)
    on_plate = both.coverage([0]) == 1
    darker = plate.image[on_plate].astype(int) - both.image[on_plate]
    assert darker.max() > 25
    assert darker.min() > -3


def test_pixels_do_not_depend_on_threads() -> None:
    scene = build_scene(make_part("bracket").subparts)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = render(scene, CAMERA, POSE).image
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(one, render(scene, CAMERA, POSE).image)


def test_marks_colour_only_surfaces_that_face_them() -> None:
    plate = SubPart("plate", g.box(1.2, 1.2, 0.1), np.eye(4), GREY)
    stain = Mark((0.0, 0.0, 0.05), (0.0, 0.0, 1.0), 0.3, (0.9, 0.0, 0.0), 1.0)
    scratch = Mark((-0.5, 0.4, 0.05), (0.0, 0.0, 1.0), 0.05, (0.0, 0.0, 0.9), 1.0, (0.5, 0.4, 0.05))
    scene = build_scene([plate], [stain, scratch])
    above = render(scene, CAMERA, Pose.look_at(np.array([0.0, 0.01, 4.0]), np.zeros(3), UP))
    below = render(scene, CAMERA, Pose.look_at(np.array([0.0, 0.01, -4.0]), np.zeros(3), UP))
    assert below.marked.max() == 0
    image = above.image.astype(int)
    red = (image[..., 0] - image[..., 2]) > 60
    blue = (image[..., 2] - image[..., 0]) > 60
    assert red.sum() > 50
    assert blue.sum() > 30
    assert np.all(above.marked[red | blue] > 0.3)


def test_decal_reads_from_the_side_it_is_on() -> None:
    decal = label(["AB"], 1.0, 1.0, (0.0, 0.0, 0.0), (0.9, 0.9, 0.9))
    decal.image[:128, :128] = (255, 0, 0)  # upper left
    card = SubPart("card", g.box(1.0, 1.0, 0.05), np.eye(4), Material((0.5, 0.5, 0.5), grain=0.0, decal=decal))
    image = render(
        build_scene([card]), CAMERA, Pose.look_at(np.array([0.0, -0.01, 4.0]), np.zeros(3), UP)
    ).image.astype(int)
    rows, columns = np.nonzero(image[..., 0] - image[..., 1] > 80)
    assert len(rows) > 100
    assert rows.max() <= 49  # +y is up, +x to the right
    assert columns.max() <= 49


@pytest.mark.parametrize("pattern", list(Pattern))
def test_patterns_mix_their_two_colours(pattern: Pattern) -> None:
    material = Material((0.1, 0.1, 0.1), (0.8, 0.8, 0.8), pattern, 0.1, grain=0.0, reflectance=0.0)
    image = render(build_scene([SubPart("ball", g.sphere(0.6), np.eye(4), material)]), CAMERA, POSE).image
    assert (np.ptp(image[38:58, 38:58].mean(axis=2)) > 20) == (pattern != Pattern.PLAIN)


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_sound(name: str) -> None:
    part = make_part(name)
    scene = build_scene(part.subparts)
    assert np.linalg.norm(scene.vertices, axis=1).max() < SHADOW_EXTENT
    assert len(part.loose) >= 5
    assert len({s.name for s in part.subparts}) == len(part.subparts)
    share = (
        surface(scene, CAMERA, Pose.look_at(part.distance * np.array([0.6, -0.6, 0.53]), np.zeros(3), UP)).subpart >= 0
    ).mean()
    assert 0.05 < share < 0.36


def test_unknown_part_is_an_input_error() -> None:
    with pytest.raises(InputError, match="there are bracket"):
        make_part("teapot")
