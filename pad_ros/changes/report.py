"""Changes on disk: changes.json, a mask for each photograph, and index.html to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..imaging import images
from ..reporting.gallery import data_uris, page
from ..reporting.output import make_folder, write_json, write_text
from ..reporting.pictures import heatmap_image, mask_overlay
from .compare import SceneChanges, Shown
from .regions import Change


def write_changes(found: SceneChanges, folder: Path, title: str) -> None:
    """`folder`/changes.json, masks/<photograph>.png (white: changed) and index.html; InputError where that fails."""
    make_folder(folder / "masks")
    for shown, name in zip(found.shown, mask_names(found.shown), strict=True):
        images.save(folder / "masks" / name, np.repeat(shown.mask[..., None].astype(np.uint8) * 255, 3, axis=2))
    write_json(folder / "changes.json", described(found))
    entries = [{"name": shown.seen.name, "share": f"{100 * shown.mask.mean():.1f} %", "tiles": _tiles(shown)}
               for shown in found.shown]  # fmt: skip
    text = page("changes.html.j2", title=title, changes=[row(c) for c in found.changes], entries=entries,
                left_out=found.left_out)  # fmt: skip
    write_text(folder / "index.html", text)


def described(found: SceneChanges) -> dict[str, Any]:
    """As JSON takes it: places in the frame of the scene, masks by the names of their files."""
    photographs = [
        {"name": shown.seen.name, "mask": f"masks/{name}", "changed": float(shown.mask.mean()),
         "camera_from_scene": shown.seen.pose.matrix.tolist()}
        for shown, name in zip(found.shown, mask_names(found.shown), strict=True)
    ]  # fmt: skip
    left_out = [{"name": name, "reason": reason} for name, reason in found.left_out]
    return {"changes": [vars(c) for c in found.changes], "photographs": photographs, "left_out": left_out}


def mask_names(shown: Sequence[Shown]) -> list[str]:
    """A file name for each mask: that of the photograph, numbered where two have the same."""
    stems = [Path(s.seen.name).stem for s in shown]
    return [f"{stem}.png" if stems.count(stem) == 1 else f"{k:04}_{stem}.png" for k, stem in enumerate(stems)]


def row(change: Change) -> dict[str, str]:
    """A change as text."""
    return {
        "kind": change.kind,
        "place": ", ".join(f"{x:.2f}" for x in change.place),
        "was": "" if change.was is None else ", ".join(f"{x:.2f}" for x in change.was),
        "size": " x ".join(f"{x:.2f}" for x in change.size),
        "photographs": str(change.photographs),
    }


def _tiles(shown: Shown) -> dict[str, str]:
    image = shown.seen.image
    return data_uris([
        ("before", shown.seen.rendering.rgb8), ("now", image), ("signs", heatmap_image(shown.cue, 0.5)),
        ("changes", mask_overlay(image, shown.mask)),
    ])  # fmt: skip
