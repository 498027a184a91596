"""The part's surface as seen by a query, coloured by anomaly, as a point cloud."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from ..geometry import Camera
from ..pictures import heatmap_image
from ..rendering.result import ReferenceRendering

MIN_ALPHA = 0.5  # a pixel belongs to the part where it covers at least this much


def anomaly_cloud(
    rendering: ReferenceRendering,
    camera: Camera,
    values: NDArray[np.float32],
    threshold: float,
    stamp: Time,
    part_frame: str,
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
    colours = heatmap_image(values, threshold)[inside[:, 1], inside[:, 0]].astype(np.uint32)

    data = np.zeros(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "<u4"), ("anomaly", "<f4")])
    data["xyz"], data["anomaly"] = points, anomaly
    data["rgb"] = (colours[:, 0] << 16) | (colours[:, 1] << 8) | colours[:, 2]
    cloud = PointCloud2(
        header=Header(stamp=stamp, frame_id=part_frame), height=1, width=len(data), point_step=data.itemsize,
        row_step=data.nbytes, is_dense=True,
    )  # fmt: skip
    # rviz expects the packed colour as FLOAT32.
    cloud.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate(("x", "y", "z", "rgb", "anomaly"))
    ]
    cloud.data = array("B", data.tobytes())
    return cloud
