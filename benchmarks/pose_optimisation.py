"""Poses by gradient descent through the rasterizer, from a start that is 10 degrees off.

    python benchmarks/pose_optimisation.py MODEL [--trials 20] [--defective 10] [--patch .3] [--degrees 10] [--pixels N]
                                           [--radius PX] [--shared FOLDER]

MODEL: a model of the loader. Each trial turns the part in a test image by --degrees around an axis drawn at random
and descends. SplatPose from images of good parts; IGS, with and without its matching-point sampling, from images of
defective ones, each pair from the same start; --patch hides that share of the part's pixels in these behind a square of
one colour, as a foreign object would. Points are matched by the features of MODEL. --pixels: to which the
images are shrunk for the descent. A pose is right within .3 degrees. The table is written after each row;
--defective 0 leaves out IGS.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from common import add_shared, loader, option_parser, write_result

from pad_ros.evaluation.dataset import LabelledImage, read_dataset
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Array, Pose, rotation_angle
from pad_ros.imaging.rect import Rect
from pad_ros.inspector import Inspector
from pad_ros.localization.pose_optimization import PoseOptimizer
from pad_ros.localization.view_matcher import ViewMatcher, around_points
from pad_ros.methods.presets import load_method

RIGHT_DEG = 0.3
Trial = tuple[float, ...]  # degrees, share of the distance, matched points, seconds
COLUMNS = ("optimiser", "images", "trials", "within .3 deg", "deg median", "deg p90", "deg max", "shift % median",
           "matched points", "s each")  # fmt: skip


def main() -> None:
    parser = option_parser(__doc__, "model")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--defective", type=int, default=10)
    parser.add_argument("--patch", type=float, default=0.3)
    parser.add_argument("--degrees", type=float, default=10.0)
    parser.add_argument("--pixels", type=int, default=640_000)
    parser.add_argument("--radius", type=int, default=20)
    add_shared(parser)
    arguments = parser.parse_args()
    inspector = Inspector.load(arguments.model)
    found = [image for image in read_dataset(loader(arguments.shared)).images if image.pose is not None]
    good = [image for image in found if image.label == "good"][: arguments.trials]
    defective = [image for image in found if image.label != "good"]
    defective = defective[:: max(len(defective) // max(arguments.defective, 1), 1)][: arguments.defective]
    rows: list[list[object]] = []
    for name, preset, chosen, radius in (
        ("SplatPose", "splatpose", good, 0),
        ("IGS, matched points", "igspad", defective, arguments.radius),
        ("IGS, all pixels", "igspad", defective, 0),
    ):
        if not chosen:
            continue
        settings = replace(load_method(preset).optimization, pixels=arguments.pixels, matched_radius=radius)
        optimizer = PoseOptimizer(inspector.renderer, settings)
        hidden = arguments.patch if chosen is defective else 0.0
        trials = []
        for i, image in enumerate(chosen):
            picture = with_patch(inspector, image, hidden, i)
            trials.append(descend(inspector, optimizer, picture, image.pose, arguments.degrees, i))
            print(
                f"{image.name}: {trials[-1][0]:.3f} deg, {100 * trials[-1][1]:.2f} %, {trials[-1][3]:.0f} s", flush=True
            )
        kind = f"defective, {100 * hidden:.0f} % hidden" if chosen is defective else "good"
        rows.append([name, kind, len(trials), *summary(trials)])
        size = f"of at most {arguments.pixels} pixels" if arguments.pixels < 160_000 else "of their own 400 px"
        text = f"Started {arguments.degrees:g} degrees off; images {size}."
        write_result("pose_optimisation", "Poses by gradient descent", COLUMNS, rows, text)


def with_patch(inspector: Inspector, image: LabelledImage, share: float, seed: int) -> images.Image:
    """The image with a square, whose place and colour `seed` draws, over `share` of the part's pixels."""
    picture = images.load(image.path).copy()
    part = inspector.renderer.part(inspector.prepare(picture).pinhole, image.pose).alpha > 0.5
    rng = np.random.default_rng(seed)
    row, column = rng.choice(np.argwhere(part))
    colour = rng.integers(0, 256, 3)
    for half in range(1, max(part.shape)):
        square = np.s_[max(row - half, 0) : row + half, max(column - half, 0) : column + half]
        if part[square].sum() >= share * part.sum():
            break
    if share > 0:
        picture[square] = colour
    return picture


def descend(
    inspector: Inspector, optimizer: PoseOptimizer, picture: images.Image, true: Pose, degrees: float, seed: int
) -> Trial:  # parameters: what one trial is drawn from
    """One trial; `seed` draws its start."""
    query = inspector.prepare(picture)
    start = turned(true, inspector.renderer.centre, degrees, seed)
    began, weights, points = time.perf_counter(), None, np.zeros((0, 2))
    if radius := optimizer.settings.matched_radius:
        matcher = ViewMatcher(inspector.model.sfm_map, inspector.method.localization, inspector.model.networks)
        window = inspector.cascade.strategies[1].localizer.part_window(query) or Rect.of_image(query.image.shape)
        rendered = inspector.renderer.part(query.pinhole, start)
        points = matcher.shared_points(matcher.features(query, window), rendered.rgb8, window)
        weights = around_points(points, radius, rendered.alpha.shape)
    pose = optimizer.fit(query.undistorted, query.pinhole, start, weights)
    error = float(np.degrees(rotation_angle(pose, true)))
    shift = float(np.linalg.norm(pose.centre - true.centre) / np.linalg.norm(true.translation))
    return error, shift, len(points), time.perf_counter() - began


def turned(pose: Pose, centre: Array, degrees: float, seed: int) -> Pose:
    """The pose after the part turned around its centre, about an axis drawn at random."""
    axis = np.random.default_rng(seed).normal(size=3)
    twist = np.concatenate([np.radians(degrees) * axis / np.linalg.norm(axis), np.zeros(3)])
    about = Pose.from_rt(np.eye(3), centre) @ Pose.identity().retract(twist) @ Pose.from_rt(np.eye(3), -centre)
    return pose @ about


def summary(trials: Sequence[Trial]) -> list[object]:
    errors, shifts, points, seconds = np.array(trials).T
    right = round(float(np.mean(errors <= RIGHT_DEG)), 2)
    spread = [round(float(np.quantile(errors, q)), 3) for q in (0.5, 0.9, 1)]
    shift, each = round(100 * float(np.median(shifts)), 2), round(float(np.median(seconds)), 1)
    return [right, *spread, shift, int(np.median(points)), each]


if __name__ == "__main__":
    main()
