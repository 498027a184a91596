"""Maps photographs without their poses, and compares with plain COLMAP.

    python benchmarks/mapping.py [--data fox,temple_ring] [--method ours,colmap] [--steps 1,2,3] [--shared FOLDER]

All photographs, every second, third and so on, at their own resolution, in a folder without poses or intrinsics. What
is not measured this time keeps its row in the results.
COLMAP: pycolmap's defaults (SIFT, exhaustive matching, incremental mapping). Poses are compared with the known ones
after fitting one similarity; positions in shares of the median distance to what the cameras look at. The photographs
that the map was not made of are then localized in it; right means within 3 degrees and 3 %.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
from common import RESULTS, add_shared, chosen, option_parser, write_result

from pad_ros.errors import TrainingError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Array, Camera, Pose, rotation_angle
from pad_ros.io.read_views import read_views
from pad_ros.localization.localizer import Localizer
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.training.mapping import build_map
from pad_ros.training.train import find_background
from pad_ros.training.view_matching import focus_point

MAX_DEGREES, MAX_SHIFT = 3.0, 0.03  # of a right pose of a query
STEPS = {"fox": (1, 2, 3, 4, 5), "temple_ring": (1, 2, 3, 4)}
METHODS = ("colmap", "ours")
COLUMNS = ("data", "views", "mapped by", "registered", "landmarks", "s", "rotation deg", "position %", "left over",
           "localized", "wrong")  # fmt: skip
TEXT = ("Rotation and position: median error of the registered views. Left over: photographs that were not used; "
        "localized: of those, within 3 degrees and 3 %.")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mapped:
    """What one run came to. localizer and camera: to try the photographs that are left over."""

    poses: Mapping[str, Pose]  # by the name of the file
    landmarks: int
    seconds: float
    localizer: Localizer | None = None
    camera: Camera | None = None


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--data", default=",".join(STEPS))
    parser.add_argument("--method", default=",".join(METHODS))
    parser.add_argument("--steps", default="1,2,3", help="take every so manieth photograph")
    add_shared(parser)
    arguments = parser.parse_args()
    methods = chosen(parser, arguments.method, METHODS)
    wanted = {int(step) for step in arguments.steps.split(",")}
    rows = kept_rows()
    for name in chosen(parser, arguments.data, list(STEPS)):
        truth = known_poses(arguments.shared / "data" / name)
        for step in sorted(wanted & set(STEPS[name])):
            for method in methods:
                with tempfile.TemporaryDirectory() as folder:
                    row = measure(name, truth, step, method, Path(folder))
                rows[str(row[0]), -int(str(row[1])), str(row[2])] = row
                print(row, flush=True)
    write_result("mapping", "Mapping of photographs without poses", COLUMNS, [rows[key] for key in sorted(rows)], TEXT)


def kept_rows() -> dict[tuple[str, int, str], list[object]]:
    """The rows of earlier runs, by data, views (the most first) and method."""
    path = RESULTS / "mapping.json"
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    return {(row[0], -row[1], row[2]): row for row in rows}


def known_poses(folder: Path) -> dict[Path, Pose]:
    """The photographs of a data set, in order, and where they were taken."""
    if (folder / "cameras.json").is_file():
        entries = json.loads((folder / "cameras.json").read_text())["images"]
        return {folder / "images_640x480" / name: Pose.from_rt(np.array(entry["R_w2c"]), np.array(entry["t_w2c"]))
                for name, entry in sorted(entries.items())}  # fmt: skip
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    poses = {folder / frame["file_path"]: Pose.from_opengl_camera_to_world(np.array(frame["transform_matrix"]))
             for frame in sorted(frames, key=lambda frame: str(frame["file_path"]))}  # fmt: skip
    return {path: pose for path, pose in poses.items() if path.is_file()}  # more are listed than there are


def measure(name: str, truth: Mapping[Path, Pose], step: int, method: str, folder: Path) -> list[object]:
    """One row of the table."""
    used = list(truth)[::step]
    others = [path for path in truth if path not in used]
    (folder / "photos").mkdir()
    for path in used:
        shutil.copy(path, folder / "photos")
    mapped = map_ours(folder / "photos") if method == "ours" else map_colmap(folder)
    row: list[object] = [name, len(used), method, len(mapped.poses), mapped.landmarks, round(mapped.seconds)]
    if len(mapped.poses) < 4:
        return [*row, None, None, len(others), None, None]
    by_name = {path.name: pose for path, pose in truth.items()}
    registered = list(mapped.poses)
    true = [by_name[one] for one in registered]
    errors, moved = compared([mapped.poses[one] for one in registered], true)
    medians = np.median(errors, axis=0)
    row += [round(float(medians[0]), 3), round(100 * float(medians[1]), 3), len(others)]
    if mapped.localizer is None or mapped.camera is None:
        return [*row, None, None]
    right = wrong = 0
    for path in others:
        query = PreparedQuery(images.load(path), mapped.camera, mapped.localizer.background)
        found = mapped.localizer.localize(query)
        if found.pose is None:
            print(f"{path.name}: {found.reason_text}")
            continue
        degrees, shift = moved.error(found.pose, truth[path])
        good = degrees < MAX_DEGREES and shift < MAX_SHIFT
        right, wrong = right + good, wrong + (not good)
    return [*row, right, wrong]


def map_ours(folder: Path) -> Mapped:
    views = read_views(folder, poses="none")
    background = find_background(views)
    start = time.perf_counter()
    try:
        sfm_map, used = build_map(views, background)
    except TrainingError as error:
        print(error)
        return Mapped({}, 0, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    poses = {Path(view.name).name: view.pose for view in used.views if view.pose}
    camera = replace(used.views[0].camera, distortion=used.views[0].distortion)
    return Mapped(poses, len(sfm_map.points), seconds, Localizer(sfm_map, background), camera)


def map_colmap(folder: Path) -> Mapped:
    pycolmap.set_random_seed(0)
    database, photos = folder / "database.db", folder / "photos"
    start = time.perf_counter()
    pycolmap.extract_features(database, photos)
    pycolmap.match_exhaustive(database)
    models = pycolmap.incremental_mapping(database, photos, folder)
    seconds = time.perf_counter() - start
    if not models:
        return Mapped({}, 0, seconds)
    model = max(models.values(), key=lambda one: one.num_reg_images())
    poses = {image.name: Pose(np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]))
             for image in model.images.values() if image.has_pose}  # fmt: skip
    return Mapped(poses, model.num_points3D(), seconds)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The similarity from a found frame to the true one."""

    true_from_found: pycolmap.Sim3d
    size: float  # the median distance to what the true cameras look at

    def error(self, found: Pose, true: Pose) -> tuple[float, float]:
        """(degrees, share of the size)."""
        turned = Pose.from_rt(found.rotation @ self.true_from_found.rotation.matrix().T, np.zeros(3))
        centre: Array = self.true_from_found * found.centre
        return float(np.degrees(rotation_angle(turned, true))), float(np.linalg.norm(centre - true.centre)) / self.size


def compared(found: Sequence[Pose], true: Sequence[Pose]) -> tuple[list[tuple[float, float]], Fitted]:
    """The error of each pose after a similarity was fitted to the camera centres, and that."""
    sides = [np.array([pose.centre for pose in poses]) for poses in (found, true)]
    similarity = pycolmap.estimate_sim3d(*sides)
    if similarity is None:
        raise SystemExit("the poses found do not resemble the true ones")
    focus = focus_point(np.array([pose.rotation[2] for pose in true]), sides[1])
    fitted = Fitted(similarity, float(np.median(np.linalg.norm(sides[1] - focus, axis=1))))
    return [fitted.error(f, t) for f, t in zip(found, true, strict=True)], fitted


if __name__ == "__main__":
    main()
