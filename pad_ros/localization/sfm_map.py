"""The SfM map: views with poses, 3D landmarks, and the descriptors that find them again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import ModelError
from ..imaging.geometry import Camera, Pose
from ..io.colmap_cameras import posed_reconstruction
from ..io.colmap_files import read_model

MAP_FOLDER = "map"
FEATURES_FILE = "features.safetensors"
ON_PART = "on_part"  # in the file where not all descriptors are of the part
TENSORS = ("descriptors", "descriptor_landmark", "descriptor_view", "keypoints", "view_descriptors", "vocabulary")


@dataclass(frozen=True, eq=False)
class SfmMap:
    """Made by `training.mapping`, used by the localizer. V views, P landmarks, D descriptors of landmarks.

    One landmark has one descriptor for each view that saw it.
    """

    view_names: tuple[str, ...]  # [V]
    poses: tuple[Pose, ...]  # [V]
    cameras: tuple[Camera, ...]  # [V] pinholes
    points: NDArray[np.float64]  # [P, 3] part frame
    colours: NDArray[np.uint8]  # [P, 3] RGB
    errors: NDArray[np.float32]  # [P] mean reprojection error, px
    descriptors: NDArray[np.uint8]  # [D, 128] (float32 [D, C] for learned features)
    descriptor_landmark: NDArray[np.int32]  # [D] index into points
    descriptor_view: NDArray[np.int32]  # [D] index into view_names
    keypoints: NDArray[np.float32]  # [D, 2] pixel of that observation in its view
    view_descriptors: NDArray[np.float32]  # [V, C'] one vector per view, for retrieval
    features: str  # name of the local features, e.g. "sift"
    # [W, C] visual words; none where the views are described by a network
    vocabulary: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    on_part: NDArray[np.bool_] | None = None  # [D]; the others are of what is around it. None: all are the part's

    def of_part(self) -> SfmMap:
        """The map with the descriptors and landmarks of the part alone."""
        return self if self.on_part is None else replace(self.take(self.on_part), on_part=None)

    def without(self, name: str) -> SfmMap:
        """The map without one view and without the landmarks that only it saw; itself where no view has that name."""
        if name not in self.view_names:
            return self
        v = self.view_names.index(name)
        views = [i for i in range(len(self.view_names)) if i != v]
        rest = self.take(self.descriptor_view != v)
        return replace(
            rest,
            view_names=tuple(self.view_names[i] for i in views),
            poses=tuple(self.poses[i] for i in views),
            cameras=tuple(self.cameras[i] for i in views),
            descriptor_view=(rest.descriptor_view - (rest.descriptor_view > v)).astype(np.int32),
            view_descriptors=self.view_descriptors[views],
        )

    def resolution(self, centre: NDArray[np.float64], camera: Camera) -> float:
        """px per part unit at a point [3] in the view that shows it largest, taken by its own camera or by this one."""
        least = float(np.sqrt(camera.fx * camera.fy))
        depths = [float(pose.transform(centre[None])[0, 2]) for pose in self.poses]
        return max(
            max(float(np.sqrt(c.fx * c.fy)), least) / max(z, 1e-9) for c, z in zip(self.cameras, depths, strict=True)
        )

    def take(self, chosen: NDArray[np.bool_]) -> SfmMap:
        """The map with these of the descriptors [D] alone, and the landmarks that they are of; all views stay."""
        seen, landmark = np.unique(self.descriptor_landmark[chosen], return_inverse=True)
        return replace(
            self,
            points=self.points[seen],
            colours=self.colours[seen],
            errors=self.errors[seen],
            descriptors=self.descriptors[chosen],
            descriptor_landmark=landmark.astype(np.int32),
            descriptor_view=self.descriptor_view[chosen],
            keypoints=self.keypoints[chosen],
            on_part=None if self.on_part is None else self.on_part[chosen],
        )


def save_map(sfm_map: SfmMap, bundle: Path) -> None:
    """Write `map/` (a COLMAP binary model) and `features.safetensors` into the folder `bundle`."""
    folder = bundle / MAP_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _to_colmap(sfm_map).write_binary(folder)
    tensors = {name: np.ascontiguousarray(getattr(sfm_map, name)) for name in TENSORS}
    if sfm_map.on_part is not None:
        tensors[ON_PART] = sfm_map.on_part.astype(np.uint8)
    save_file(tensors, bundle / FEATURES_FILE, metadata={"features": sfm_map.features})


def load_map(bundle: Path) -> SfmMap:
    """Read what `save_map` wrote; ModelError where a file is missing, damaged, or contradicts another."""
    shots, points = read_model(bundle / MAP_FOLDER)
    tensors, features = _read_features(bundle / FEATURES_FILE)
    sfm_map = SfmMap(
        tuple(shot.name for shot in shots), tuple(shot.pose for shot in shots), tuple(shot.camera for shot in shots),
        *points, features=features, **tensors,
    )  # fmt: skip
    problem = _problem(sfm_map)
    if problem:
        raise ModelError(f"{bundle}: the SfM map is damaged ({problem}); train the model anew")
    return sfm_map


def _to_colmap(sfm_map: SfmMap) -> pycolmap.Reconstruction:
    """Ids are our indices + 1, as COLMAP counts; 2D points of an image are its observations in the order of ours."""
    slots = np.zeros(len(sfm_map.descriptor_view), np.int64)  # [D] index of the observation among its image's
    keypoints = []
    for v in range(len(sfm_map.view_names)):
        own = np.flatnonzero(sfm_map.descriptor_view == v)
        slots[own] = np.arange(len(own))
        keypoints.append(sfm_map.keypoints[own].astype(np.float64))
    reconstruction = posed_reconstruction(sfm_map.view_names, sfm_map.poses, sfm_map.cameras, keypoints)
    order = np.argsort(sfm_map.descriptor_landmark, kind="stable")
    bounds = np.searchsorted(sfm_map.descriptor_landmark[order], np.arange(len(sfm_map.points) + 1))
    for p in range(len(sfm_map.points)):
        track = pycolmap.Track()
        for d in order[bounds[p] : bounds[p + 1]]:
            track.add_element(int(sfm_map.descriptor_view[d]) + 1, int(slots[d]))
        point = pycolmap.Point3D(xyz=sfm_map.points[p], color=sfm_map.colours[p], error=float(sfm_map.errors[p]))
        point.track = track
        reconstruction.add_point3D_with_id(p + 1, point)
    return reconstruction


def _read_features(path: Path) -> tuple[dict[str, Any], str]:
    try:
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in TENSORS}
            if ON_PART in set(file.keys()):
                tensors[ON_PART] = file.get_tensor(ON_PART).astype(bool)
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); train the model anew") from error
    return tensors, str(metadata.get("features", ""))


def _problem(m: SfmMap) -> str | None:
    """What is wrong with the map, None if nothing is."""
    views, landmarks, count = len(m.view_names), len(m.points), len(m.descriptors)
    if views == 0 or landmarks == 0 or count == 0:
        return f"{views} views, {landmarks} landmarks, {count} descriptors"
    shapes = {"descriptors": (2, count), "descriptor_landmark": (1, count), "descriptor_view": (1, count),
              "keypoints": (2, count), "view_descriptors": (2, views)}  # fmt: skip
    if m.on_part is not None:
        shapes[ON_PART] = (1, count)
    for name, (dimensions, length) in shapes.items():
        array = getattr(m, name)
        if array.ndim != dimensions or len(array) != length:
            return f"{name} has shape {list(array.shape)}, expected {length} rows"
    if m.on_part is not None and not m.on_part.any():
        return "none of its descriptors is of the part"
    if m.keypoints.shape[1] != 2:
        return f"keypoints have {m.keypoints.shape[1]} columns"
    if m.vocabulary.ndim != 2 or m.vocabulary.size not in (0, m.view_descriptors.shape[1]):
        return "vocabulary and view descriptors do not belong together"
    for name, end in (("descriptor_landmark", landmarks), ("descriptor_view", views)):
        index = getattr(m, name)
        if index.dtype != np.int32 or index.min() < 0 or index.max() >= end:
            return f"{name} points outside 0..{end - 1}"
    if m.descriptors.dtype not in (np.uint8, np.float32):
        return f"descriptors of type {m.descriptors.dtype}"
    for name in ("keypoints", "view_descriptors", "vocabulary"):
        if getattr(m, name).dtype != np.float32:
            return f"{name} of type {getattr(m, name).dtype}"
    for name in ("points", "errors", "keypoints", "descriptors", "view_descriptors", "vocabulary"):
        if not np.all(np.isfinite(getattr(m, name))):
            return f"{name} holds values that are not finite"
    return None
