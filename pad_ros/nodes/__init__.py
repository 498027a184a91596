"""ROS 2 nodes: the only part of pad_ros that needs ROS. Run one with `python -m pad_ros.nodes.cell`."""

import ctypes
import os
import sys
from pathlib import Path

if "ROS_DISTRO" in os.environ:
    # `make setup` on a machine with ROS 2 puts our type support libraries into the virtual environment,
    # where the middleware, which opens them by name alone, finds them only if they are loaded already.
    for _library in sorted((Path(sys.prefix) / "lib").glob("libpad_ros__rosidl_*.so")):
        ctypes.CDLL(str(_library))
