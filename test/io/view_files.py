"""Small view sets on disk, in each format that is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pad_ros.imaging import images
from pad_ros.imaging.geometry import Pose

WIDTH, HEIGHT = 48, 40


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> images.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def poses(count: int) -> list[Pose]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [Pose.look_at(np.array([3 * np.cos(a), 3 * np.sin(a), 1.0]), np.zeros(3), np.array([0, 0, 1.0]))
            for a in angles]  # fmt: skip


def write_nerf(
    folder: Path, count: int = 3, names: str = "train/good/{}.png", transforms: str = "transforms.json", **values: Any
) -> dict[str, Any]:
    """Images and a transforms file; `values` are its intrinsics (default: camera_angle_x alone)."""
    frames = []
    for i, pose in enumerate(poses(count)):
        name = names.format(i)
        images.save(folder / (name if Path(name).suffix else f"{name}.png"), picture(i))
        frames.append({"file_path": name, "transform_matrix": pose.to_opengl_camera_to_world().tolist()})
    document = {**(values or {"camera_angle_x": 0.8}), "frames": frames}
    write_json(folder / transforms, document)
    return document


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
