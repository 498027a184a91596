"""Reference views of a bag with /tf: poses at the images' stamps, and every way in which there are none."""

import numpy as np
import pytest
from bag_files import SECOND, camera_info, make, raw, write_bag
from robot_bag import CAMERA_FRAME, FIXTURE, images_of, robot_bag, robot_transforms, stamp_of, tf, transform
from textured_cube import CAMERA, draw, ring_poses

from pad_ros.errors import InputError
from pad_ros.imaging.geometry import Pose, rotation_angle
from pad_ros.imaging.views import Measured
from pad_ros.io.read_views import read_views
from pad_ros.io.transforms import NoTransformError, Transforms

POSES = ring_poses(4)
ALONG_X = Pose.from_rt(np.eye(3), np.array([1.0, 0, 0]))


@pytest.fixture(scope="module")
def pictures():
    return images_of(draw, POSES, CAMERA)


def test_poses_are_those_of_tf_at_the_stamps(tmp_path, pictures):
    bag = robot_bag(tmp_path / "bag", pictures, robot_transforms(POSES, noise=0))
    views = read_views(bag, part_frame=FIXTURE)
    assert views.measured == Measured(FIXTURE, CAMERA_FRAME, "tool0") and not views.exact
    for view, pose in zip(views.views, POSES, strict=True):
        np.testing.assert_allclose(view.pose.matrix, pose.matrix, atol=1e-6)
        assert view.camera == CAMERA
    assert not read_views(bag).posed
    assert not read_views(bag, poses="none", part_frame=FIXTURE).posed


def test_between_two_transforms_the_pose_lies_between():
    frames = Transforms()
    turned = Pose.identity().retract(np.array([0, 0, 0.4, 0, 0, 0]))
    frames.add("base", "tool", 0, Pose.identity(), static=False)
    frames.add("base", "tool", 400_000_000, Pose.from_rt(turned.rotation, np.array([0.2, 0, 0])), static=False)
    found = frames.lookup("base", "tool", 100_000_000)
    np.testing.assert_allclose(found.translation, [0.05, 0, 0], atol=1e-9)
    assert rotation_angle(found, Pose.identity()) == pytest.approx(0.1)
    np.testing.assert_allclose(frames.lookup("tool", "base", 100_000_000).matrix, found.inverse().matrix, atol=1e-9)
    for stamp in (-1, 500_000_000):
        with pytest.raises(
            NoTransformError, match=r"/tf does not say where tool was in base: the nearest transform is"
        ):
            frames.lookup("base", "tool", stamp)
    frames.add("base", "tool", 3 * SECOND, Pose.identity(), static=False)
    with pytest.raises(NoTransformError, match=r"1\.00 s away"):
        frames.lookup("base", "tool", 1_400_000_000)


@pytest.mark.parametrize(
    "links, problem",
    [
        ([("world", "a")], "/tf has no frame 'camera'; there are: a, world"),
        ([("world", "a"), ("other", "camera")], "/tf does not connect camera with a: other and world have no parent"),
        ([("camera", "a"), ("a", "camera")], "/tf: the frames .* lie in each other"),
        ([("world", "a"), ("other", "a")], "/tf: the frame a lies in world and in other; a frame has one parent"),
    ],
)
def test_frames_that_do_not_hang_together(links, problem):
    frames = Transforms()
    with pytest.raises(InputError, match=problem):
        for parent, child in links:
            frames.add(parent, child, 0, ALONG_X, static=True)
        frames.lookup("a", "camera", 0)


def test_images_without_a_pose_are_left_out(tmp_path, pictures, capsys):
    messages = robot_transforms(POSES, noise=0)
    bag = robot_bag(tmp_path / "bag", pictures, messages[:-2])  # the robot's last stop is missing
    assert len(read_views(bag, part_frame=FIXTURE)) == len(POSES) - 1
    said = capsys.readouterr().err
    assert f"1 images are left out, as their pose is unknown; image at {stamp_of(3)} ns: /tf does not say where" in said


def test_bags_that_tell_no_poses(tmp_path, pictures):
    with pytest.raises(InputError, match=r"no transforms on /tf or /tf_static; record them, or leave --part-frame out"):
        read_views(write_bag(tmp_path / "none", pictures), part_frame=FIXTURE)
    moved = robot_bag(tmp_path / "other", pictures, robot_transforms(POSES))
    with pytest.raises(
        InputError, match=r"/tf has no frame 'table'; there are: base_link, camera_optical_frame, fixture"
    ):
        read_views(moved, part_frame="table")
    only_images = [message for message in pictures if "image_raw" in message[0]]
    unknown = write_bag(tmp_path / "uncalibrated", [*robot_transforms(POSES), *only_images])
    with pytest.raises(InputError, match="no camera_info beside the images; with --part-frame the intrinsics must be"):
        read_views(unknown, part_frame=FIXTURE)
    bad = tf(transform("world", "camera", ALONG_X))
    bad.transforms[0].transform.rotation.w = 0.0
    with pytest.raises(InputError, match="not a quaternion"):
        read_views(write_bag(tmp_path / "bad", [("/tf", bad), ("/a/image", raw(0, 1))]), part_frame=FIXTURE)


def test_images_that_name_no_frame(tmp_path):
    image = raw(0, 1)
    image.header = make("std_msgs/msg/Header", stamp=image.header.stamp, frame_id="")
    known = ("/tf_static", tf(transform("world", "camera", ALONG_X)))
    bag = write_bag(tmp_path / "bag", [known, ("/a/image", image), ("/a/camera_info", camera_info())])
    with pytest.raises(InputError, match="the images have no frame_id, so /tf cannot say where the camera was"):
        read_views(bag, part_frame="world")


def test_options_for_other_sources(tmp_path, pictures):
    several = [*pictures, ("/other/image", raw(0, 1))]
    bag = write_bag(tmp_path / "bag", several)
    assert len(read_views(bag, topic="/camera/image_raw")) == len(POSES)
    folder = tmp_path / "photos"
    folder.mkdir()
    with pytest.raises(InputError, match="--topic is for a rosbag2"):
        read_views(folder, topic="/camera/image_raw")
