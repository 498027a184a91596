"""Typed errors. Each message is one clear line: what, why, where, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager


class PadError(Exception):
    """Base of every error that a user can cause or mend; `exit_status` is what `pad` ends with."""

    exit_status = 2


class InputError(PadError):
    """A file, folder or argument given by the user is unusable."""


class ImageError(InputError):
    """An image is missing, truncated, of an unknown encoding, or of an impossible size."""


class CameraError(InputError):
    """The intrinsics do not belong to the image."""


class SceneError(InputError):
    """The region of interest or the views of the empty cell do not fit the image."""


class ModelError(PadError):
    """A reference model bundle is damaged, foreign, too new, or too large."""


class TrainingError(PadError):
    """The reference views do not allow a reference model (too few registered, no points, ...)."""


class MissingDependencyError(PadError):
    """The machine lacks a piece of software or network weights; the message says how to get it."""

    exit_status = 3


@contextmanager
def located(where: object) -> Iterator[None]:
    """Let an InputError begin with the place, a path or a part of a file, that it was found at."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def first_line(error: Exception) -> str:
    """What a foreign error says, short enough for a message of ours; its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
