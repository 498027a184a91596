"""What the demo parts are put together from: common surfaces, bolts, labels."""

from __future__ import annotations

from dataclasses import dataclass

from . import materials as m
from . import meshes as g
from .materials import Material, Pattern
from .meshes import at
from .render import SubPart

CAMERA_ANGLE_X = 0.6911112070083618  # radians: that of MAD and of the NeRF synthetic scenes


@dataclass(frozen=True, eq=False)
class Part:
    """A part and what can go wrong with it."""

    name: str
    subparts: tuple[SubPart, ...]
    loose: tuple[str, ...]  # groups that can be missing, shifted or of another colour
    screws: frozenset[str]  # names of sub-parts that may stand at any angle about their own z
    distance: float  # from which the reference views are taken


STEEL = Material((0.66, 0.67, 0.69), (0.5, 0.5, 0.53), Pattern.TURNED, 0.02, 0.4, metal=True, grain=0.08)
BRUSHED = Material((0.66, 0.67, 0.69), (0.46, 0.47, 0.5), Pattern.BRUSHED, 0.018, 0.45, metal=True, grain=0.08)
BRASS = Material((0.85, 0.66, 0.3), (0.6, 0.43, 0.16), Pattern.TURNED, 0.025, 0.3, metal=True, grain=0.08)
BLACK = Material((0.13, 0.13, 0.14), (0.2, 0.2, 0.22), Pattern.SPECKLED, 0.02, 0.5, grain=0.12)
CHROME = Material((0.86, 0.87, 0.89), roughness=0.08, metal=True, grain=0.015)
HAZARD = Material((0.93, 0.73, 0.1), (0.1, 0.1, 0.1), Pattern.STRIPES, 0.16, 0.4)


def painted(colour: m.Colour, worn: m.Colour, scale: float = 0.09, roughness: float = 0.4) -> Material:
    """Paint with worn patches."""
    return Material(colour, worn, Pattern.MOTTLED, scale, roughness, grain=0.1)


def plastic(colour: m.Colour, roughness: float = 0.25) -> Material:
    """Moulded plastic, slightly glossy."""
    return Material(colour, roughness=roughness, reflectance=0.045, grain=0.035)


def printed(decal: m.Decal) -> Material:
    """A label."""
    return Material(decal.paper, roughness=0.55, reflectance=0.03, grain=0.04, decal=decal)


def plate(name: str, decal: m.Decal, where: g.Array) -> SubPart:
    """A thin label plate that carries `decal`; its own +z faces outwards."""
    return SubPart(name, g.box(decal.width, decal.height, 0.012, 0.004, 1), where, printed(decal), label=True)


def bolt(name: str, where: g.Array, size: float = 0.075, head: Material = STEEL) -> list[SubPart]:
    """A hexagon bolt head with a washer and the end of the thread; its own z points out of the surface at z = 0."""
    washer = Material((0.8, 0.8, 0.82), (0.6, 0.6, 0.64), Pattern.TURNED, 0.02, 0.3, metal=True)
    return [
        SubPart(f"{name}/washer", g.ring(0.5 * size, 1.45 * size, 0.3 * size, 0.004), where @ at(z=0.15 * size),
                washer),
        SubPart(f"{name}/head", g.extrude(g.circle(size, 6), 0.75 * size, bevel=0.14 * size),
                where @ at(z=0.67 * size, rz=17), head),
        SubPart(f"{name}/thread", g.cylinder(0.5 * size, 0.3 * size, 0.01, 20), where @ at(z=1.1 * size), head),
    ]  # fmt: skip
