"""Inspector: localize, render, score in a row for one image, with timings."""

from __future__ import annotations

from pathlib import Path

from .geometry import Camera
from .images import Image
from .localization.result import Localization
from .model import ReferenceModel
from .rendering.result import ReferenceRendering
from .scoring.result import Inspection


class Inspector:
    """The three stages for one reference model. Each stage may also run in a process of its own.

    Images are validated RGB; `camera` may be distorted; None means the model's own camera, resized.
    The stages raise only for programming errors; `inspect` never raises for what an image holds.
    """

    def __init__(self, model: ReferenceModel, device: str = "auto") -> None:
        self.model = model

    @staticmethod
    def load(path: Path, device: str = "auto") -> Inspector:
        """Load a bundle; ModelError if it is damaged."""
        raise NotImplementedError

    def query_camera(self, image: Image, camera: Camera | None) -> Camera:
        """The camera to use for `image`; InputError where its shape contradicts the intrinsics."""
        raise NotImplementedError

    def localize(self, image: Image, camera: Camera | None = None) -> Localization:
        raise NotImplementedError

    def render(self, localization: Localization, camera: Camera) -> ReferenceRendering:
        raise NotImplementedError

    def score(self, image: Image, camera: Camera, localization: Localization,
              rendering: ReferenceRendering | None) -> Inspection:  # fmt: skip
        """`rendering` None is for localizations that failed: the result is HOLD with their reason."""
        raise NotImplementedError

    def inspect(self, image: Image, camera: Camera | None = None) -> Inspection:
        raise NotImplementedError
