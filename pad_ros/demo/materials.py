"""What surfaces of demo parts look like: a material per sub-part, decals, and marks (stains, scratches)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # sRGB, 0..1
Vector = tuple[float, float, float] | NDArray[np.float64]

DECAL_SIZE = 256  # texels per side


class Pattern(IntEnum):
    """How the second colour of a material is laid over the first (in the sub-part's own coordinates)."""

    PLAIN = 0
    MOTTLED = 1  # large soft patches: cast skin, wear
    SPECKLED = 2  # small hard spots: cast iron, granite
    BRUSHED = 3  # fine lines along x
    STRIPES = 4  # diagonal warning stripes in x, y
    KNURLED = 5  # diamonds around z
    TURNED = 6  # fine rings around z


@dataclass(frozen=True)
class Material:
    """A surface. `reflectance` is the mirror reflectance at normal incidence of a dielectric; metals use their
    colour. `scale` is the size of the pattern and `grain` the strength of fine noise on the colour. `texture`
    differs between pieces of rough skin: it moves the grain of MOTTLED and SPECKLED surfaces and the speckles."""

    colour: Colour
    second: Colour = (0.0, 0.0, 0.0)
    pattern: Pattern = Pattern.PLAIN
    scale: float = 0.1
    roughness: float = 0.45
    reflectance: float = 0.04
    metal: bool = False
    grain: float = 0.06
    decal: Decal | None = None
    texture: int = 0

    def tinted(self, gain: Vector) -> Material:
        """The material with each channel [3] of its colours multiplied by `gain`, up to .95."""

        def tint(colour: Colour) -> Colour:
            r, g, b = (min(channel * factor, 0.95) for channel, factor in zip(colour, gain))
            return r, g, b

        decal = self.decal
        if decal is not None:
            texels = np.clip(np.round(decal.image * np.asarray(gain)), 0, 255)
            decal = replace(decal, image=texels.astype(np.uint8))
        return replace(self, colour=tint(self.colour), second=tint(self.second), decal=decal)

    def row(self, name: str, decal_index: int) -> list[float]:
        """The numbers that the shading kernel reads; `name` of the sub-part seeds its noise."""
        seed = zlib.crc32(name.encode()) % 1000 * 0.37
        rough = self.pattern in (Pattern.MOTTLED, Pattern.SPECKLED)
        pattern_seed = seed + self.texture * (self.pattern == Pattern.SPECKLED)
        size = (self.decal.width, self.decal.height) if self.decal else (1.0, 1.0)
        return [float(self.pattern), self.scale, *linear(self.colour), *linear(self.second), self.reflectance,
                self.roughness, float(self.metal), self.grain, float(decal_index), *size,
                pattern_seed, seed + self.texture * rough]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Decal:
    """A picture printed on the side of a sub-part that faces its own +z, centred, `width` x `height` units."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB, row 0 at +y
    width: float
    height: float
    paper: Colour  # around the print

    def texels(self) -> NDArray[np.float32]:
        """Linear colours [DECAL_SIZE, DECAL_SIZE, 3]."""
        small = cv2.resize(self.image, (DECAL_SIZE, DECAL_SIZE), interpolation=cv2.INTER_AREA)
        return (small.astype(np.float32) / 255) ** 2


@dataclass(frozen=True)
class Mark:
    """Colour on the surface near `centre`: a blotch of `radius` with a ragged edge, or, if `end` is given, a line
    of half-width `radius` from `centre` to `end`. Only surfaces that face along `normal` take it."""

    centre: Vector
    normal: Vector
    radius: float
    colour: Colour
    opacity: float
    end: Vector | None = None

    def row(self) -> list[float]:
        """The numbers that the shading kernel reads."""
        end = self.centre if self.end is None else self.end
        return [float(self.end is not None), *self.centre, *self.normal, self.radius, *linear(self.colour),
                self.opacity, *end]  # fmt: skip


def linear(colour: Colour) -> list[float]:
    """Linear intensities of a display colour (gamma 2: quick to invert, close to sRGB)."""
    return [float(channel**2) for channel in colour]


def recoloured(material: Material, colour: Colour) -> Material:
    """The material in another colour: same pattern contrast, same gloss, no decal."""
    dark = 0.6 if sum(material.second) < sum(material.colour) else 1.4
    second = (min(colour[0] * dark, 1.0), min(colour[1] * dark, 1.0), min(colour[2] * dark, 1.0))
    return replace(material, colour=colour, second=second, decal=None, texture=0)


def label(lines: list[str], width: float, height: float, ink: Colour, paper: Colour, *, barcode: bool = False) -> Decal:
    """A printed label: lines of text in a frame, with a bar code below if wanted."""
    rows, columns = 256, max(64, round(256 * width / height))
    image = np.full((rows, columns, 3), _bytes(paper), np.uint8)
    cv2.rectangle(image, (6, 6), (columns - 7, rows - 7), _bytes(ink), 5)
    space = rows * (0.62 if barcode else 0.88)
    for k, line in enumerate(lines):
        step = space / len(lines)
        (w, h), _ = cv2.getTextSize(line, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
        scale = min(0.62 * step / h, 0.84 * columns / w)
        origin = (int(columns * 0.08), int(rows * 0.08 + step * (k + 0.5) + scale * h / 2))
        cv2.putText(image, line, origin, cv2.FONT_HERSHEY_DUPLEX, scale, _bytes(ink), max(2, round(3 * scale)),
                    cv2.LINE_AA)  # fmt: skip
    if barcode:
        rng = np.random.default_rng(zlib.crc32("".join(lines).encode()))
        x = int(columns * 0.08)
        while x < columns * 0.9:
            bar = int(rng.integers(4, 12))
            cv2.rectangle(image, (x, int(rows * 0.7)), (x + bar, int(rows * 0.9)), _bytes(ink), -1)
            x += bar + int(rng.integers(5, 12))
    return Decal(image, width, height, paper)


def ruler(width: float, height: float, ink: Colour, paper: Colour) -> Decal:
    """A graduated scale along x."""
    image = np.full((64, 512, 3), _bytes(paper), np.uint8)
    for k in range(33):
        x = 10 + round(k * 491 / 32)
        long = 44 if k % 8 == 0 else 30 if k % 4 == 0 else 18
        cv2.line(image, (x, 0), (x, long), _bytes(ink), 3)
        if k % 8 == 0 and k < 32:
            cv2.putText(image, str(k // 8), (x + 6, 58), cv2.FONT_HERSHEY_DUPLEX, 0.9, _bytes(ink), 2, cv2.LINE_AA)
    return Decal(image, width, height, paper)


def circuit(width: float, height: float, seed: int) -> Decal:
    """A printed circuit board: solder mask, copper traces, vias, pads, printed outlines and names."""
    rng = np.random.default_rng(seed)
    columns, rows = 768, round(768 * height / width)
    image = np.full((rows, columns, 3), (18, 84, 48), np.uint8)
    for _ in range(90):  # traces: runs at 0, 45 and 90 degrees
        p = rng.integers([0, 0], [columns, rows])
        direction = int(rng.integers(8))
        for _ in range(4):
            angle = direction * np.pi / 4
            q = p + (rng.integers(25, 110) * np.array([np.cos(angle), np.sin(angle)])).astype(int)
            cv2.line(image, tuple(map(int, p)), tuple(map(int, q)), (40, 122, 70), 5, cv2.LINE_AA)
            p, direction = q, (direction + int(rng.choice([-1, 1]))) % 8
        cv2.circle(image, tuple(map(int, p)), 8, (190, 160, 90), -1, cv2.LINE_AA)
        cv2.circle(image, tuple(map(int, p)), 3, (30, 40, 30), -1, cv2.LINE_AA)
    for k in range(26):
        x, y = (int(v) for v in rng.integers([20, 20], [columns - 90, rows - 50]))
        if k % 2:
            cv2.rectangle(image, (x, y), (x + 44, y + 22), (214, 222, 214), 2)
            cv2.rectangle(image, (x + 3, y + 3), (x + 14, y + 19), (205, 180, 120), -1)
            cv2.rectangle(image, (x + 30, y + 3), (x + 41, y + 19), (205, 180, 120), -1)
        name = f"{'RCLU'[k % 4]}{int(rng.integers(10, 99))}"
        cv2.putText(image, name, (x, y - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.62, (214, 222, 214), 2, cv2.LINE_AA)
    cv2.rectangle(image, (8, 8), (columns - 9, rows - 9), (214, 222, 214), 3)
    return Decal(image, width, height, (0.07, 0.33, 0.19))


def _bytes(colour: Colour) -> tuple[int, int, int]:
    return (round(255 * colour[0]), round(255 * colour[1]), round(255 * colour[2]))
