"""Which device renders."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec

from ..errors import InputError, MissingDependencyError


def resolve_device(wanted: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; MissingDependencyError where CUDA is asked for and missing."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {wanted!r}: expected auto, cpu or cuda")
    # Torch takes longer to load than a model: only where there may be a GPU.
    if wanted == "cpu" or (wanted == "auto" and (find_spec("gsplat") is None or not _driver())):
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        if wanted == "cuda":
            raise MissingDependencyError(
                "device cuda: torch finds no CUDA device; use --device cpu, or install a CUDA build of torch"
            )
        return "cpu"
    if find_spec("gsplat") is None:
        raise MissingDependencyError("device cuda: gsplat is not installed; pip install 'pad_ros[cuda]'")
    return "cuda"


def _driver() -> bool:
    """Whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
