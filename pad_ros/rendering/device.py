"""Which device renders."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from ..errors import InputError, MissingDependencyError


def resolve_device(wanted: str) -> str:
    """ "cpu" or "cuda" for "auto", "cpu" or "cuda"; MissingDependencyError where CUDA is asked for and missing."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {wanted!r}: expected auto, cpu or cuda")
    if wanted == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        if wanted == "cuda":
            raise MissingDependencyError(
                "device cuda: torch finds no CUDA device; use --device cpu, or install a CUDA build of torch"
            )
        return "cpu"
    if find_spec("gsplat") is None:
        if wanted == "cuda":
            raise MissingDependencyError("device cuda: gsplat is not installed; pip install 'pad_ros[cuda]'")
        return "cpu"
    return "cuda"
