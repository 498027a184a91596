"""ReferenceModel: what `pad train` learns, and the bundle on disk that holds it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .errors import InputError, ModelError
from .geometry import Camera
from .localization.sfm_map import SfmMap, load_map, save_map
from .rendering.gaussians import Gaussians, load_ply, save_ply
from .scoring.calibration import Calibration
from .silhouette import Background

FORMAT = "pad_ros reference model"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SPLATS = "splats.ply"
CALIBRATION = "calibration.safetensors"
REQUIRED = (SPLATS, "features.safetensors", "map/cameras.bin", "map/images.bin", "map/points3D.bin")
MAX_MANIFEST_BYTES = 4_000_000
MAX_BUNDLE_BYTES = 4_000_000_000


@dataclass(frozen=True, eq=False)
class ReferenceModel:
    """Everything an Inspector needs for one part.

    camera: the pinhole that queries are assumed to come from when they bring no intrinsics.
    method: the preset's name; settings: the full method configuration it was trained with.
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
    hash: str = ""  # sha256 of the manifest, which holds those of all files; empty before saving

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
            "calibration": None if self.calibration is None else self.calibration.to_parts()[1],
        }

    @staticmethod
    def check_destination(folder: Path) -> None:
        """InputError where `save` would overwrite something that is not a reference model, or cannot write."""
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: exists and is not a folder")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise InputError(f"{folder}: exists and holds something else than a reference model; choose another --out")
        parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        if not os.access(parent, os.W_OK):
            raise InputError(f"{folder}: cannot be written ({parent} is read-only for you)")

    def save(self, folder: Path) -> ReferenceModel:
        """Write the bundle; an older model in its place is replaced only when the new one is complete.

        Returns the model with its hash.
        """
        self.check_destination(folder)
        folder = folder.absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            save_ply(self.gaussians, staging / SPLATS)
            save_map(self.sfm_map, staging)
            if self.calibration is not None:
                save_file(self.calibration.to_parts()[0], staging / CALIBRATION)
            files = {path: _sha256(staging / path) for path in _files(staging)}
            text = json.dumps({**self.manifest(), "files": files}, indent=1) + "\n"
            (staging / MANIFEST).write_text(text, encoding="utf-8")
            staging.chmod(0o755)
            for path in _files(staging):
                _flush(staging / path)
            _replace(staging, folder)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return dataclasses.replace(self, hash=hashlib.sha256(text.encode()).hexdigest())

    @staticmethod
    def load(folder: Path) -> ReferenceModel:
        """Read a bundle; ModelError where it is missing, damaged, foreign, too new or too large.

        Version and hashes are checked before any file is parsed, counts and finiteness after.
        """
        text, manifest = _read_manifest(folder)
        _check_files(folder, manifest)
        try:
            camera = _camera(manifest["camera"])
            background = _background(manifest["background"])
            gaussians = load_ply(folder / SPLATS)
            calibration = _read_calibration(folder, manifest["calibration"])
            model = ReferenceModel(
                name=_text(manifest["name"]), method=_text(manifest["method"]), settings=dict(manifest["settings"]),
                camera=camera, background=background, sfm_map=load_map(folder), gaussians=gaussians,
                calibration=calibration, training=dict(manifest["training"]), created=_text(manifest["created"]),
                hash=hashlib.sha256(text.encode()).hexdigest(),
            )  # fmt: skip
            count = int(manifest["gaussians"])
        except (KeyError, TypeError, ValueError, OverflowError, InputError) as error:
            raise ModelError(f"{folder / MANIFEST}: damaged ({type(error).__name__}: {error})") from error
        if count != len(gaussians) or count == 0:
            raise ModelError(f"{folder}: {len(gaussians)} Gaussians, the manifest promises {count}")
        if calibration is not None:
            calibration.check(count)
        return model


def _read_manifest(folder: Path) -> tuple[str, Mapping[str, Any]]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; a reference model is made by `pad train VIEWS --out MODEL`")
    if not path.is_file():
        raise ModelError(f"{folder}: not a reference model (no {MANIFEST})")
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ModelError(f"{path}: larger than {MAX_MANIFEST_BYTES // 10**6} MB, not one of ours")
        text = path.read_text(encoding="utf-8")
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


def _check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Exactly the files of the manifest, unchanged, and not too large."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise ModelError(f"{folder / MANIFEST}: no list of files")
    present = set(_files(folder)) - {MANIFEST}
    missing = sorted(({*files, *REQUIRED} - present) | (set(REQUIRED) - set(files)))
    if missing:
        raise ModelError(f"{folder}: {missing[0]} is missing; copy the whole folder, or train the model anew")
    if surplus := sorted(present - set(files)):
        raise ModelError(f"{folder}: {surplus[0]} does not belong to the model")
    if sum((folder / name).stat().st_size for name in files) > MAX_BUNDLE_BYTES:
        raise ModelError(f"{folder}: larger than {MAX_BUNDLE_BYTES // 10**9} GB, not one of ours")
    for name, digest in files.items():
        if _sha256(folder / name) != digest:
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
    return Calibration.from_parts(arrays, dict(values))


def _camera(values: Any) -> Camera:
    return Camera(**{**values, "distortion": tuple(float(x) for x in values["distortion"])})


def _background(values: Any) -> Background:
    colour = values["colour"]
    if colour is not None:
        r, g, b = (float(x) for x in colour)
        colour = (r, g, b)
        if not all(math.isfinite(x) for x in colour):
            raise ValueError("background colour is not finite")
    return Background(colour, float(values["tolerance"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace(staging: Path, folder: Path) -> None:
    """Put `staging` in the place of `folder`; the old content goes only after the new is in place."""
    if not folder.exists():
        staging.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "model")
    try:
        staging.rename(folder)
    except OSError:
        (old / "model").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
