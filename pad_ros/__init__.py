"""Pose-agnostic visual inspection: localize the camera, render how a good part would look, compare."""

from pkgutil import extend_path

# In a source checkout this folder shadows the installed package that holds the generated
# ROS messages (pad_ros.msg, pad_ros.srv): join the two.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
