"""Good units of a demo part: each differs from the others as parts from one line do."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from .meshes import Array, at
from .part_kit import CAMERA_ANGLE_X, Part
from .render import SubPart

NOMINAL_SIZE = 400  # px: images in which shifts are counted


@dataclass(frozen=True)
class Variation:
    """How far good units differ. The same seed gives the same units; a limit of 0 switches one difference off.

    label_shift: px in an image of 400 x 400 px by which each label lies off its place, from half of that on.
    colour: largest share by which a batch of one paint or material differs, per channel. screw_turn: degrees, either
    way. play: degrees by which what is mounted (`Part.loose`) may be turned about any axis. texture: cast, painted and
    rough surfaces have their own grain, speckled ones their own speckles.
    """

    label_shift: float = 2.0
    colour: float = 0.03
    screw_turn: float = 180.0
    play: float = 0.5
    texture: bool = True
    seed: int = 0

    def unit(self, part: Part, name: str) -> Part:
        """The unit called `name`, the same however many others there are."""
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{part.name}/{name}".encode())])
        texture = int(rng.integers(1, 1000)) if self.texture else 0
        pixel = 2 * part.distance * np.tan(CAMERA_ANGLE_X / 2) / NOMINAL_SIZE
        batches = {s.material.colour: 1 + self.colour * rng.uniform(-1, 1, 3) for s in part.subparts}
        first = {s.group: s.transform for s in reversed(part.subparts)}
        mountings = {group: _turned_about(first[group][:3, 3], self.play * _in_ball(rng)) for group in part.loose}

        def varied(s: SubPart) -> SubPart:
            shift = self.label_shift * pixel * rng.uniform(0.5, 1.0)
            direction, turn = rng.uniform(0, 2 * np.pi), self.screw_turn * rng.uniform(-1, 1)
            own = s.transform
            if s.label:
                own = own @ at(shift * np.cos(direction), shift * np.sin(direction))
            if s.name in part.screws:
                own = own @ at(rz=turn)
            own = mountings.get(s.group, np.eye(4)) @ own
            material = replace(s.material.tinted(batches[s.material.colour]), texture=texture)
            return replace(s, transform=own, material=material)

        return replace(part, subparts=tuple(varied(s) for s in part.subparts))


def _in_ball(rng: np.random.Generator) -> Array:
    """A vector [3] of a random direction and a length of 0 to 1."""
    direction = rng.normal(size=3)
    return direction * rng.uniform() / np.linalg.norm(direction)


def _turned_about(origin: Array, degrees: Array) -> Array:
    """Rigid matrix [4, 4] of a turn about an axis through `origin` [3]; `degrees` [3] is its rotation vector."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    return at(*origin) @ turn @ at(*-origin)
