"""Points of the part coloured by anomaly, as point clouds."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from ...imaging.geometry import Camera
from ...rendering.result import ReferenceRendering
from ...reporting.pictures import heatmap_image
from .convert import packed

try:
    from sensor_msgs_py.point_cloud2 import create_cloud
except ImportError:  # part of every ROS install, but not of the PyPI wheels
    create_cloud = None

CLOUD_FIELDS = ("x", "y", "z", "rgb", "anomaly")
Points = NDArray[np.float64]
Values = NDArray[np.float32]

MIN_ALPHA = 0.5  # a pixel belongs to the part where it covers at least this much


def anomaly_cloud(
    rendering: ReferenceRendering, camera: Camera, values: Values, threshold: float, stamp: Time, part_frame: str
) -> PointCloud2:
    """One point per rendered pixel of the part: x, y, z (part frame), rgb, anomaly.

    values [H, W] is the anomaly map on the pixels of the raw `camera`; the rendering has no distortion.
    """
    rows, columns = np.nonzero((rendering.alpha >= MIN_ALPHA) & (rendering.depth > 0))
    pixels = np.stack([columns, rows], axis=1).astype(np.float64) + 0.5
    rays = rendering.camera.rays(pixels) if len(pixels) else np.zeros((0, 3))
    inside = np.floor(camera.project(rays)).astype(np.int64)  # the raw pixel that saw the point
    seen = (inside >= 0).all(axis=1) & (inside < [values.shape[1], values.shape[0]]).all(axis=1)
    rows, columns, rays, inside = rows[seen], columns[seen], rays[seen], inside[seen]
    points = rendering.pose.inverse().transform(rays * rendering.depth[rows, columns, None])
    anomaly = values[inside[:, 1], inside[:, 0]]
    colours = heatmap_image(values, threshold)[inside[:, 1], inside[:, 0]]
    return cloud_message(points, anomaly, colours, stamp, part_frame)


def surface_cloud(points: Points, values: Points, threshold: float, stamp: Time, part_frame: str) -> PointCloud2:
    """Points [S, 3] of a surface coloured by their fused anomaly [S]; those that no view saw (NaN) are left out."""
    seen = np.isfinite(values)
    anomaly = values[seen].astype(np.float32)
    colours = heatmap_image(anomaly[None], threshold)[0] if len(anomaly) else np.zeros((0, 3), np.uint8)
    return cloud_message(points[seen], anomaly, colours, stamp, part_frame)


def cloud_message(
    points: NDArray[Any], anomaly: Values, colours: NDArray[np.uint8], stamp: Time, frame: str
) -> PointCloud2:
    """Points [N, 3] with colours [N, 3] and anomaly [N]."""
    kind = np.dtype([(name, "<f4") for name in CLOUD_FIELDS])
    data = np.empty(len(points), kind)
    for i, name in enumerate("xyz"):
        data[name] = points[:, i]
    red, green, blue = colours.astype(np.uint32).T
    data["rgb"] = ((red << 16) | (green << 8) | blue).view(np.float32)  # as rviz expects a packed colour
    data["anomaly"] = anomaly
    header = Header(stamp=stamp, frame_id=frame)
    fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(CLOUD_FIELDS)
    ]
    if create_cloud is not None and len(data):  # it cannot make an empty cloud
        cloud = create_cloud(header, fields, data)
    else:
        cloud = PointCloud2(header=header, fields=fields, height=1, width=len(data))
        cloud.point_step, cloud.row_step, cloud.data = data.itemsize, data.nbytes, packed(data)
    cloud.is_dense = True
    return cloud


def read_cloud(msg: PointCloud2) -> tuple[Points, Values]:
    """Points [N, 3] and anomaly [N] of a cloud of ours; ValueError for any other."""
    offsets = {field.name: field.offset for field in msg.fields if field.datatype == PointField.FLOAT32}
    wanted = ("x", "y", "z", "anomaly")
    if msg.is_bigendian or not all(name in offsets for name in wanted):
        raise ValueError("not an anomaly cloud: it lacks x, y, z or anomaly as little-endian floats")
    count = msg.width * msg.height
    if len(msg.data) < count * msg.point_step or max(offsets[name] for name in wanted) + 4 > msg.point_step:
        raise ValueError(f"anomaly cloud: truncated, {len(msg.data)} bytes for {count} points")
    places = [offsets[name] for name in wanted]
    kind = np.dtype({"names": wanted, "formats": ["<f4"] * 4, "offsets": places, "itemsize": msg.point_step})
    data = np.frombuffer(msg.data, kind, count)
    return np.stack([data["x"], data["y"], data["z"]], axis=1).astype(np.float64), np.array(data["anomaly"])
