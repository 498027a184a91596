"""Images of good units as a line's own camera sees them, and which unit each shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ImageError, InputError
from ..imaging import images
from ..imaging.geometry import Camera
from ..imaging.images import Image
from .bags import image_topic, is_bag, read_images, read_part_ids
from .camera_file import read_camera

GOOD_FOLDERS = ("test/good", "good")  # of a data set, of a line's own images


@dataclass(frozen=True, eq=False)
class GoodImage:
    """One image of a good unit, or the error that reading it gave; the camera where the image brings one."""

    name: str
    unit: str
    taken_ns: int  # Unix time
    image: Image | ImageError
    camera: Camera | None = None


class GoodImages(Protocol):
    """They can be gone through again and again, in the same order."""

    @property
    def source(self) -> str:
        """Where they are from."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[GoodImage]: ...


@dataclass(frozen=True)
class _Folder:
    source: str
    max_pixels: int
    files: Sequence[tuple[str, str, Path]]  # name, unit, file
    camera: Camera | None

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[GoodImage]:
        for name, unit, file in self.files:
            image: Image | ImageError
            try:
                image = images.load(file, self.max_pixels)
            except ImageError as error:
                image = error
            yield GoodImage(name, unit, file.stat().st_mtime_ns if file.exists() else 0, image, self.camera)


@dataclass(frozen=True)
class _Bag:
    source: str
    path: Path
    topic: str
    count: int
    units: Mapping[int, str]  # by the image's stamp, ns

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[GoodImage]:
        for frame in read_images(self.path, self.topic):
            name = str(frame.stamp_ns)
            yield GoodImage(name, self.units.get(frame.stamp_ns, name), frame.stamp_ns, frame.image, frame.camera)


def read_good_images(path: Path, max_pixels: int = images.MAX_PIXELS, topic: str | None = None) -> GoodImages:
    """The images at `path`: a rosbag2, a data set (its test/good), or a folder whose subfolders hold one unit each.

    An image in no subfolder is a unit of its own, and so is an image of a bag for which no result names the part.
    max_pixels: larger images are not decoded. InputError where there are no images.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if is_bag(path):
        name, count = image_topic(path, topic)
        if count == 0:
            raise InputError(f"{path}: the bag has no images")
        return _Bag(str(path), path, name, count, read_part_ids(path))
    if not path.is_dir():
        raise InputError(f"{path}: expected a folder of images of good units, or a rosbag2")
    root = next((path / name for name in GOOD_FOLDERS if (path / name).is_dir()), path)
    files = [(file, file.stem) for file in images.in_folder(root)]
    files += [(file, p.name) for p in root.iterdir() if p.is_dir() for file in images.in_folder(p)]
    if not files:
        raise InputError(f"{root}: no images ({', '.join(images.SUFFIXES)}), neither here nor one folder deeper")
    files.sort(key=lambda found: images.by_number(found[0]))
    named = [(file.relative_to(root).as_posix(), unit, file) for file, unit in files]
    return _Folder(str(path), max_pixels, named, read_camera(root))
