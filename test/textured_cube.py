"""A cube with a random pattern on each face, drawn with known poses: enough of a part for SfM and localization."""

from functools import cache

import cv2
import numpy as np

from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.images import Image
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.localization.sfm_map import SfmMap
from pad_ros.training.mapping import build_map

CAMERA = Camera.from_fov(320, 320, np.radians(40))
WHITE = (255, 255, 255)
GROUND = Background((255.0, 255.0, 255.0), 10.0)
HALF = 0.6
AXES = np.eye(3)
# Texels, about a pixel in the images. Without detail as fine as this XFeat's keypoints, which seek corners, wander over
# the blobs: poses were .2 degrees off (median of 40 views) and up to .9, by chance; with it .06 and up to .3.
FINEST = 2.5


@cache
def _texture(seed: int, face: int) -> Image:
    generator = np.random.default_rng([seed, face])
    noise = generator.uniform(0, 1, (256, 256, 3)).astype(np.float32)
    blurred = [cv2.GaussianBlur(noise, (0, 0), width) for width in (9, 4.5, FINEST)]
    pattern = blurred[0] + 0.5 * blurred[1] + 0.5 * blurred[2]
    low, high = np.percentile(pattern, [2, 98])
    return np.clip(30 + 190 * (pattern - low) / (high - low), 30, 220).astype(np.uint8)


def draw(pose: Pose, camera: Camera = CAMERA, ground: Image | tuple[int, int, int] = WHITE, seed: int = 0) -> Image:
    """The cube seen from `pose` before a ground of one colour or an image."""
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    image[:] = ground
    for face in range(6):
        axis, sign = face % 3, 1 if face < 3 else -1
        normal, right = sign * AXES[axis], AXES[(axis + 1) % 3]
        down = np.cross(normal, right)
        if (pose.centre - HALF * normal) @ normal <= 0:
            continue
        corners = np.array([normal - right - down, normal + right - down, normal + right + down, normal - right + down])
        pixels = camera.project(pose.transform(HALF * corners)).astype(np.float32) - 0.5
        square = np.array([[0, 0], [256, 0], [256, 256], [0, 256]], np.float32) - 0.5
        transform = cv2.getPerspectiveTransform(square, pixels)
        size = (camera.width, camera.height)
        cover = cv2.warpPerspective(np.ones((256, 256), np.float32), transform, size, flags=cv2.INTER_LINEAR)[..., None]
        colour = cv2.warpPerspective(_texture(seed, face), transform, size, borderMode=cv2.BORDER_REPLICATE)
        image = (image * (1 - cover) + colour * cover + 0.5).astype(np.uint8)
    return image


def ring_poses(count: int, distance: float = 4.0) -> list[Pose]:
    """Cameras on a ring that goes up and down a little, looking at the centre."""
    turns = 2 * np.pi * np.arange(count) / count
    heights = 0.5 + 0.25 * np.sin(3 * turns)
    centres = distance * np.stack(
        [np.cos(turns) * np.cos(heights), np.sin(turns) * np.cos(heights), np.sin(heights)], 1
    )
    return [Pose.look_at(centre, np.zeros(3), AXES[2]) for centre in centres]


def cube_views(count: int, posed: bool = True) -> ReferenceViews:
    views = [View(f"good/{i:03d}.png", draw(pose), CAMERA, pose if posed else None)
             for i, pose in enumerate(ring_poses(count))]  # fmt: skip
    return ReferenceViews(tuple(views), "cube", exact=posed)


@cache
def cube_map() -> SfmMap:
    """The map of 24 posed views, made once for all tests."""
    return build_map(cube_views(24), GROUND)[0]
