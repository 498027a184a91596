"""A folder of views that are taken one by one, as `pad train` reads it: images, their poses in transforms.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..imaging import images
from ..imaging.geometry import Camera, Pose, undistort_image
from ..imaging.images import Image

TRANSFORMS = "transforms.json"
MOST = 1000  # views: a trigger that never ends must not fill the disk


class TaughtViews:
    """Views of one part that is taught now, in a folder that was empty before. InputError where it was not."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: is in use; name a new folder for the views, or empty that one")
        self.folder = folder
        self.poses: list[Pose] = []
        self.count = 0
        self._frames: list[dict[str, Any]] = []

    def add(self, image: Image, camera: Camera | None, pose: Pose | None) -> None:
        """Keep a view. Those with a pose (then with a camera) are written without their lens's distortion.

        OSError where it cannot be written.
        """
        if self.count >= MOST:
            raise OSError(f"{MOST} views are kept, no more are")
        name = f"images/{self.count:04d}.png"
        if pose is None or camera is None:
            images.save(self.folder / name, image)
            self.count += 1
            return
        images.save(self.folder / name, undistort_image(image, camera))
        frame = {
            "file_path": name, "transform_matrix": pose.to_opengl_camera_to_world().tolist(),
            "w": camera.width, "h": camera.height, "fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx,
            "cy": camera.cy,
        }  # fmt: skip
        written = self.folder / f"{TRANSFORMS}.part"
        written.write_text(json.dumps({"frames": [*self._frames, frame]}) + "\n", encoding="utf-8")
        written.replace(self.folder / TRANSFORMS)
        self._frames.append(frame)  # not before it is written: the next view takes the name of one that was not
        self.poses.append(pose)
        self.count += 1
