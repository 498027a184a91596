"""Labelled test images in MAD's layout: test/<label>/*, ground_truth/<label>/*, test_poses.json."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, located
from ..imaging import images
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image

GOOD = "good"


@dataclass(frozen=True, eq=False)
class LabelledImage(ABC):
    """One labelled query. pose: the true one, only to measure pose error, where the set brings it."""

    name: str  # path below the data set, e.g. "test/Burrs/3.png", or the image's stamp in a recording
    label: str  # "good" or the kind of defect
    mask_path: Path | None  # None for good images, and for all where the set has no ground truth
    pose: Pose | None

    @property
    def defective(self) -> bool:
        return self.label != GOOD

    @property
    def read_ms(self) -> float:
        """Time spent on the image before `load`."""
        return 0.0

    @abstractmethod
    def load(self) -> tuple[Image, Camera | None]:
        """The image, and its camera where it brings one; ImageError for one that cannot be read."""

    def load_mask(self, shape: tuple[int, ...] | None) -> NDArray[np.bool_] | None:
        """The ground truth [H, W], True on the defect, None without a file; InputError where it is not of `shape`."""
        if self.mask_path is None:
            return None
        mask = images.load(self.mask_path)[..., 0] > 127
        if shape is not None and mask.shape != shape[:2]:
            (rows, columns), (height, width) = mask.shape, shape[:2]
            raise InputError(f"{self.mask_path}: mask of {columns}x{rows} px for an image of {width}x{height} px")
        return mask


@dataclass(frozen=True, eq=False)
class TestImage(LabelledImage):
    """One labelled query of a data set on disk."""

    __test__ = False  # not a pytest class

    path: Path

    def load(self) -> tuple[Image, Camera | None]:
        return images.load(self.path), None


class LabelledImages(Sized, Iterable[LabelledImage], Protocol):
    """They can be gone through again and again."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """The labelled images of one part."""

    name: str
    images: LabelledImages


def read_dataset(path: Path) -> Dataset:
    """The test images below `path`: good ones first, then by label, each in the order of their numbers.

    InputError where the layout or a file does not fit.
    """
    root = Path(path)
    test = root / "test"
    if not test.is_dir():
        raise InputError(f"{root}: no folder test/ (expected test/good/*.png and test/<defect>/*.png)")
    poses = _read_poses(root / "test_poses.json")
    found: list[TestImage] = []
    folders = sorted((p for p in test.iterdir() if p.is_dir()), key=lambda p: (p.name != GOOD, images.by_number(p)))
    for folder in folders:
        files = images.in_folder(folder)
        if folder.name == GOOD:  # as `pad calibrate` takes them: one folder for each unit
            files += [file for unit in folder.iterdir() if unit.is_dir() for file in images.in_folder(unit)]
        for file in sorted(files, key=images.by_number):
            name = file.relative_to(root).as_posix()
            mask = None if folder.name == GOOD else find_mask(root, file)
            found.append(TestImage(name, folder.name, mask, poses.get(_key(name)), file))
    if not found:
        raise InputError(f"{test}: no images in its folders ({', '.join(images.SUFFIXES)})")
    return Dataset(root.resolve().name, tuple(found))


def reference_images(path: Path) -> list[Path]:
    """The anomaly-free images train/good below `path`, in the order of their numbers; InputError where none are."""
    folder = Path(path) / "train" / GOOD
    files = sorted(images.in_folder(folder), key=images.by_number) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder}: no images of good parts, which a baseline learns from")
    return files


def find_mask(root: Path, file: Path) -> Path | None:
    """The ground truth of an image; None where the whole data set has none."""
    if not (root / "ground_truth").is_dir():
        return None
    folder = root / "ground_truth" / file.parent.name
    for stem in (f"{file.stem}_mask", file.stem):
        for suffix in (".png", file.suffix):
            if (candidate := folder / f"{stem}{suffix}").is_file():
                return candidate
    raise InputError(f"{file}: its ground truth {folder / (file.stem + '_mask.png')} is missing")


def _read_poses(path: Path) -> dict[str, Pose]:
    """True poses by `_key` of the image's name; empty where the file does not exist."""
    if not path.is_file():
        return {}
    with located(path):
        try:
            frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
            pairs = [(str(frame["file_path"]), frame["transform_matrix"]) for frame in frames]
            return {_key(name): Pose.from_opengl_camera_to_world(matrix) for name, matrix in pairs}
        except (OSError, ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"not a list of frames with file_path and transform_matrix ({error!r})") from error


def _key(name: str) -> str:
    """An image's path below the data set, without "./" and suffix, as NeRF files may leave the latter out."""
    name = name.removeprefix("./")
    return str(Path(name).with_suffix("")) if Path(name).suffix.lower() in images.SUFFIXES else name
