"""What a model takes for the part, drawn into some of its reference photographs, for a person to see if it is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..imaging import images
from ..imaging.images import Image
from ..model import ReferenceModel
from .gallery import data_uris, page
from .output import write_text
from .pictures import mask_overlay

PICTURES = 8  # of the photographs, evenly chosen
SHADE = 0.45  # of the brightness is left to what is not compared


def part_pictures(model: ReferenceModel, count: int = PICTURES) -> Iterator[tuple[str, Image]]:
    """(name, picture) of up to `count` photographs: the part is outlined, all around it is dark."""
    if not model.photographs:
        return
    renderer = model.renderer()
    for photograph in model.photographs[:: max(-(-len(model.photographs) // count), 1)]:
        mask = renderer.part(photograph.camera, photograph.pose).alpha > 0.5
        shaded = np.where(mask[..., None], photograph.image, (SHADE * photograph.image).astype(np.uint8))
        yield photograph.name, mask_overlay(shaded, mask)


def write_part_pictures(model: ReferenceModel, folder: Path) -> None:
    """Write the pictures, and index.html with all of them, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = list(part_pictures(model))
    for k, (_, picture) in enumerate(pictures):
        images.save(folder / f"part_{k}.png", picture)
    write_text(
        folder / "index.html",
        page(
            "part.html.j2", title=f"What {model.name} compares", part=region_text(model), pictures=data_uris(pictures)
        ),
    )


def region_text(model: ReferenceModel) -> str:
    """Which region of the part frame is the part, for a model that was taught in a scene; else ''."""
    region, plane = model.training.get("region"), model.training.get("above_plane")
    if not isinstance(region, str):
        return ""
    if not isinstance(plane, list) or len(plane) != 4 or not all(isinstance(x, float) for x in plane):
        return region
    return f"{region}, above the plane {plane[0]:.3g} x + {plane[1]:.3g} y + {plane[2]:.3g} z = {plane[3]:.4g}"
