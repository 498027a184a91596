"""The Gaussians of a part, and the PLY file that keeps them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

MAX_GAUSSIANS = 4_000_000
USUAL_EPS2D = 0.3  # px², in Kerbl et al. 2023 and the usual viewers
MAX_EPS2D = 10.0
_HEADER_LIMIT = 16_384  # bytes
_EPS2D_COMMENT = "comment footprint "  # as eps2d is called in our PLY files
_REST_COUNTS = (0, 9, 24, 45)  # f_rest properties for degree 0, 1, 2, 3

Floats = NDArray[np.float32]
ARRAYS = ("means", "quats", "scales", "opacities", "sh")  # fields of Gaussians with a row for each


@dataclass(frozen=True, eq=False)
class Gaussians:
    """3D Gaussians in the part frame, in the activated form that is rendered (float32)."""

    means: Floats  # [N, 3]
    quats: Floats  # [N, 4] (w, x, y, z), not necessarily normalised
    scales: Floats  # [N, 3] standard deviations, part units
    opacities: Floats  # [N] in 0..1
    sh: Floats  # [N, K, 3], K = (degree + 1)^2
    eps2d: float = USUAL_EPS2D  # px², added to the variance of each one's projection: the pixel's extent

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def centre(self) -> NDArray[np.float64]:
        """The median [3] of the means: somewhere in the middle of the part."""
        return np.median(self.means.astype(np.float64), axis=0)

    def take(self, chosen: NDArray[np.generic]) -> Gaussians:
        """Those that `chosen` says, a mask [N] or indices."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in ARRAYS})


def _properties(sh_count: int) -> list[str]:
    rest = [f"f_rest_{i}" for i in range(3 * (sh_count - 1))]
    return ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity",
            "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]  # fmt: skip


def save_ply(gaussians: Gaussians, path: Path) -> None:
    """Write the PLY of the original 3DGS code: binary little-endian, log scales, opacity as logit.

    f_rest is channel-major: all coefficients of red, then of green, then of blue. eps2d is a comment.
    """
    n = len(gaussians)
    # In double precision: float32 logarithms differ in the last bit with the memory's alignment, and so would
    # the hashes of equal models.
    means, quats, scales, opacities, sh = (getattr(gaussians, name).astype(np.float64) for name in ARRAYS)
    visible = opacities.clip(1e-6, 1 - 1e-6)
    columns = [
        means, np.zeros((n, 3)), sh[:, 0], sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * sh[:, 1:].shape[1]),
        np.log(visible / (1 - visible))[:, None], np.log(scales.clip(1e-30)), quats,
    ]  # fmt: skip
    table = np.concatenate(columns, axis=1).astype("<f4")
    names = _properties(sh.shape[1])
    header = ["ply", "format binary_little_endian 1.0", f"{_EPS2D_COMMENT}{gaussians.eps2d:g}"]
    header.append(f"element vertex {n}")
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    path.write_bytes("\n".join(header).encode("ascii") + table.tobytes())


def load_ply(path: Path) -> Gaussians:
    """Read a 3DGS PLY (SH degree 0..3); ModelError if it is anything else, damaged, or too large."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_LIMIT)
            count, names, eps2d, begin = _parse_header(head, path)
            size = file.seek(0, 2)
            if size - begin != 4 * count * len(names):
                raise ModelError(f"{path}: the header promises {count} Gaussians in {4 * count * len(names)} bytes, "
                                 f"{size - begin} are there; the file is cut or not ours")  # fmt: skip
            file.seek(begin)
            data = file.read(4 * count * len(names))
    except OSError as e:
        raise ModelError(f"{path}: cannot read the Gaussians: {e.strerror or e}") from e
    if len(data) != 4 * count * len(names):
        raise ModelError(f"{path}: the file changed while it was read; try again")
    table = np.frombuffer(data, dtype="<f4").reshape(count, len(names)).astype(np.float32)
    if not np.isfinite(table).all():
        raise ModelError(
            f"{path}: {int((~np.isfinite(table)).any(axis=1).sum())} Gaussians have values that are not finite"
        )
    column = {name: k for k, name in enumerate(names)}

    def take(*wanted: str) -> Floats:  # [N, len(wanted)]
        return np.ascontiguousarray(table[:, [column[name] for name in wanted]])

    rest = _rest_count(names, path)
    others = take(*(f"f_rest_{i}" for i in range(rest))).reshape(count, 3, rest // 3).transpose(0, 2, 1)
    sh = np.concatenate([take("f_dc_0", "f_dc_1", "f_dc_2")[:, None], others], axis=1)
    with np.errstate(over="ignore"):
        scales = np.exp(take("scale_0", "scale_1", "scale_2"))
        opacities = (1 / (1 + np.exp(-take("opacity")[:, 0]))).astype(np.float32)
    quats = take("rot_0", "rot_1", "rot_2", "rot_3")
    if not np.isfinite(scales).all() or (np.abs(quats).max(axis=1) < 1e-12).any():
        raise ModelError(f"{path}: Gaussians with impossible scales or rotations")
    return Gaussians(take("x", "y", "z"), quats, scales, opacities, np.ascontiguousarray(sh), eps2d)


def _parse_header(head: bytes, path: Path) -> tuple[int, list[str], float, int]:
    """(Gaussians, property names, eps2d, length of the header in bytes)."""
    end = head.find(b"end_header\n")
    if not head.startswith(b"ply\n") or end < 0:
        raise ModelError(f"{path}: not a PLY file of 3D Gaussians (no PLY header)")
    lines = head[:end].decode("ascii", errors="replace").splitlines()[1:]
    eps2d = _eps2d(lines, path)
    lines = [line for line in lines if not line.startswith(("comment", "obj_info"))]
    if len(lines) < 2 or lines[0] != "format binary_little_endian 1.0":
        raise ModelError(f"{path}: the PLY must be binary little-endian, version 1.0")
    words = lines[1].split()
    if len(words) != 3 or words[:2] != ["element", "vertex"] or not (words[2].isascii() and words[2].isdigit()):
        raise ModelError(f"{path}: the PLY must begin with its vertex element, got {lines[1][:80]!r}")
    if len(words[2]) > 9 or int(words[2]) > MAX_GAUSSIANS:
        raise ModelError(f"{path}: {words[2][:20]} Gaussians are more than the {MAX_GAUSSIANS} that are accepted")
    properties = [line.split() for line in lines[2:]]
    if any(len(p) != 3 or p[:2] != ["property", "float"] for p in properties):
        raise ModelError(f"{path}: a PLY of 3D Gaussians has one element with float properties only")
    names = [p[2] for p in properties]
    missing = set(_properties(1)) - {"nx", "ny", "nz"} - set(names)
    if missing or len(set(names)) != len(names):
        raise ModelError(f"{path}: not a PLY of 3D Gaussians: missing {sorted(missing)} or properties twice")
    return int(words[2]), names, eps2d, end + len(b"end_header\n")


def _eps2d(lines: list[str], path: Path) -> float:
    stated = [line.removeprefix(_EPS2D_COMMENT) for line in lines if line.startswith(_EPS2D_COMMENT)]
    try:
        value = float(stated[0]) if stated else USUAL_EPS2D
    except ValueError:
        value = float("nan")
    if not 0 <= value <= MAX_EPS2D:
        raise ModelError(
            f"{path}: the footprint (eps2d) of the Gaussians must be 0 to {MAX_EPS2D:g} px², got {stated[0]!r}"
        )
    return value


def _rest_count(names: list[str], path: Path) -> int:
    rest = {name for name in names if name.startswith("f_rest_")}
    if len(rest) not in _REST_COUNTS or rest != {f"f_rest_{i}" for i in range(len(rest))}:
        raise ModelError(f"{path}: {len(rest)} f_rest properties fit no spherical harmonics of degree 0 to 3")
    return len(rest)
