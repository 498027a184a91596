"""The station: every verdict kept, looked at and learned from. Beside the verdict path, never in it; without ROS."""

from importlib.util import find_spec

from ..errors import MissingDependencyError

if find_spec("sqlalchemy") is None:
    raise MissingDependencyError("the station's packages are missing: pip install 'pad_ros[station]'")
