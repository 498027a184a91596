"""ReferenceModel: what `pad train` learns, and the bundle on disk that holds it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .decision.calibration import Calibration
from .errors import InputError, ModelError
from .imaging.background import Background
from .imaging.geometry import Camera
from .imaging.images import MAX_PIXELS
from .io.bundle_folder import files_in, flush, put_in_place, recover, staging_for
from .io.camera_file import camera_from_values, finite_number
from .io.files import sha256_of
from .localization.choices import check_map
from .localization.sfm_map import SfmMap, load_map, save_map
from .methods.presets import method_from_dict
from .networks.network import Network, load_networks, save_networks
from .rendering.gaussians import Gaussians, load_ply, save_ply
from .rendering.nerf import Nerf, load_nerf, save_nerf
from .rendering.photographs import PHOTOGRAPHS_FILE, Photograph, load_photographs, save_photographs
from .rendering.renderer import Renderer

FORMAT = "pad_ros reference model"
FORMAT_VERSION = 3  # raised with every change of settings or calibration: older models are then refused in plain words
MANIFEST = "manifest.json"
SEAL = "sha256"  # of the manifest without this entry
SPLATS = "splats.ply"
CALIBRATION = "calibration.safetensors"
REQUIRED = (SPLATS, PHOTOGRAPHS_FILE, "features.safetensors", "map/cameras.bin", "map/images.bin", "map/points3D.bin")
QUERY_PIXELS_RATIO = 4  # of the largest query to the reference camera
MAX_MANIFEST_BYTES = 4_000_000
MAX_BUNDLE_BYTES = 4_000_000_000


@dataclass(frozen=True, eq=False)
class ReferenceModel:
    """Everything an Inspector needs for one part.

    camera: that of the reference views as they were taken, distortion included; queries that bring no intrinsics are
    assumed to come from it. method: the preset's name; settings: the full method configuration it was trained with.
    training: figures for the manifest (views, held-out PSNR and SSIM, seconds, ...).
    """

    name: str
    method: str
    settings: dict[str, Any]
    camera: Camera
    background: Background
    sfm_map: SfmMap
    gaussians: Gaussians
    calibration: Calibration | None
    training: dict[str, Any]
    created: str  # ISO 8601, UTC
    photographs: tuple[Photograph, ...] = ()
    networks: tuple[Network, ...] = ()
    nerf: Nerf | None = None  # renders in place of the Gaussians, which then only say where the surface is
    hash: str = ""  # sha256 of the manifest, which holds those of all files; empty before saving

    def without_view(self, name: str) -> ReferenceModel:
        """The model as it is without one reference view's photograph and features; the Gaussians stay."""
        photographs = tuple(photograph for photograph in self.photographs if photograph.name != name)
        return dataclasses.replace(self, sfm_map=self.sfm_map.without(name), photographs=photographs)

    def renderer(
        self, features: NDArray[np.float32] | None = None, device: str = "cpu", nearest_photographs: int = 0
    ) -> Renderer:
        """What renders the part; see `Renderer`."""
        given = self.gaussians, self.background, features, device, self.photographs, nearest_photographs
        if self.nerf is None:
            return Renderer(*given)
        from .rendering.nerf_renderer import NerfRenderer  # loads torch

        return NerfRenderer(self.nerf, *given)

    @property
    def max_query_pixels(self) -> int:
        """Images of more pixels are refused before they are decoded: they cannot be of a camera like the model's."""
        return min(QUERY_PIXELS_RATIO * self.camera.width * self.camera.height, MAX_PIXELS)

    def manifest(self) -> dict[str, Any]:
        """The manifest without the files' hashes."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "method": self.method,
            "created": self.created,
            "camera": dataclasses.asdict(self.camera),
            "background": dataclasses.asdict(self.background),
            "gaussians": len(self.gaussians),
            "settings": self.settings,
            "training": self.training,
            "networks": [network.entry() for network in self.networks],
            "calibration": None if self.calibration is None else self.calibration.to_parts()[1],
        }

    @staticmethod
    def check_destination(folder: Path) -> None:
        """InputError where `save` would replace anything but an older reference model, or cannot write."""
        try:
            recover(folder)
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{folder}: exists and is not a folder")
            if folder.is_dir() and any(folder.iterdir()):
                _check_replaceable(folder)
            ancestor = next(p for p in folder.absolute().parents if p.exists() or p.is_symlink())
            if not ancestor.is_dir():
                raise InputError(f"{folder}: cannot be made, {ancestor} is not a folder")
            if not os.access(ancestor, os.W_OK | os.X_OK):
                raise InputError(f"{folder}: cannot be written ({ancestor} is read-only for you)")
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
            raise InputError(f"{folder}: cannot be written ({getattr(error, 'strerror', None) or error})") from error

    def save(self, folder: Path) -> ReferenceModel:
        """Write the bundle; an older model in its place is replaced only when the new one is complete.

        Returns the model with its hash.
        """
        self.check_destination(folder)
        folder = folder.resolve()
        try:
            with staging_for(folder) as staging:
                save_ply(self.gaussians, staging / SPLATS)
                save_map(self.sfm_map, staging)
                save_photographs(self.photographs, staging / PHOTOGRAPHS_FILE)
                save_networks(self.networks, staging)
                if self.nerf is not None:
                    save_nerf(self.nerf, staging)
                if self.calibration is not None:
                    save_file(self.calibration.to_parts()[0], staging / CALIBRATION)
                digest, text = seal_manifest(
                    {**self.manifest(), "files": {path: sha256_of(staging / path) for path in files_in(staging)}}
                )
                (staging / MANIFEST).write_text(text, encoding="utf-8")
                flush(staging)
                put_in_place(staging, folder)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
        return dataclasses.replace(self, hash=digest)

    @staticmethod
    def load(folder: Path) -> ReferenceModel:
        """Read a bundle; ModelError where it is missing, damaged, foreign, too new or too large.

        Version and hashes are checked before any file is parsed, counts and finiteness after. A bundle that is
        replaced meanwhile is read again.
        """
        recover(folder)
        while True:
            text, manifest = _read_manifest(folder)
            try:
                return ReferenceModel._load(folder, text, manifest)
            except ModelError:
                if _read_manifest(folder)[0] == text:
                    raise

    @staticmethod
    def _load(folder: Path, text: str, manifest: Mapping[str, Any]) -> ReferenceModel:
        digest = _check_seal(folder, text, manifest)
        _check_files(folder, manifest)
        try:
            settings = _group(manifest["settings"], "settings")
            method = method_from_dict(settings, "settings")
            gaussians = load_ply(folder / SPLATS)
            calibration = _read_calibration(folder, manifest["calibration"])
            model = ReferenceModel(
                name=_text(manifest["name"]), method=_text(manifest["method"]), settings=settings,
                camera=camera_from_values(_group(manifest["camera"], "camera")),
                background=_background(_group(manifest["background"], "background")), sfm_map=load_map(folder),
                gaussians=gaussians, calibration=calibration, training=_training(manifest["training"]),
                photographs=load_photographs(folder / PHOTOGRAPHS_FILE), created=_text(manifest["created"]),
                networks=load_networks(folder, manifest.get("networks", []), method.networks), hash=digest,
                nerf=load_nerf(folder, method.nerf) if method.rendering == "nerf" else None,
            )  # fmt: skip
            check_map(model.sfm_map, method.localization)
            if calibration is not None:
                calibration.check(len(gaussians))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError, InputError) as error:
            raise ModelError(f"{folder / MANIFEST}: damaged ({type(error).__name__}: {error})") from error
        if manifest.get("gaussians") != len(gaussians) or len(gaussians) == 0:
            raise ModelError(
                f"{folder}: {len(gaussians)} Gaussians, the manifest promises {manifest.get('gaussians')!r}"
            )
        return model


def _read_manifest(folder: Path) -> tuple[str, Mapping[str, Any]]:
    """The text of the manifest, and what it says."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; a reference model is made by `pad train VIEWS --out MODEL`")
    if not path.is_file():
        raise ModelError(f"{folder}: not a reference model (no {MANIFEST})")
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ModelError(f"{path}: larger than {MAX_MANIFEST_BYTES // 10**6} MB, not one of ours")
        text = path.read_bytes().decode("utf-8")
        manifest = json.loads(text)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(f"{path}: not a manifest of a {FORMAT}")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format version {version!r}, this pad_ros reads {FORMAT_VERSION}; train the model anew or update"
        )
    return text, manifest


def seal_manifest(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """(sha256 of the manifest, the file's text with that hash in it): a threshold must not change unseen."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return digest, json.dumps({**content, SEAL: digest}, indent=1) + "\n"


def _check_seal(folder: Path, text: str, manifest: Mapping[str, Any]) -> str:
    """The model's hash; ModelError where any byte of the manifest is not as `save` wrote it."""
    digest, expected = seal_manifest(manifest)
    if text != expected:
        raise ModelError(
            f"{folder / MANIFEST}: damaged or edited (its hash is not its own); copy or train the model anew"
        )
    return digest


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Exactly the files of the manifest, unchanged, none of them a link, and not too large."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise ModelError(f"{folder / MANIFEST}: no list of files")
    if links := sorted(path.name for path in folder.rglob("*") if path.is_symlink()):
        raise ModelError(f"{folder}: {links[0]} is a link; a model holds its files itself, copy them")
    present = set(files_in(folder)) - {MANIFEST}
    missing = sorted(({*files, *REQUIRED} - present) | (set(REQUIRED) - set(files)))
    if missing:
        raise ModelError(f"{folder}: {missing[0]} is missing; copy the whole folder, or train the model anew")
    if surplus := sorted(present - set(files)):
        raise ModelError(f"{folder}: {surplus[0]} does not belong to the model")
    if odd := [name for name in sorted(files) if not (folder / name).is_file()]:
        raise ModelError(f"{folder}: {odd[0]} is not a file")
    if sum((folder / name).stat().st_size for name in files) > MAX_BUNDLE_BYTES:
        raise ModelError(f"{folder}: larger than {MAX_BUNDLE_BYTES // 10**9} GB, not one of ours")
    for name, digest in files.items():
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise ModelError(f"{folder / name}: cannot be read ({error.strerror})") from error
        if found != digest:
            raise ModelError(f"{folder / name}: damaged (its hash is not the manifest's); copy or train the model anew")


def _read_calibration(folder: Path, values: Any) -> Calibration | None:
    if values is None:
        return None
    path = folder / CALIBRATION
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    return Calibration.from_parts(arrays, _group(values, "calibration"))


def _background(values: Mapping[str, Any]) -> Background:
    tolerance = finite_number(values["tolerance"], "tolerance")
    if values["colour"] is None:
        return Background(None, tolerance)
    r, g, b = (finite_number(x, "colour") for x in values["colour"])
    if not all(0 <= x <= 255 for x in (r, g, b, tolerance)):
        raise ValueError("background outside 0..255")
    return Background((r, g, b), tolerance)


def _training(values: Any) -> dict[str, Any]:
    training = _group(values, "training")
    for key, value in _group(training.get("held_out", {}), "held_out").items():
        finite_number(value, key)
    return training


def _group(values: Any, name: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise TypeError(f"{name}: expected a group of values, got {type(values).__name__}")
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _check_replaceable(folder: Path) -> None:
    """InputError unless `folder` holds a reference model of ours and nothing else that would be lost with it."""
    try:
        _, manifest = _read_manifest(folder)
    except ModelError as error:
        raise InputError(
            f"{folder}: exists and holds something else than a reference model; choose another --out"
        ) from error
    files = manifest.get("files")
    listed = set(files) if isinstance(files, dict) else set()
    if foreign := sorted(set(files_in(folder)) - listed - {MANIFEST}):
        raise InputError(
            f"{folder}: {foreign[0]} is not part of the model there; move it away, or choose another --out"
        )
