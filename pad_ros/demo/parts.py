"""The demo parts, each a list of named solids.

They differ in shape, gloss, texture, symmetry and size in the frame: `valve` is glossy with little texture,
`gearbox` nearly symmetric about its axis, `pcb` flat, `toy` brightly coloured, `connector` small in the frame.
A part lies about the origin, z up, inside a sphere of about 1 unit.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch

import numpy as np

from ..errors import InputError
from . import materials as m
from . import meshes as g
from .materials import Material, Pattern
from .meshes import at
from .part_kit import BLACK, BRASS, BRUSHED, CHROME, HAZARD, STEEL, Part, bolt, painted, plastic, plate, printed
from .render import SubPart

# The tables of solids keep one solid a line where they can.
# fmt: off

def bracket() -> list[SubPart]:
    """A bearing bracket: machined base, painted upright with a bronze bush, gussets, bolts, labels, a sensor."""
    blue = painted((0.12, 0.3, 0.56), (0.2, 0.38, 0.62), 0.07)
    outline = np.array([(-0.5, -0.42), (0.5, -0.42), (0.5, 0.1), *_arc(0, 0.12, 0.5, 5, 175, 18), (-0.5, 0.1)])
    gusset = np.array([(0.0, 0.0), (0.5, 0.0), (0.5, 0.08), (0.1, 0.52), (0.0, 0.52)])
    name = m.label(["PAD-7  BRACKET", "SN 0421-18", "MAX 250 N"], 0.5, 0.23, (0.08, 0.08, 0.1), (0.86, 0.85, 0.78),
                   barcode=True)
    casting = m.label(["TYPE 7B  CAST 2291", "MADE IN EU  2024", "Rev. C"], 0.8, 0.5, (0.16, 0.16, 0.18),
                      (0.68, 0.69, 0.71), barcode=True)
    left, right = (m.label([text], 0.14, 0.14, (0.9, 0.9, 0.85), paper)
                   for text, paper in (("L2", (0.5, 0.1, 0.1)), ("R2", (0.1, 0.3, 0.2))))
    warning = m.label(["DANGER", "24 V"], 0.24, 0.15, (0.1, 0.08, 0.05), (0.95, 0.76, 0.12))
    subparts = [
        SubPart("base", g.extrude(g.rounded_rectangle(1.5, 1.0, 0.12), 0.13, bevel=0.015), at(z=-0.42), BRUSHED),
        SubPart("upright", g.extrude(outline, 0.16, [g.circle(0.25, 36, 0, 0.12)], 0.015),
                at(-0.2, 0, 0.06, 90, 0, 90), blue),
        SubPart("bush/flange", g.ring(0.17, 0.33, 0.07), at(-0.1, 0, 0.18, 0, 90), BRASS),
        SubPart("bush/sleeve", g.ring(0.165, 0.25, 0.3), at(-0.2, 0, 0.18, 0, 90), BRASS),
        SubPart("gusset_left", g.extrude(gusset, 0.09, bevel=0.01), at(-0.13, 0.36, -0.36, 90), blue),
        SubPart("gusset_right", g.extrude(gusset, 0.09, bevel=0.01), at(-0.13, -0.36, -0.36, 90), blue),
        SubPart("rail", g.box(0.1, 0.84, 0.05, 0.01), at(0.63, 0, -0.335), HAZARD),
        SubPart("sensor/body", g.box(0.24, 0.2, 0.24, 0.03), at(0.2, 0.0, -0.235), plastic((0.16, 0.17, 0.19))),
        SubPart("sensor/lens", g.lathe([(0, -0.03), (0.07, -0.03), (0.07, 0.01), (0.05, 0.035), (0, 0.045)], 28),
                at(0.33, 0, -0.22, 0, 90), Material((0.75, 0.1, 0.08), roughness=0.1, reflectance=0.08)),
        SubPart("sensor/lamp", g.cylinder(0.03, 0.05, 0.01, 18), at(0.2, 0.05, -0.1), plastic((0.15, 0.75, 0.25))),
        SubPart("cable", g.sweep(g.bend([(0.14, -0.04, -0.13), (0.12, -0.05, 0.0), (0.06, -0.16, 0.02),
                                         (0.0, -0.25, -0.1), (-0.05, -0.27, -0.19), (-0.13, -0.27, -0.2)]), 0.026),
                np.eye(4), Material((0.85, 0.42, 0.08), roughness=0.4, grain=0.08)),
        SubPart("nipple/base", g.extrude(g.circle(0.06, 6), 0.05, bevel=0.008), at(-0.2, 0, 0.69), BRASS),
        SubPart("nipple/tip", g.lathe([(0, 0), (0.035, 0), (0.035, 0.05), (0.02, 0.065), (0.032, 0.085), (0.015, 0.115),
                                       (0, 0.12)], 20), at(-0.2, 0, 0.71), BRASS),
        plate("label", name, at(-0.287, 0, -0.21, 90, 0, -90)),
        plate("warning", warning, at(-0.113, 0.0, -0.18, 90, 0, 90)),
        plate("scale", m.ruler(0.72, 0.09, (0.1, 0.1, 0.1), (0.8, 0.8, 0.8)), at(0.2, -0.44, -0.352)),
        plate("mark_left", left, at(-0.41, 0.37, -0.352, rz=90)),
        plate("mark_right", right, at(-0.41, -0.37, -0.352, rz=90)),
        plate("underside", casting, at(0, 0, -0.487, 180)),
    ]
    for k, (x, y) in enumerate([(0.45, 0.36), (0.45, -0.25), (-0.62, 0.38), (-0.62, -0.38)]):
        subparts += bolt(f"bolt_{k}", at(x, y, -0.355))
    for k, (x, y) in enumerate([(0.58, 0.36), (0.58, -0.36), (-0.58, 0.36), (-0.58, -0.36)]):
        subparts.append(SubPart(f"foot_{k}", g.cylinder(0.085, 0.06, 0.02, 28), at(x, y, -0.505), BLACK))
    for k, angle in enumerate((40, 160, 280)):
        y, z = 0.29 * np.cos(np.radians(angle)), 0.29 * np.sin(np.radians(angle))
        where = at(-0.055, y, 0.18 + z, 0, 90)
        subparts.append(SubPart(f"screw_{k}", g.cylinder(0.028, 0.05, 0.008, 16), where, BLACK))
    return subparts


def gearbox() -> list[SubPart]:
    """A cast gear housing: nearly symmetric about its axis but for labels, a filler plug and a terminal box."""
    green = painted((0.23, 0.42, 0.38), (0.29, 0.48, 0.43), 0.06, 0.5)
    casting = m.label(["G3 / 2291", "OIL 0.4 l", "FRONT"], 0.8, 0.55, (0.28, 0.28, 0.3), (0.5, 0.51, 0.52))
    bell = [(0, -0.42), (0.6, -0.42), (0.6, -0.36), (0.56, -0.34), (0.56, 0.08), (0.48, 0.2), (0.3, 0.3), (0, 0.3)]
    tag = m.label(["GEAR UNIT G3", "i = 24.5", "n2 = 57/min"], 0.44, 0.26, (0.1, 0.1, 0.1), (0.76, 0.77, 0.78),
                  barcode=True)
    subparts = [
        SubPart("housing", g.lathe(bell, 56), np.eye(4), green),
        SubPart("flange", g.extrude(g.circle(0.82, 56), 0.13, bevel=0.02), at(z=-0.42),
                Material((0.5, 0.51, 0.52), (0.38, 0.38, 0.4), Pattern.SPECKLED, 0.022, 0.5, grain=0.14)),
        SubPart("seal", g.ring(0.14, 0.28, 0.06), at(z=0.31), BLACK),
        SubPart("shaft", g.cylinder(0.13, 0.5, 0.02), at(z=0.47), STEEL),
        SubPart("key", g.box(0.06, 0.05, 0.18, 0.015), at(0.12, 0, 0.6), BRASS),
        SubPart("pinion", g.extrude(g.gear_outline(14, 0.19, 0.25), 0.1, [g.circle(0.12)], 0.008), at(z=0.43), STEEL),
        SubPart("terminal/box", g.box(0.26, 0.3, 0.24, 0.03), at(0.62, 0, -0.12), plastic((0.2, 0.21, 0.23), 0.4)),
        plate("terminal/lid", m.label(["U V W", "400 V"], 0.22, 0.17, (0.9, 0.9, 0.85), (0.13, 0.13, 0.15)),
              at(0.755, 0, -0.12, 90, 0, 90)),
        SubPart("terminal/gland", g.ring(0.03, 0.06, 0.12), at(0.64, 0.19, -0.14, 90), BLACK),
        SubPart("nameplate/pad", g.box(0.1, 0.46, 0.28, 0.01), at(-0.53, 0, -0.12), BLACK),
        plate("nameplate/plate", tag, at(-0.585, 0, -0.12, 90, 0, -90)),
        SubPart("plug", g.extrude(g.circle(0.075, 6), 0.09, bevel=0.012), at(-0.1, 0.4, 0.24, -40), BRASS),
        SubPart("gauge", g.lathe([(0, -0.02), (0.09, -0.02), (0.09, 0.02), (0.065, 0.03), (0, 0.03)], 28),
                at(0.05, -0.57, -0.14, 90), Material((0.85, 0.65, 0.2), roughness=0.1, reflectance=0.08)),
        plate("underside", casting, at(0, 0, -0.487, 180)),
    ]
    for k in range(8):
        angle = np.radians(45 * k + 22.5)
        subparts += bolt(f"bolt_{k}", at(0.7 * np.cos(angle), 0.7 * np.sin(angle), -0.355, rz=11 * k), 0.065)
    for k in range(12):
        if k not in (0, 6):  # the terminal box and the nameplate
            rib = g.box(0.12, 0.04, 0.36, 0.012)
            subparts.append(SubPart(f"rib_{k}", rib, at(z=-0.14, rz=30 * k) @ at(x=0.58), green))
    return subparts


def pcb() -> list[SubPart]:
    """A circuit board: flat, fine printed texture on both sides, many small components."""
    board = Material((0.07, 0.33, 0.19), roughness=0.35, grain=0.05, decal=m.circuit(1.6, 1.1, 5))
    solder = Material((0.07, 0.3, 0.18), roughness=0.35, grain=0.05, decal=m.circuit(1.6, 1.1, 9))
    tin = Material((0.75, 0.75, 0.74), roughness=0.35, metal=True)
    holes = [g.circle(0.05, 20, sx * 0.72, sy * 0.47) for sx in (-1, 1) for sy in (-1, 1)]
    subparts = [
        SubPart("board", g.extrude(g.rounded_rectangle(1.6, 1.1, 0.06), 0.05, holes, 0.005), np.eye(4), board),
        SubPart("backside", g.extrude(g.rounded_rectangle(1.58, 1.08, 0.06), 0.01, holes, 0.002),
                at(z=-0.026, rx=180), solder),
        SubPart("heatsink/foot", g.box(0.42, 0.36, 0.04, 0.008), at(-0.32, 0.22, 0.075), BRUSHED),
        SubPart("usb/shell", g.box(0.26, 0.26, 0.13, 0.02), at(0.68, 0.22, 0.09), BRUSHED),
        SubPart("usb/port", g.box(0.02, 0.19, 0.07, 0.005), at(0.806, 0.22, 0.09), BLACK),
        SubPart("terminal/body", g.box(0.16, 0.5, 0.16, 0.015), at(-0.68, -0.14, 0.105),
                plastic((0.16, 0.55, 0.3), 0.35)),
        SubPart("button/base", g.box(0.14, 0.14, 0.05, 0.008), at(0.32, -0.4, 0.05), tin),
        SubPart("button/cap", g.cylinder(0.045, 0.06, 0.01, 20), at(0.32, -0.4, 0.1), plastic((0.75, 0.12, 0.1))),
        SubPart("crystal", g.extrude(g.rounded_rectangle(0.24, 0.1, 0.044), 0.08, bevel=0.015),
                at(0.22, 0.42, 0.065), tin),
    ]
    subparts += [SubPart(f"heatsink/fin_{k}", g.box(0.42, 0.018, 0.16, 0.006), at(-0.32, 0.08 + 0.056 * k, 0.16),
                         BRUSHED) for k in range(6)]
    for k in range(4):
        y = -0.32 + 0.12 * k
        subparts.append(SubPart(f"terminal/screw_{k}", g.cylinder(0.038, 0.02, 0.006, 18), at(-0.68, y, 0.187), STEEL))
    chips = [("cpu", ["STM7", "F429"], 0.1, 0.0, 0.3, 0.3), ("flash", ["W25Q"], 0.45, -0.02, 0.2, 0.13),
             ("driver", ["ULN28"], -0.2, -0.28, 0.3, 0.13), ("amp", ["LM358"], 0.08, -0.36, 0.15, 0.13)]
    for name, lines, x, y, w, h in chips:
        text = m.label(lines, w * 0.85, h * 0.85, (0.72, 0.72, 0.72), (0.1, 0.1, 0.11))
        body = Material((0.1, 0.1, 0.11), roughness=0.45, grain=0.08, decal=text)
        subparts.append(SubPart(f"{name}/body", g.box(w, h, 0.06, 0.01), at(x, y, 0.065), body))
        pins = [g.box(0.02, h + 0.07, 0.012, 0.004, 1).transformed(at(px, 0, 0))
                for px in np.arange(0.03 - w / 2, w / 2, 0.045)]
        if w == h:
            pins += [pin.transformed(at(rz=90)) for pin in pins]
        subparts.append(SubPart(f"{name}/pins", g.join(pins), at(x, y, 0.034), tin))
    for k, (x, y) in enumerate([(0.48, 0.38), (-0.36, -0.43), (0.52, -0.22)]):
        can = g.lathe([(0, 0), (0.075, 0), (0.075, 0.02), (0.07, 0.03), (0.075, 0.04), (0.075, 0.19), (0.066, 0.2),
                       (0, 0.2)], 28)
        shell = Material((0.78, 0.79, 0.8), (0.16, 0.17, 0.3), Pattern.PLAIN, 0.1, 0.25, metal=True)
        subparts.append(SubPart(f"cap_{k}/can", can, at(x, y, 0.025), shell))
        subparts.append(SubPart(f"cap_{k}/stripe", g.box(0.02, 0.07, 0.15, 0.005), at(x + 0.066, y, 0.12),
                                plastic((0.15, 0.16, 0.3))))
    for k, colour in enumerate([(0.85, 0.12, 0.1), (0.2, 0.75, 0.2), (0.92, 0.7, 0.1)]):
        subparts.append(SubPart(f"led_{k}", g.box(0.06, 0.04, 0.045, 0.008), at(0.55 + 0.09 * k, -0.42, 0.045),
                                plastic(colour)))
    pin = g.box(0.022, 0.022, 0.2, 0.004, 1)
    subparts += [SubPart(f"header/pin_{k}" if k else "header/pins", pin, at(0.1 + 0.06 * k, 0.5, 0.1), BRASS)
                 for k in range(8)]
    return [*subparts, SubPart("header/body", g.box(0.5, 0.06, 0.06, 0.006), at(0.31, 0.5, 0.055), BLACK)]


def valve() -> list[SubPart]:
    """A globe valve: chromed pipe, glossy enamel, hand wheel; smooth, with little texture."""
    enamel = Material((0.62, 0.08, 0.07), roughness=0.12, reflectance=0.06, grain=0.03)
    body = Material((0.19, 0.25, 0.33), (0.27, 0.34, 0.43), Pattern.MOTTLED, 0.1, 0.2, 0.06, grain=0.04)
    spindle = [(0, 0), (0.13, 0), (0.13, 0.06), (0.1, 0.08), (0.1, 0.2), (0.05, 0.24), (0.05, 0.42), (0, 0.42)]
    tag = m.label(["DN 25", "PN 16"], 0.22, 0.14, (0.1, 0.1, 0.12), (0.8, 0.7, 0.42))
    subparts = [
        SubPart("body", g.sphere(0.34, 44), at(z=-0.15), body),
        SubPart("pipe_left", g.ring(0.14, 0.19, 0.5, 0.015), at(-0.5, 0, -0.15, 0, 90), CHROME),
        SubPart("pipe_right", g.ring(0.14, 0.19, 0.5, 0.015), at(0.5, 0, -0.15, 0, 90), CHROME),
        SubPart("bonnet", g.lathe(spindle, 40), at(z=0.15), CHROME),
        SubPart("collar", g.extrude(g.circle(0.22, 6), 0.12, bevel=0.02), at(z=0.19), BRASS),
        SubPart("wheel/rim", g.torus(0.4, 0.048), at(z=0.52), enamel),
        SubPart("wheel/hub", g.cylinder(0.09, 0.09, 0.02), at(z=0.52), enamel),
        SubPart("nut", g.extrude(g.circle(0.055, 6), 0.06, bevel=0.01), at(z=0.59), STEEL),
        SubPart("drain/stub", g.cylinder(0.06, 0.2, 0.01), at(0.05, 0.0, -0.53), BRASS),
        SubPart("drain/cap", g.cylinder(0.09, 0.1, 0.015, 24), at(0.05, 0.0, -0.63),
                Material((0.15, 0.35, 0.62), (0.08, 0.2, 0.4), Pattern.KNURLED, 0.05, 0.3)),
        SubPart("tag/pad", g.box(0.24, 0.1, 0.16, 0.01), at(0, -0.31, -0.12), BLACK),
        plate("tag/plate", tag, at(0, -0.365, -0.12, 90, 0, 0)),
        SubPart("gauge/stem", g.cylinder(0.035, 0.2, 0.005), at(0.5, 0, 0.12), BRASS),
        SubPart("gauge/case", g.cylinder(0.15, 0.09, 0.02), at(0.5, 0, 0.33, 90), BLACK),
        SubPart("gauge/dial", g.cylinder(0.125, 0.012, 0.003), at(0.5, -0.045, 0.33, 90),
                printed(m.label(["0 5 10", "bar"], 0.18, 0.14, (0.1, 0.1, 0.1), (0.84, 0.84, 0.8)))),
    ]
    for k in range(5):
        spoke = g.sweep(g.bend([(0.05, 0, 0), (0.2, 0, -0.02), (0.39, 0, 0)]), 0.026)
        subparts.append(SubPart(f"wheel/spoke_{k}", spoke, at(z=0.52, rz=72 * k + 20), enamel))
    for side, x in (("left", -0.75), ("right", 0.75)):
        flange = g.extrude(g.circle(0.32, 40), 0.09, [g.circle(0.13, 32)], 0.012)
        subparts.append(SubPart(f"flange_{side}", flange, at(x, 0, -0.15, 0, 90), body))
        for k in range(4):
            angle = np.radians(90 * k + 45)
            where = at(x - np.sign(x) * 0.045, 0.25 * np.cos(angle), -0.15 + 0.25 * np.sin(angle), 0, -90 * np.sign(x))
            subparts += bolt(f"bolt_{side}_{k}", where, 0.045)
    return subparts


def toy() -> list[SubPart]:
    """A truck of coloured bricks with studs."""
    red, yellow, blue = plastic((0.72, 0.09, 0.08)), plastic((0.92, 0.7, 0.08)), plastic((0.08, 0.25, 0.62))
    grey, dark, green = plastic((0.55, 0.56, 0.58)), plastic((0.16, 0.16, 0.17)), plastic((0.12, 0.5, 0.2))
    u = 0.16  # one stud: the pitch
    bricks: list[tuple[str, int, int, float, float, float, float, Material]] = [
        ("chassis", 9, 4, 0, 0, -0.34, 0.5, grey), ("bed", 5, 4, 2, 0, -0.244, 1, red),
        ("cabin", 4, 4, -2.5, 0, -0.244, 1, blue), ("cabin_top", 2, 4, -2.5, 0, -0.052, 1, blue),
        ("roof", 3, 4, -2.5, 0, 0.14, 0.4, yellow), ("bonnet", 1, 2, -4, -1, -0.052, 0.5, yellow),
        ("crate", 2, 2, 1.5, 1, -0.052, 1, green), ("load", 2, 2, 3.5, -1, -0.052, 1, yellow),
        ("load_top", 1, 2, 3.0, -1, 0.14, 0.8, red), ("step", 2, 1, 0.5, -1.5, -0.052, 0.4, dark),
        ("beacon", 1, 1, -2, 1.5, 0.217, 0.5, Material((0.93, 0.45, 0.06), roughness=0.1, reflectance=0.06)),
        ("tail", 1, 1, 4, 1.5, -0.052, 0.5, dark),
    ]
    subparts = []
    for name, nx, ny, cx, cy, bottom, h, material in bricks:
        height = 0.192 * h
        where = at(cx * u, cy * u, bottom + 0.5 * height)
        brick = g.box(nx * u - 0.004, ny * u - 0.004, height, 0.008, 2)
        subparts.append(SubPart(f"{name}/brick", brick, where, material))
        stud = g.cylinder(0.048, 0.036, 0.006, 20)
        studs = [stud.transformed(at((i - (nx - 1) / 2) * u, (j - (ny - 1) / 2) * u, 0.5 * height + 0.018))
                 for i in range(nx) for j in range(ny)]
        subparts.append(SubPart(f"{name}/studs", g.join(studs), where, material))
    tyre = Material((0.13, 0.13, 0.13), (0.24, 0.24, 0.24), Pattern.KNURLED, 0.06, 0.6)
    rim = g.lathe([(0, -0.03), (0.1, -0.05), (0.1, 0.05), (0.07, 0.02), (0.03, 0.05), (0, 0.05)], 28)
    for k, (x, y) in enumerate([(-3, -1), (-3, 1), (2.6, -1), (2.6, 1)]):
        where = at(x * u, y * 0.39, -0.34, 90 * y)
        subparts.append(SubPart(f"wheel_{k}/tyre", g.ring(0.09, 0.17, 0.12, 0.03), where, tyre))
        subparts.append(SubPart(f"wheel_{k}/rim", rim, where, yellow))
    window = m.label(["TAXI-4"], 0.42, 0.12, (0.9, 0.9, 0.85), (0.1, 0.12, 0.15))
    number = m.label(["No. 42"], 0.4, 0.14, (0.1, 0.1, 0.1), (0.88, 0.86, 0.8))
    subparts += [
        plate("windscreen", window, at(-3.53 * u, 0, 0.04, 90, 0, -90)),
        plate("number", number, at(2 * u, -2.0 * u - 0.003, -0.13, 90, 0, 0)),
        plate("number_back", number, at(4.53 * u, -0.5 * u, -0.13, 90, 0, 90)),
        plate("door", m.label(["FIRE", "112"], 0.3, 0.16, (0.9, 0.9, 0.85), (0.6, 0.08, 0.07)),
              at(-3 * u, 2.0 * u + 0.003, -0.13, 90, 0, 180)),
    ]
    return subparts


def connector() -> list[SubPart]:
    """A circular plug with a cable: small in the frame."""
    grip = Material((0.3, 0.31, 0.33), (0.16, 0.16, 0.18), Pattern.KNURLED, 0.09, 0.4, grain=0.1)
    shell = Material((0.72, 0.73, 0.75), (0.5, 0.5, 0.54), Pattern.TURNED, 0.03, 0.3, metal=True, grain=0.08)
    rubber = Material((0.14, 0.3, 0.18), (0.2, 0.4, 0.25), Pattern.MOTTLED, 0.05, 0.5, grain=0.1)
    cable = g.bend([(0.65, 0, 0), (0.8, 0, 0), (0.95, 0.06, 0.05), (1.02, 0.2, 0.08), (0.98, 0.38, 0.05)])
    tag = m.label(["M23-12", "6P 28A"], 0.36, 0.2, (0.1, 0.1, 0.1), (0.88, 0.78, 0.2))
    subparts = [
        SubPart("shell", g.ring(0.27, 0.34, 0.4, 0.02), at(-0.45, 0, 0, 0, 90), shell),
        SubPart("insert", g.cylinder(0.26, 0.3, 0.01), at(-0.45, 0, 0, 0, 90), plastic((0.75, 0.35, 0.08), 0.4)),
        SubPart("grip", g.ring(0.3, 0.42, 0.34, 0.03), at(-0.12, 0, 0, 0, 90), grip),
        SubPart("band", g.ring(0.3, 0.345, 0.09, 0.01), at(0.1, 0, 0, 0, 90), plastic((0.7, 0.1, 0.1))),
        SubPart("body", g.lathe([(0, -0.2), (0.33, -0.2), (0.33, 0.1), (0.2, 0.3), (0, 0.3)]), at(0.3, 0, 0, 0, 90),
                painted((0.22, 0.24, 0.27), (0.27, 0.29, 0.33), 0.05)),
        SubPart("gland", g.extrude(g.circle(0.2, 6), 0.16, bevel=0.02), at(0.64, 0, 0, 0, 90), shell),
        SubPart("cable", g.sweep(cable, 0.1, 20), np.eye(4), rubber),
        plate("tag", tag, at(0.3, 0, 0.335)),
        SubPart("latch/arm", g.box(0.3, 0.1, 0.04, 0.012), at(0.26, -0.35, 0, 90, 0, 0), STEEL),
        SubPart("latch/knob", g.cylinder(0.05, 0.06, 0.01, 20), at(0.36, -0.39, 0, 90), plastic((0.1, 0.3, 0.65))),
        SubPart("key", g.box(0.36, 0.06, 0.05, 0.01), at(-0.46, 0, 0.35), BRASS),
    ]
    for k in range(6):
        angle = np.radians(60 * k)
        where = at(-0.62, 0.14 * np.cos(angle), 0.14 * np.sin(angle), 0, 90)
        subparts.append(SubPart(f"pin_{k}", g.cylinder(0.032, 0.2, 0.012, 16), where, BRASS))
    return subparts


PARTS: dict[str, tuple[Callable[[], list[SubPart]], str, str, float]] = {  # solids, loose groups, screws, distance
    "bracket": (bracket, "bolt_* foot_* sensor nipple warning cable rail scale mark_* gusset_right",
                "bolt_* screw_* nipple/*", 3.45),
    "gearbox": (gearbox, "key pinion plug gauge nameplate terminal bolt_* rib_2 rib_4 rib_8", "bolt_* plug", 3.5),
    "pcb": (pcb, "heatsink usb button crystal cpu flash driver amp cap_* led_* header terminal",
            "terminal/screw_*", 3.3),
    "valve": (valve, "wheel nut drain tag gauge collar bolt_*", "bolt_* nut", 3.3),
    "toy": (toy, "roof bonnet crate load load_top step beacon tail windscreen number number_back door wheel_*",
            "wheel_*", 3.2),
    "connector": (connector, "band gland tag latch key pin_*", "", 5.6),
}
# fmt: on


def make_part(name: str) -> Part:
    """The part called `name`; InputError if there is none."""
    if name not in PARTS:
        raise InputError(f"no demo part is called {name!r}; there are {', '.join(PARTS)}")
    build, loose, screws, distance = PARTS[name]
    subparts = build()
    groups = _matching([s.group for s in subparts], loose)
    return Part(name, tuple(subparts), groups, frozenset(_matching([s.name for s in subparts], screws)), distance)


def _matching(names: list[str], patterns: str) -> tuple[str, ...]:
    """The names, each once, that fit one of the patterns, which spaces separate."""
    return tuple(n for n in dict.fromkeys(names) if any(fnmatch(n, pattern) for pattern in patterns.split()))


def _arc(x: float, y: float, radius: float, start: float, stop: float, count: int) -> list[tuple[float, float]]:
    t = np.radians(np.linspace(start, stop, count))
    return [(x + radius * float(np.cos(a)), y + radius * float(np.sin(a))) for a in t]
