"""The station's pages: rendered here, no build step, nothing from the network."""

from importlib.util import find_spec

from ...errors import MissingDependencyError

if missing := [name for name in ("argon2", "python_multipart", "starlette", "uvicorn") if find_spec(name) is None]:
    raise MissingDependencyError(f"{missing[0]} is missing: pip install 'pad_ros[station]'")
