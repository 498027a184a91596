"""Keeps the images that a cell inspects, for `pad calibrate` to learn from. The verdict never waits for the disk."""

from __future__ import annotations

import re
from pathlib import Path

from rclpy.node import Node

from ...imaging import images
from ...imaging.geometry import Camera
from ...io.camera_file import read_camera, write_camera
from .stages import Frame, stamp_ns
from .worker import Worker

WAITING = 8  # images to be written; more are not kept
MOST = 2000  # images in one folder: a parameter that was forgotten must not fill the disk
UNNAMED = "unnamed"


class Collector:
    """Writes the images of frames below `folder`, as <part_id>/<stamp>.png; the log says which it could not write."""

    def __init__(self, node: Node, folder: Path) -> None:
        self._node, self._folder = node, folder
        self._written = 0
        self._camera: Camera | None = None
        self._worker = Worker(WAITING, self._failed)

    def offer(self, frame: Frame) -> None:
        """Keep the frame's image, if there is one and room for it."""
        if frame.image is not None and frame.camera is not None and not self._worker.offer(lambda: self._write(frame)):
            self._node.get_logger().warning(
                f"{self._folder}: an image is not kept, {WAITING} are waiting to be written"
            )

    def close(self) -> None:
        self._worker.close(finish=True)

    def _write(self, frame: Frame) -> None:
        if self._written >= MOST:
            raise OSError(f"{MOST} images are kept, no more are")
        assert frame.image is not None and frame.camera is not None
        stamp = stamp_ns(frame.header.stamp)
        if self._camera is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._camera = read_camera(self._folder) or frame.camera
            write_camera(self._camera, self._folder)
        if frame.camera != self._camera:
            raise OSError("the image is of another camera than those before it")
        unit = re.sub(r"[^A-Za-z0-9_.-]", "_", frame.part_id).lstrip(".")[:100] or f"{UNNAMED}_{stamp}"
        images.save(self._folder / unit / f"{stamp}.png", frame.image)
        self._written += 1

    def _failed(self, error: Exception) -> None:
        self._node.get_logger().warning(f"{self._folder}: an image is not kept: {error}")
