"""The PLY file of the Gaussians: round trip, and refusal of everything else."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splat_scenes import arrays

from pad_ros.errors import ModelError
from pad_ros.rendering import gaussians as module
from pad_ros.rendering.gaussians import Gaussians, load_ply, save_ply


def some_gaussians(count: int = 5, degree: int = 2) -> Gaussians:
    rng = np.random.default_rng(count + degree)
    values = (
        rng.normal(size=(count, 3)), rng.normal(size=(count, 4)), rng.random((count, 3)) + 1e-3, rng.random(count),
        rng.normal(size=(count, (degree + 1) ** 2, 3)),
    )  # fmt: skip
    return Gaussians(*(x.astype(np.float32) for x in values))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_round_trip(tmp_path: Path, degree: int, count: int) -> None:
    written = some_gaussians(count, degree)
    save_ply(written, tmp_path / "a.ply")
    read = load_ply(tmp_path / "a.ply")
    assert len(read) == count and read.sh_degree == degree
    assert all(x.dtype == np.float32 for x in arrays(read))
    np.testing.assert_array_equal(read.means, written.means)
    np.testing.assert_array_equal(read.sh, written.sh)
    np.testing.assert_array_equal(read.quats, written.quats)
    np.testing.assert_allclose(read.scales, written.scales, rtol=1e-5)
    np.testing.assert_allclose(read.opacities, written.opacities, atol=2e-6, rtol=1e-5)


def test_eps2d_is_kept_and_is_the_usual_one_where_the_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    save_ply(replace(some_gaussians(), eps2d=0.1), path)
    assert load_ply(path).eps2d == 0.1
    path.write_bytes(path.read_bytes().replace(b"comment footprint 0.1\n", b""))
    assert load_ply(path).eps2d == 0.3


@pytest.mark.parametrize("value", [b"-1", b"nan", b"1e9", b"wide", b""])
def test_impossible_eps2d_is_refused(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "a.ply"
    save_ply(replace(some_gaussians(), eps2d=0.1), path)
    path.write_bytes(path.read_bytes().replace(b"footprint 0.1", b"footprint " + value))
    with pytest.raises(ModelError, match="footprint"):
        load_ply(path)


def test_taking_some_keeps_the_rest_of_what_they_are() -> None:
    g = replace(some_gaussians(5), eps2d=0.1)
    some = g.take(np.array([True, False, True, False, False]))
    assert len(some) == 2 and some.eps2d == 0.1 and np.array_equal(some.sh, g.sh[[0, 2]])


def test_layout_is_that_of_the_usual_viewers(tmp_path: Path) -> None:
    g = some_gaussians(3, 1)
    save_ply(g, tmp_path / "a.ply")
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[-8:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    table = np.frombuffer(body, np.float32).reshape(3, len(names))
    # Channel-major: three coefficients of red first.
    np.testing.assert_array_equal(table[:, names.index("f_rest_0") : names.index("f_rest_3")], g.sh[:, 1:, 0])
    np.testing.assert_allclose(table[:, names.index("scale_0")], np.log(g.scales[:, 0]), rtol=1e-6)


def test_opaque_and_invisible_gaussians_stay_finite(tmp_path: Path) -> None:
    g = some_gaussians(2)
    g.opacities[:] = 0.0, 1.0
    g.scales[0] = 0.0
    save_ply(g, tmp_path / "a.ply")
    np.testing.assert_allclose(load_ply(tmp_path / "a.ply").opacities, g.opacities, atol=1e-5)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.ply", tmp_path):
        with pytest.raises(ModelError, match=str(path)):
            load_ply(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ply\n", b"pLy\n"),
        (b"binary_little_endian", b"ascii"),
        (b"element vertex 5", b"element vertex 6"),
        (b"element vertex 5", b"element vertex -5"),
        (b"element vertex 5", b"element vertex 99999999999999999999"),
        (b"element vertex 5", b"element face 5"),
        (b"property float opacity", b"property float opaque"),
        (b"property float opacity", b"property double opacity"),
        (b"property float nx", b"property float x"),
        (b"property float f_rest_3", b"property float f_rest_99"),
        (b"property float f_rest_3\n", b"property float other\n"),
        (b"property float nx", b"property list uchar int nx"),
        (b"end_header\n", b""),
    ],
)
def test_foreign_headers_are_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "a.ply"
    save_ply(some_gaussians(), path)
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ModelError, match=r"a\.ply"):
        load_ply(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    for name in ("means", "sh", "quats"):
        g = some_gaussians()
        getattr(g, name)[1] = value
        save_ply(g, tmp_path / "a.ply")
        with pytest.raises(ModelError, match="finite"):
            load_ply(tmp_path / "a.ply")


def test_zero_rotations_are_refused(tmp_path: Path) -> None:
    g = some_gaussians()
    g.quats[2] = 0
    save_ply(g, tmp_path / "a.ply")
    with pytest.raises(ModelError, match="rotations"):
        load_ply(tmp_path / "a.ply")


def test_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_ply(some_gaussians(), tmp_path / "a.ply")
    monkeypatch.setattr(module, "MAX_GAUSSIANS", 4)
    with pytest.raises(ModelError, match="more than"):
        load_ply(tmp_path / "a.ply")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_crash_the_reader(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ply"
        save_ply(some_gaussians(3, 1), path)
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
            truncated = True
        else:
            truncated = False
            for _ in range(data.draw(st.integers(1, 8))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            read = load_ply(path)
        except ModelError as e:
            assert str(path) in str(e)
        else:
            assert not truncated
            assert all(np.isfinite(x).all() for x in arrays(read))


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ply"
        path.write_bytes(content)
        with pytest.raises(ModelError):
            load_ply(path)
