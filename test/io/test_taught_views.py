"""Views that are taken one by one: what could not be written leaves nothing behind that the next view would meet."""

import json
from pathlib import Path

import numpy as np
import pytest
from splat_scenes import CAMERA, orbit

from pad_ros.io.taught_views import TRANSFORMS, TaughtViews


def test_a_view_that_could_not_be_written_leaves_no_pose(tmp_path, monkeypatch):
    first, second, third = orbit(3)
    image = np.full((CAMERA.height, CAMERA.width, 3), 128, np.uint8)
    views = TaughtViews(tmp_path / "views")
    views.add(image, CAMERA, first)

    def full(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            views.add(image, CAMERA, second)
    views.add(image, CAMERA, third)
    frames = json.loads((tmp_path / "views" / TRANSFORMS).read_text())["frames"]
    assert [frame["file_path"] for frame in frames] == ["images/0000.png", "images/0001.png"]
    np.testing.assert_allclose(frames[1]["transform_matrix"], third.to_opengl_camera_to_world())
    assert views.count == len(views.poses) == 2
