import numpy as np
import pytest

from pad_ros.demo import meshes as g
from pad_ros.demo.meshes import Mesh, at


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.sum(np.cross(a, b) * c) / 6)


ROOM = np.pi / 4  # of a circle in its square
HOLES = [g.circle(0.1, 60, x, y) for x in (-0.6, 0.6) for y in (-0.3, 0.3)]

SOLIDS = {
    "box": (g.box(1.0, 0.6, 0.4, 0.02), 1.0 * 0.6 * 0.4),
    "cylinder": (g.cylinder(0.5, 1.0, 0.005, 80), np.pi * 0.25),
    "ring": (g.ring(0.3, 0.5, 1.0, 0.005, 80), np.pi * (0.25 - 0.09)),
    "sphere": (g.sphere(0.5, 64), np.pi / 6),
    "torus": (g.torus(0.5, 0.1, 80, 40), 2 * np.pi**2 * 0.5 * 0.01),
    "sweep": (g.sweep(g.bend([(0, 0, 0), (0.5, 0, 0), (1, 0, 0)]), 0.1, 60), np.pi * 0.01),
    "plate": (g.extrude(g.rounded_rectangle(1.0, 1.0, 0.1), 0.1, bevel=0.001), 0.1 * (1 - 0.04 * (1 - ROOM))),
    "holes": (
        g.extrude(g.rounded_rectangle(1.6, 1.0, 0.1), 0.1, HOLES, 0.001),
        0.1 * (1.6 - 0.04 * (1 - ROOM) - 4 * np.pi * 0.01),
    ),
    "facets": (g.faceted(g.sphere(0.5, 64)), np.pi / 6),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_closed_with_outward_normals(name: str) -> None:
    mesh, expected = SOLIDS[name]
    assert volume(mesh) == pytest.approx(expected, rel=0.03)
    moved = mesh.transformed(at(3.0, -2.0, 5.0, 20, 30, 40))
    assert volume(moved) == pytest.approx(volume(mesh), rel=1e-6)  # true of closed surfaces only
    corners = mesh.vertices[mesh.faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(flat, axis=1)
    facing = np.sum(flat[:, None] * mesh.normals[mesh.faces], axis=2)[area > 1e-10]
    assert np.all(facing > 0)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-9)


def test_gear_has_the_volume_of_its_outline() -> None:
    outline = g.gear_outline(12, 0.4, 0.5)
    x, y = outline.T
    area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    assert volume(g.extrude(outline, 0.2, [g.circle(0.1, 60)], 0.001)) == pytest.approx(
        0.2 * (area - np.pi * 0.01), rel=0.03
    )


def test_clockwise_outline_is_refused() -> None:
    with pytest.raises(ValueError, match="runs clockwise"):
        g.extrude(g.circle(1.0)[::-1], 0.1)
