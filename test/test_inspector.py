"""The inspector's contract, without a trained model: it never raises, and HOLD always says why."""

from dataclasses import replace

import numpy as np
import pytest
from box_model import POSES, located, make_box_inspector, photograph
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from model_factory import CAMERA, make_model
from splat_scenes import WHITE, put_off

from pad_ros.errors import CameraError, ImageError, InputError, SceneError
from pad_ros.imaging.geometry import Camera, Pose, rotation_angle
from pad_ros.imaging.scene import Scene
from pad_ros.inspector import Inspector
from pad_ros.localization.localizer import Localizer
from pad_ros.localization.result import Localization
from pad_ros.photometry.ground import on_ground
from pad_ros.rendering.renderer import Renderer
from pad_ros.verdicts import Reason, Verdict

SIZE = (CAMERA.height, CAMERA.width)


@pytest.fixture(scope="module")
def inspector():
    return Inspector(make_model())


def noise(height=SIZE[0], width=SIZE[1]):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def found(pose):
    """A localizer that always gives this answer."""
    return lambda self, query, estimate=None: Localization(pose, Reason.NONE, "", 50, 60, 0.5, np.eye(6))


def assert_held(result, *reasons):
    assert (result.verdict, result.reason in reasons) == (Verdict.HOLD, True), result.reason
    assert result.reason_text and np.isnan(result.score) and np.isnan(result.p_value)
    assert result.anomaly_map is None and result.rendering is None and result.defects == ()
    assert set(result.timings_ms) == {"localize", "render", "score", "total"}


# --- intrinsics ---


def test_the_models_camera_serves_images_of_its_shape(inspector):
    assert inspector.query_camera(noise(), None) == CAMERA
    assert inspector.query_camera(noise(96, 128), None) == CAMERA.resized(128, 96)
    other = Camera(70, 50, 90.0, 90.0, 35.0, 25.0)
    assert inspector.query_camera(noise(50, 70), other) is other


@pytest.mark.parametrize("height, width, camera", [(64, 64, None), (64, 48, None), (96, 128, CAMERA), (48, 65, CAMERA)])
def test_intrinsics_of_another_image_are_refused(inspector, height, width, camera):
    image = noise(height, width)
    for refuse in (inspector.query_camera, inspector.prepare):
        with pytest.raises(CameraError, match=f"{width}x{height}.*64x48"):
            refuse(image, camera)
    assert_held(inspector.inspect(image, camera), Reason.CAMERA_MISMATCH)


# --- bad images ---


@given(
    st.one_of(
        hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_dims=4, max_side=5)),
        st.none(), st.integers(), st.binary(), st.text(),
    )
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_whatever_is_given_for_an_image_is_held(inspector, image):
    assert_held(inspector.inspect(image), Reason.BAD_IMAGE)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_a_uniform_image_shows_nothing(inspector, value):
    image = np.full((*SIZE, 3), value, np.uint8)
    image[::2] += np.uint8(value < 255)
    assert_held(inspector.inspect(image), Reason.NO_CONTENT)


def test_an_unrelated_image_is_not_localized(inspector):
    assert_held(inspector.inspect(noise()), Reason.NOT_LOCALIZED, Reason.WEAK_POSE)


def test_what_could_not_be_decoded_is_held(inspector):
    result = inspector.bad_image("cut.png: truncated")
    assert (result.verdict, result.reason, result.reason_text) == (
        Verdict.HOLD, Reason.BAD_IMAGE, "cut.png: truncated",
    )  # fmt: skip
    assert result.threshold == inspector.model.calibration.threshold


# --- stages ---


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError("too much"), KeyError("x"), ZeroDivisionError()])
def test_any_exception_is_hold(inspector, monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(Localizer, "localize", fail)
    result = inspector.inspect(noise())
    assert_held(result, Reason.INTERNAL_ERROR)
    assert type(error).__name__ in result.reason_text


def test_an_interrupt_is_not_swallowed(inspector, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Localizer, "localize", interrupt)
    with pytest.raises(KeyboardInterrupt):
        inspector.inspect(noise())


def test_with_a_pose_there_is_a_verdict(inspector, monkeypatch):
    pose = inspector.model.sfm_map.poses[0]
    monkeypatch.setattr(Localizer, "localize", found(pose))
    image = Renderer(inspector.model.gaussians, inspector.model.background).render(CAMERA, pose).rgb8
    result = inspector.inspect(image)
    assert result.verdict in (Verdict.PASS, Verdict.REJECT)
    assert result.rendering.rgb.shape == (*SIZE, 3) and result.anomaly_map.values.shape == SIZE
    assert np.isfinite(result.score) and result.threshold == inspector.model.calibration.threshold
    assert (result.score > result.threshold) == (result.verdict is Verdict.REJECT)
    assert rotation_angle(result.localization.pose, pose) < np.radians(3)


def test_from_an_uncovered_viewpoint_the_answer_is_hold(inspector, monkeypatch):
    below = Pose.look_at(np.array([0.0, 0, -3]), np.zeros(3), np.array([1.0, 0, 0]))
    monkeypatch.setattr(Localizer, "localize", found(below))
    result = inspector.inspect(noise())
    assert_held(result, Reason.OUTSIDE_COVERAGE)
    assert "degrees" in result.reason_text and not result.localization.localized


def test_a_model_without_calibration_holds_everything(monkeypatch):
    inspector = Inspector(make_model(calibrated=False))
    monkeypatch.setattr(Localizer, "localize", found(inspector.model.sfm_map.poses[0]))
    result = inspector.inspect(noise())
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.UNCALIBRATED)
    assert np.isnan(result.score) and np.isnan(result.threshold)


def test_without_a_pose_nothing_is_rendered(inspector):
    nowhere = Localization(None, Reason.WEAK_POSE, "too few inliers")
    with pytest.raises(ValueError, match="no pose"):
        inspector.render(inspector.prepare(noise()), nowhere)
    result = inspector.score(inspector.prepare(noise()), nowhere, None)
    assert (result.verdict, result.reason, result.reason_text) == (Verdict.HOLD, Reason.WEAK_POSE, "too few inliers")


def test_warming_up_changes_nothing(inspector):
    before = inspector.inspect(noise())
    inspector.warm_up()
    after = inspector.inspect(noise())
    assert (before.verdict, before.reason, before.reason_text) == (after.verdict, after.reason, after.reason_text)


def test_settings_of_the_model_that_are_not_known_here_are_refused():
    model = make_model()
    with pytest.raises(InputError, match="manifest of ball.*magic"):
        Inspector(replace(model, settings={**model.settings, "magic": 1}))
    with pytest.raises(InputError, match="auto, cpu or cuda"):
        Inspector(model, "tpu")


@pytest.mark.parametrize("roi", [(0, 0, 8, 8), (100, 0, 200, 40), (30, 30, 20, 20)])
def test_a_region_of_interest_outside_the_image_is_refused(inspector, roi):
    looking_there = Inspector(inspector.model, scene=Scene(roi=roi))
    with pytest.raises(SceneError, match="region of interest"):
        looking_there.prepare(noise())
    assert_held(looking_there.inspect(noise()), Reason.SCENE_MISMATCH)


def test_views_of_the_empty_cell_from_another_camera_are_refused(inspector):
    other = Inspector(inspector.model, scene=Scene(empty=(noise(96, 128),)))
    with pytest.raises(SceneError, match="128x96 pixels, the image has 64x48"):
        other.prepare(noise())
    assert_held(other.inspect(noise()), Reason.SCENE_MISMATCH)


# --- what the stages take ---


def test_a_prepared_query_holds_what_is_known_of_it(inspector):
    image, distorted = noise(), replace(CAMERA, distortion=(0.1, 0.0, 0.0, 0.0))
    query = inspector.prepare(image)
    assert query.image is image and query.camera == CAMERA and query.background == inspector.model.background
    assert query.empty == () and query.region is None
    assert inspector.prepare(image, distorted).camera is distorted
    in_cell = Inspector(inspector.model, scene=Scene((noise(),), roi=(8, 4, 90, 40))).prepare(image)
    assert len(in_cell.empty) == 1 and in_cell.region == (8, 4, 64, 40)  # clipped to the image
    with pytest.raises(ImageError):
        inspector.prepare(image.astype(np.float32))


@pytest.fixture(scope="module")
def boxed():
    return make_box_inspector()


def test_memory_is_given_back_now_and_then(boxed, monkeypatch):
    calls = []
    monkeypatch.setattr("pad_ros.inspector.give_back", lambda: calls.append(1))
    monkeypatch.setattr("pad_ros.inspector.GIVE_BACK_EVERY", 3)
    for _ in range(6):
        boxed.prepare(photograph(POSES[0]))
    assert len(calls) == 2


def by_another_process(inspector, image, localization):
    """The rendering as made from what a message holds: poses, but no pictures."""
    pose, made_at = (
        Pose.from_quaternion(p.quaternion(), p.translation) for p in (localization.pose, localization.rendered_from)
    )
    sent = replace(localization, pose=pose, rendered_from=made_at, rendering=None)
    return inspector.render(inspector.prepare(image), sent)


def assert_same_picture(first, second):
    for name in ("rgb", "alpha", "depth", "features"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-4)
    np.testing.assert_allclose(first.pose.matrix, second.pose.matrix, atol=1e-12)
    assert first.window == second.window and first.photographs.shape == second.photographs.shape


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("before", ["nothing", "a pose", "a rendering"])
def test_another_process_renders_the_same(boxed, monkeypatch, seed, before):
    """What refining left, shifted by a part of a pixel, can be made anew from the poses alone."""
    truth = POSES[seed]
    start = put_off(truth, 1.0, 0.005, np.random.default_rng(seed))
    monkeypatch.setattr(Localizer, "coarse_estimate", lambda self, query: None)
    monkeypatch.setattr(Localizer, "localize", found(start))
    image = photograph(truth)
    prior = None if before == "nothing" else replace(found(start)(None, None), rendering=None)
    if before == "a rendering":
        prior = located(boxed, photograph(start), prior)
    localization = located(boxed, image, prior)
    assert localization.localized and localization.rendering.features.shape[2] == 3
    assert localization.rendered_from is not None
    with_rendering = boxed.render(boxed.prepare(image), localization)
    assert_same_picture(by_another_process(boxed, image, localization), with_rendering)


def test_another_process_renders_the_same_in_front_of_another_background(boxed, monkeypatch):
    start = put_off(POSES[0], 0.5, 0.003, np.random.default_rng(0))
    monkeypatch.setattr(Localizer, "coarse_estimate", lambda self, query: None)
    monkeypatch.setattr(Localizer, "localize", found(start))
    rendering = boxed.renderer.part(boxed.model.camera, POSES[0])
    grey = np.full_like(rendering.rgb, 0.4) + np.random.default_rng(0).normal(0, 0.01, rendering.rgb.shape)
    image = on_ground(rendering, grey.astype(np.float32), WHITE).rgb8
    localization = located(boxed, image)
    assert localization.localized
    with_rendering = boxed.render(boxed.prepare(image), localization)
    corner = with_rendering.rgb[0, 0]
    np.testing.assert_array_equal(corner, np.ones(3, np.float32))  # the reference stays on its own background
    assert_same_picture(by_another_process(boxed, image, localization), with_rendering)


def test_a_pose_from_elsewhere_is_rendered_as_it_is(boxed):
    pose = put_off(POSES[1], 0.1, 0.001, np.random.default_rng(0))
    given = Localization(pose, Reason.NONE, "")
    rendering = boxed.render(boxed.prepare(photograph(pose)), given)
    np.testing.assert_array_equal(rendering.rgb, boxed.renderer.part(boxed.model.camera, pose).rgb)
