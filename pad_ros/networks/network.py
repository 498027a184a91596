"""Networks as they travel inside a reference model, so that a line machine needs no download.

`pad train` reads them from the weights folder; the model keeps their content, and the manifest their licence.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError

from ..compute.threads import thread_count
from ..errors import InputError, ModelError
from . import registry as weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from torch import Tensor

T = TypeVar("T")

FOLDER = "networks"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
KINDS = ("onnx", "safetensors")
PROBE = Path(__file__).with_name("probe.py")
PROBE_SECONDS, PROBE_SECONDS_PER_MB = 60.0, 0.3
CUDA_PROVIDER = "CUDAExecutionProvider"  # of the package onnxruntime-gpu

_sound: set[str] = set()  # sha256 of the ONNX files that passed the probe


@dataclass(frozen=True, eq=False)
class Network:
    """One network. source_sha256: of the published file that it was read from."""

    name: str
    kind: str  # "onnx" or "safetensors"
    content: bytes
    licence: str
    commercial: str  # yes, no or ask
    source_sha256: str

    @property
    def file(self) -> str:
        """Where it lies in a reference model."""
        return f"{FOLDER}/{self.name}.{self.kind}"

    def entry(self) -> dict[str, str]:
        """What the manifest says about it."""
        return {"name": self.name, "kind": self.kind, "licence": self.licence, "commercial": self.commercial,
                "source_sha256": self.source_sha256}  # fmt: skip

    def tensors(self, device: str = "cpu") -> dict[str, Tensor]:
        """The tensors of a network kept as safetensors, on a device; ModelError where they are damaged."""
        from safetensors.torch import load as load_tensors

        try:
            return {name: tensor.to(device) for name, tensor in load_tensors(self.content).items()}
        except (SafetensorError, ValueError, KeyError) as error:
            raise ModelError(f"the network {self.name} is damaged ({error})") from error

    def check(self) -> None:
        """ModelError where an ONNX file of a bundle must not be run, or does not run; see `probe`.

        Loading such a file trusts it with this process, so another one tries first. Once per content.
        """
        digest = hashlib.sha256(self.content).hexdigest()
        if self.kind != "onnx" or digest in _sound:
            return
        if (problem := _problem_of(self.content)) is not None:
            raise ModelError(f"the network {self.name} is refused: {problem}; train the model anew")
        _sound.add(digest)

    def session(self, device: str = "cpu") -> InferenceSession:
        """A session of ONNX Runtime; on "cuda" where the installed runtime has that, else on the CPU.

        ModelError where the network is damaged.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are for the kernels then
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        if device == "cuda" and CUDA_PROVIDER in onnxruntime.get_available_providers():
            providers.insert(0, CUDA_PROVIDER)
        try:
            return onnxruntime.InferenceSession(self.content, options, providers=providers)
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise ModelError(f"the network {self.name} is damaged ({' '.join(str(error).split())[:200]})") from error


def _problem_of(content: bytes) -> str | None:
    """What forbids an ONNX file, found in a process of its own; None if nothing does."""
    limit = PROBE_SECONDS + PROBE_SECONDS_PER_MB * len(content) / 1e6
    try:
        found = subprocess.run(
            [sys.executable, str(PROBE)], input=content, capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"its first run did not end within {limit:.0f} s"
    if found.returncode == 0:
        return None
    said = found.stdout.decode(errors="replace").split("\n")[0] or f"its first run ended with status {found.returncode}"
    return said[:300]


def read_networks(names: Iterable[str], folder: Path | None = None) -> tuple[Network, ...]:
    """The networks from the weights folder; MissingDependencyError for one that was not fetched."""
    return tuple(_read(name, folder) for name in names)


def save_networks(networks: Iterable[Network], bundle: Path) -> None:
    """Write each network to its place in the folder `bundle`."""
    for network in networks:
        path = bundle / network.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(network.content)


def load_networks(bundle: Path, entries: Any, needed: Iterable[str]) -> tuple[Network, ...]:
    """What `save_networks` wrote; ModelError where an entry is odd or a needed one is missing."""
    networks = []
    for values in entries if isinstance(entries, list) else [entries]:
        if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
            raise ModelError(f"{bundle}: odd entry among the networks: {str(values)[:80]!r}")
        name, kind = values.get("name", ""), values.get("kind", "")
        if not NAME.fullmatch(name) or kind not in KINDS:
            raise ModelError(f"{bundle}: odd network {name[:80]!r} of kind {kind[:80]!r}")
        try:
            content = (bundle / FOLDER / f"{name}.{kind}").read_bytes()
            networks.append(Network(content=content, **values))
            networks[-1].check()
        except (OSError, TypeError) as error:
            raise ModelError(f"{bundle}: the network {name} cannot be read ({error})") from error
    missing = sorted(set(needed) - {network.name for network in networks})
    if missing:
        raise ModelError(f"{bundle}: the network {missing[0]} is missing; train the model anew")
    return tuple(networks)


def by_name(networks: Iterable[Network]) -> dict[str, Network]:
    """The networks under their names."""
    return {network.name: network for network in networks}


def find_network(kind: Callable[[Network, str], T], setting: str, networks: Iterable[Network], device: str) -> T | None:
    """kind(network, device) of the network that a setting's value names; None for "none", ModelError if missing."""
    if setting == "none":
        return None
    found = by_name(networks)
    if (wanted := setting.replace("_", "-")) not in found:
        raise ModelError(f"the network {wanted} is missing")
    return kind(found[wanted], device)


def _read(name: str, folder: Path | None) -> Network:
    found, path = weights.entry(name), weights.find_weights(name, folder)
    content = weights.read_weights(name, folder)
    digest = hashlib.sha256(content).hexdigest()
    kind = path.suffix.removeprefix(".")
    if kind not in KINDS:
        from safetensors.torch import save as save_tensors

        content, kind = save_tensors(_state(path, content)), "safetensors"
    return Network(name, kind, content, found.licence, found.commercial, digest)


def _state(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a published checkpoint, read without running any of its code."""
    if path.suffix == ".mat":
        from .netvlad_file import read_matlab

        return read_matlab(path, content)
    import torch

    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can make the reader fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a checkpoint of tensors only ({reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: not a plain table of tensors")
    return {str(key): value.contiguous().clone() for key, value in state.items()}
