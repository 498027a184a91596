"""What a demo part can lie on in queries: it shows behind the part, takes light from it and is mirrored in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from . import meshes as g
from .materials import Colour, Decal, Material, Pattern
from .meshes import at
from .render import Scene, SubPart, build_scene

SIDE = 4.8  # the cameras must have all of it in front of them
THICKNESS = 0.04
CELLS = (24, 96)  # per side: coarse and fine texture


@dataclass(frozen=True)
class Ground:
    """A plate below the part. colour, second: sRGB, mixed by `pattern` or, with None, in a texture of random cells.

    It takes all light from below; brightness: how much of the studio's floor glossy faces still mirror.
    """

    colour: Colour
    second: Colour
    pattern: Pattern | None = None
    brightness: float = 0.1

    def under(self, scene: Scene) -> Scene:
        """The scene with the ground below it."""
        lowest = float(scene.vertices[:, 2].min())
        plate = SubPart("ground", g.box(SIDE, SIDE, THICKNESS), at(z=lowest - 0.5 * THICKNESS), self._material())
        standing = build_scene([*scene.subparts, plate])
        return replace(standing, looks=standing.looks._replace(marks=scene.looks.marks))

    def _material(self) -> Material:
        if self.pattern is not None:
            return Material(self.colour, self.second, self.pattern, 0.35, roughness=0.7, grain=0.1)
        rng = np.random.default_rng(0)
        coarse, fine = (cv2.resize(rng.random((n, n)), (256, 256), interpolation=cv2.INTER_NEAREST) for n in CELLS)
        share = (0.6 * coarse + 0.4 * fine)[..., None]
        texels = 255 * (share * np.array(self.colour) + (1 - share) * np.array(self.second))
        return Material(self.colour, roughness=0.8, decal=Decal(texels.astype(np.uint8), SIDE, SIDE, self.colour))


GROUNDS = {
    "belt": Ground((0.3, 0.31, 0.32), (0.16, 0.16, 0.17), Pattern.BRUSHED, 0.08),
    "wood": Ground((0.62, 0.45, 0.28), (0.42, 0.28, 0.16), brightness=0.3),
}
