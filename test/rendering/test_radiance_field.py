"""Radiance fields: rays, sampling, the file, and the renderer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from splat_scenes import box

from pad_ros.errors import ModelError
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.rendering.nerf import BOUNDS, NERF_FILE, NETWORKS, Nerf, layer_shapes, load_nerf, save_nerf
from pad_ros.rendering.nerf_renderer import NerfRenderer, on_device
from pad_ros.rendering.radiance_field import RadianceField, Rays, encoded
from pad_ros.settings import NerfSettings

SMALL = NerfSettings(layers=2, width=16, frequencies=2, view_frequencies=1, samples=16, fine_samples=16)
CAMERA = Camera.from_fov(32, 24, 0.7)
POSE = Pose.look_at(np.array([0.0, -4.0, 1.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
BLUE = Background((0.0, 0.0, 255.0), 10.0)


def field(density: float, settings: NerfSettings = SMALL, seed: int = 0) -> Nerf:
    """Random colours and the same density everywhere in a box."""
    rng = np.random.default_rng(seed)
    arrays = {BOUNDS: np.array([[-0.5] * 3, [0.5] * 3], np.float32)}
    for network in NETWORKS:
        for name, shape in layer_shapes(settings).items():
            arrays[f"{network}.{name}"] = rng.normal(0, 0.3, shape).astype(np.float32)
        arrays[f"{network}.density.weight"][:] = 0
        arrays[f"{network}.density.bias"][:] = density
    return Nerf(arrays, settings)


def test_rays_pass_through_their_pixels():
    pixels = np.array([[0.5, 0.5], [20.0, 7.5], [31.0, 23.0]])
    rays = Rays.through(torch.tensor(pixels, dtype=torch.float32), *on_device(CAMERA, POSE, "cpu"))
    points = (rays.origins + 3.0 * rays.directions).double().numpy()
    seen = POSE.transform(points)
    assert np.allclose(seen[:, 2], 3, atol=1e-5)  # distances are depths
    assert np.allclose(CAMERA.project(seen), pixels, atol=1e-3)
    assert np.allclose(rays.origins.numpy(), POSE.centre, atol=1e-5)


def test_rays_are_cut_to_the_box():
    bounds = torch.tensor([[-1.0] * 3, [1.0] * 3])
    origins = torch.tensor([[0.0, 0.0, -5.0], [0.0, 3.0, -5.0], [0.0, 0.0, 0.0]])
    near, far = Rays(origins, torch.tensor([[0.0, 0.0, 1.0]] * 3)).within(bounds)
    assert near[0] == 4 and far[0] == 6
    assert near[1] == far[1]  # it misses
    assert near[2] < 0.01 and far[2] == 1  # it begins inside


def test_the_encoding_has_sines_and_cosines_of_doubled_frequency():
    found = encoded(torch.tensor([[0.25, 0.0, 0.5]]), 2)
    assert found.shape == (1, 15)
    assert torch.allclose(found[0, 3:6], torch.sin(torch.pi * torch.tensor([0.25, 0.0, 0.5])), atol=1e-6)
    assert torch.allclose(found[0, 12:15], torch.cos(2 * torch.pi * torch.tensor([0.25, 0.0, 0.5])), atol=1e-6)


@pytest.mark.parametrize("density", [0.0, 0.7, 50.0])
def test_even_density_gives_the_transmittance_of_the_way_through_the_box(density):
    """What samples leave out before the first of them, an even density shows."""
    rays = Rays(torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    found = RadianceField(field(density, replace(SMALL, samples=64))).render(rays, torch.zeros(3))
    assert float(found.alpha[0]) == pytest.approx(1 - np.exp(-density), abs=0.02)
    if density == 50:
        assert float(found.depth[0]) == pytest.approx(2.5, abs=0.05)


def test_fine_samples_gather_where_density_is():
    """A field that is dense beyond the middle alone: its surface is found to a fraction of a coarse sample's part."""
    nerf = field(0.0, replace(SMALL, layers=1, frequencies=0, samples=8, fine_samples=64))
    for network in NETWORKS:
        first = nerf.arrays[f"{network}.layers.0.weight"]
        first[:], first[0, 2] = 0, 1  # the first unit is z in -1..1,
        nerf.arrays[f"{network}.layers.0.bias"][:] = 0
        nerf.arrays[f"{network}.density.weight"][0, 0] = 1e4  # and density, from 0 on
    rays = Rays(torch.tensor([[0.1, 0.1, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    found = RadianceField(nerf).render(rays, torch.zeros(3))
    assert float(found.alpha[0]) > 0.99
    assert float(found.depth[0]) == pytest.approx(3.0, abs=0.03)  # parts are .125 long


def test_the_file_gives_the_same_field_back(tmp_path):
    nerf = field(1.0)
    save_nerf(nerf, tmp_path)
    again = load_nerf(tmp_path, SMALL)
    assert all(np.array_equal(nerf.arrays[name], again.arrays[name]) for name in nerf.arrays)


@pytest.mark.parametrize(("change", "problem"), [
    (lambda a: a.pop("fine.colour.bias"), "fine.colour.bias is missing"),
    (lambda a: a.update(more=np.zeros(1, np.float32)), "more is missing, or not expected"),
    (lambda a: a.update({"fine.colour.bias": np.zeros(4, np.float32)}), r"fine.colour.bias is float32 \(4,\)"),
    (lambda a: a.update({"fine.colour.bias": np.zeros(3)}), "fine.colour.bias is float64"),
    (lambda a: a["coarse.density.bias"].fill(np.nan), "coarse.density.bias has values that are not finite"),
    (lambda a: a.update(bounds=a["bounds"][::-1].copy()), "impossible box"),
])  # fmt: skip
def test_odd_files_are_refused(change, problem, tmp_path):
    nerf = field(1.0)
    change(nerf.arrays)
    save_nerf(nerf, tmp_path)
    with pytest.raises(ModelError, match=problem):
        load_nerf(tmp_path, SMALL)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_missing_and_damaged_files_are_refused(content, tmp_path):
    if content is not None:
        (tmp_path / NERF_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        load_nerf(tmp_path, SMALL)


def test_the_renderer_shows_the_field_before_the_background():
    renderer = NerfRenderer(field(100.0), box(200), BLUE, np.ones((200, 2), np.float32), "cpu")
    shown = renderer.render(CAMERA, POSE)
    assert shown.rgb.shape == (24, 32, 3) and shown.features.shape == (24, 32, 2)
    middle, corner = (12, 16), (0, 0)
    assert shown.alpha[middle] > 0.95 and 3.0 < shown.depth[middle] < 4.2
    assert shown.alpha[corner] == shown.depth[corner] == 0
    assert np.allclose(shown.rgb[corner], (0, 0, 1))
    nothing = NerfRenderer(field(0.0), box(200), BLUE, None, "cpu").render(CAMERA, POSE)
    assert not nothing.alpha.any() and not nothing.depth.any()
