"""A camera as plain values: in a model's manifest, and beside images that a cell collected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..imaging.geometry import Camera
from ..imaging.images import MAX_PIXELS

CAMERA_FILE = "camera.json"
MAX_DISTORTION = 10.0
MAX_BYTES = 100_000


def camera_from_values(values: Mapping[str, Any]) -> Camera:
    """The reverse of `asdict`; KeyError, TypeError or ValueError where the values are missing or impossible."""
    distortion = [finite_number(x, "distortion") for x in values["distortion"]]
    width, height = values["width"], values["height"]
    if len(distortion) not in (4, 8) or any(abs(x) > MAX_DISTORTION for x in distortion):
        raise ValueError(f"impossible distortion {distortion}")
    if type(width) is not int or type(height) is not int or width * height > MAX_PIXELS:
        raise ValueError(f"impossible camera {dict(values)}")
    fx, fy, cx, cy = (finite_number(values[key], key) for key in ("fx", "fy", "cx", "cy"))
    return Camera(width, height, fx, fy, cx, cy, tuple(distortion))


def finite_number(value: Any, name: str) -> float:
    """The value as a float; ValueError for anything but a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return float(value)


def read_camera(folder: Path) -> Camera | None:
    """The camera of the images in a folder; None where it holds no camera.json. InputError for a bad one."""
    path = folder / CAMERA_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        return camera_from_values(dict(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{path}: not a camera ({str(error)[:160]})") from error


def write_camera(camera: Camera, folder: Path) -> None:
    """For `read_camera`; OSError where it cannot be written."""
    (folder / CAMERA_FILE).write_text(json.dumps(asdict(camera)) + "\n", encoding="utf-8")
