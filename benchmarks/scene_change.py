"""Changes of generated scenes: masks and kinds against the truth, in fixed and in other light, and of unchanged pairs.

    python benchmarks/scene_change.py [--seeds 1,2,3] [--budget SECONDS] [--pictures DIR]

Each scene is photographed once before, and learned once, by default without its poses; rows are what happened then:
one change of each kind by itself, all together, the same in other light, nothing, and nothing in other light. A
photograph that was not found in the scene counts as an empty mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import option_parser, write_result
from numpy.typing import NDArray

from pad_ros.changes.compare import Photo, SceneChanges, compare
from pad_ros.changes.known_scene import KnownScene
from pad_ros.changes.report import write_changes
from pad_ros.demo.lamps import STUDIO
from pad_ros.demo.scenes import KINDS, OTHER_LIGHT, ScenePair, camera_of, make_pair, poses
from pad_ros.evaluation.change_masks import change_figures
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.methods.presets import load_method

ROWS = {
    **{kind: ((kind,), STUDIO) for kind in KINDS},
    "all four": (KINDS, STUDIO), "all four in other light": (KINDS, OTHER_LIGHT),
    "unchanged": ((), STUDIO), "unchanged in other light": ((), OTHER_LIGHT),
}  # fmt: skip
COLUMNS = (
    "what happened", "scenes", "photographs", "found", "mIoU", "F1", "unchanged ones without finds", "kinds right",
)  # fmt: skip

Result = tuple[ScenePair, SceneChanges, dict[str, NDArray[np.bool_]]]  # of one pair; truth by photograph


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds to learn each scene")
    parser.add_argument("--before", type=int, default=30, help="photographs before")
    parser.add_argument("--after", type=int, default=8, help="photographs after each change")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated")
    parser.add_argument("--posed", action="store_true", help="use the poses of the photographs before")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write a report of each pair")
    a = parser.parse_args()
    camera, method = camera_of(a.width, 3 * a.width // 4), load_method("scene_change")
    results: dict[str, list[Result]] = {row: [] for row in a.rows.split(",")}
    for seed in map(int, a.seeds.split(",")):
        first = make_pair(seed, ())
        before = [View(f"{k}.png", first.photograph(pose, camera, after=False), camera,
                       pose if a.posed else None) for k, pose in enumerate(poses(a.before, seed))]  # fmt: skip
        learned: dict[tuple[str, ...], KnownScene] = {}
        for row in results:
            kinds, lamps = ROWS[row]
            pair = make_pair(seed, kinds, lamps)
            names = tuple(thing.name for thing in pair.before)
            if names not in learned:  # what appears is not there before
                taken = before if names == tuple(t.name for t in first.before) else [
                    replace(v, image=pair.photograph(pose, camera, after=False))
                    for v, pose in zip(before, poses(a.before, seed), strict=True)
                ]  # fmt: skip
                learned[names] = KnownScene.learn(ReferenceViews(tuple(taken), f"scene {seed}"), method, a.budget)
            views = poses(a.after, seed + 1000)
            photos = [Photo(f"{k}.png", pair.photograph(pose, camera, after=True)) for k, pose in enumerate(views)]
            found = compare(learned[names], photos)
            truth = {f"{k}.png": pair.changed(pose, camera) for k, pose in enumerate(views)}
            results[row].append((pair, found, truth))
            if a.pictures is not None:
                write_changes(found, a.pictures / f"{seed}_{row.replace(' ', '_')}", f"{row}, scene {seed}")
            print(seed, row, figures_of([results[row][-1]]), [c.kind for c in found.changes], flush=True)
    rows = [[row, len(each), *figures_of(each)] for row, each in results.items()]
    write_result("scene_change", "Changes of generated scenes", COLUMNS, rows)


def figures_of(results: Sequence[Result]) -> list[float | int | str | None]:
    """photographs, found, mIoU, F1, share without false finds, kinds right of all changes."""
    masks, truths, located, right, changes = [], [], 0, 0, 0
    for pair, found, truth in results:
        shown = {s.seen.name: s.mask for s in found.shown}
        located += len(shown)
        masks += [shown.get(name, np.zeros_like(mask)) for name, mask in truth.items()]
        truths += list(truth.values())
        changes += len(pair.changes)
        right += kinds_right(pair, found)
    f = change_figures(masks, truths)
    values = [None if math.isnan(value) else value for value in (f.miou, f.f1, f.clean)]
    return [len(masks), located, *values, f"{right} of {changes}"]


def kinds_right(pair: ScenePair, found: SceneChanges) -> int:
    """How many kinds were told. Frames of found poses differ from the generator's, so places are not compared."""
    left, right = [change.kind for change in found.changes], 0
    for change in pair.changes:
        if change.kind in left:
            left.remove(change.kind)
            right += 1
    return right


if __name__ == "__main__":
    main()
