"""Calibration on a line: what good units look like to its own camera, and the threshold that they give.

Images of good units go the way of queries. The line's light is learned from them (see `line_light`), and what they show
corrects what is expected of a good part. Their scores, each unit judged by what the others taught (cross-fitted), give
the threshold: by split conformal prediction on units (Vovk
et al. 2005) where they are enough, and by the reference views' distribution, fitted to them, where they are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from ..comparison.protocol import Sample
from ..compute.threads import only_our_threads
from ..decision.calibration import Calibration
from ..decision.inspection import Inspection
from ..decision.threshold import choose_threshold, largest_rate, units_needed
from ..errors import ImageError, InputError, PadError
from ..imaging.scene import Scene
from ..inspector import Inspector
from ..io.good_images import GoodImage, GoodImages
from ..model import ReferenceModel
from ..photometry.prepared_query import PreparedQuery
from ..progress import progress
from ..rendering.renderer import Renderer
from .calibration import EXPECTED_ALLOWANCE, LOSS_ALLOWANCE, SMALLEST_SCALE
from .line_light import SeenImage, learn_light, samples_again, with_state

MIN_UNITS = 5  # that must be usable
LOOSER_LOSS = 2.0  # times the loss that a pose may have: noise of the line's camera is to be learned
FOLDS = 10  # of units: none is scored by what it taught
FAR_DEVIATIONS = 4.0  # median absolute deviations (of log scores) from the median: an image beyond looks defective,
FAR_FACTOR = 2.0  # if it also scores this many times the median, and would be rejected
FAR_BEYOND = 2.0  # the same by what the others taught: times what the reference views' threshold is of their median
NORMAL_DEVIATION = 1.4826  # of a normal distribution whose median absolute deviation is 1
NOTHING_KNOWN = Scene()


@dataclass(frozen=True, eq=False)
class LeftOut:
    """An image that nothing is learned from, and why. inspection: where it was inspected, to look at."""

    name: str
    unit: str
    why: str
    inspection: Inspection | None = None


@dataclass(frozen=True, eq=False)
class LineCalibration:
    """model: the new one; units, images: what it learned from; rejected: units whose cross-fitted score exceeds the
    threshold."""

    model: ReferenceModel
    units: tuple[str, ...]
    images: int
    rejected: int
    left_out: tuple[LeftOut, ...]


def calibrate_on_line(
    model: ReferenceModel,
    images: GoodImages,
    false_reject_rate: float | None = None,
    trust: bool = False,
    device: str = "cpu",
    seed: int = 0,
    scene: Scene = NOTHING_KNOWN,
) -> LineCalibration:
    """The model as it is after it has learned from images of good units.

    false_reject_rate: None keeps the model's. trust: learn from images that look defective as well. The same images
    give the same model. InputError for a model without threshold, or where fewer than MIN_UNITS units can be used.
    """
    if model.calibration is None or not math.isfinite(model.calibration.threshold):
        raise InputError(f"{model.name}: the model has no threshold to begin with: train it with more views")
    inspector = Inspector(model, device, scene)
    looser = replace(model.calibration, max_loss=LOOSER_LOSS * model.calibration.max_loss)
    seen, left_out = _look_at(inspector, Inspector(replace(model, calibration=looser), device, scene), images, seed)
    if not trust:
        first = [image.score for image in seen]
        seen, suspicious = _without_far(seen, first, max(_far_from_others(first), model.calibration.threshold))
        left_out += suspicious
    rate = model.calibration.false_reject_rate if false_reject_rate is None else false_reject_rate
    calibration, scores = _calibrated(inspector, images, seen, _units(images, seen, left_out), rate, seed)
    if not trust:  # what others taught may show what was not told apart before
        kept, suspicious = _without_far(seen, scores, _far_from_references(scores, model.calibration, rate))
        if suspicious:
            seen, left_out = kept, left_out + suspicious
            calibration, _ = _calibrated(inspector, images, seen, _units(images, seen, left_out), rate, seed)
    units = _units(images, seen, left_out)
    learns_light = not np.array_equal(calibration.state.lights, model.calibration.state.lights)
    rejected = int(np.count_nonzero(calibration.scores > calibration.threshold))
    entry = {
        "source": images.source, "units": len(units), "images": len(seen), "left_out": len(left_out),
        "newest_image": _time_text(max(image.taken_ns for image in seen)), "false_reject_rate": rate,
        "light": learns_light, "threshold": calibration.threshold,
        "before": {"model": model.hash, "threshold": model.calibration.threshold},
    }  # fmt: skip
    training = {**model.training, "line_calibrations": [*model.training.get("line_calibrations", []), entry]}
    learned = replace(model, calibration=calibration, training=training, hash="")
    return LineCalibration(learned, units, len(seen), rejected, tuple(left_out))


def _units(images: GoodImages, seen: Sequence[SeenImage], left_out: Sequence[LeftOut]) -> tuple[str, ...]:
    """The units that the images show; InputError for too few."""
    units = tuple(dict.fromkeys(image.unit for image in seen))
    if len(units) < MIN_UNITS:
        reasons = f"; {left_out[0].name}: {left_out[0].why}" if left_out else ""
        raise InputError(
            f"{images.source}: {len(units)} good units can be used, at least {MIN_UNITS} are needed{reasons}"
        )
    return units


def _look_at(
    inspector: Inspector, looser: Inspector, images: GoodImages, seed: int
) -> tuple[list[SeenImage], list[LeftOut]]:
    """The images that show the part where it can be judged, and the others.

    looser: takes a pose of more loss. It is asked where `inspector` finds none: else the first pose that it finds
    would count before the right one is looked for.
    """
    plain = inspector.model.renderer(device=inspector.device)
    seen: list[SeenImage] = []
    left_out: list[LeftOut] = []
    for image in progress(images, "images of good units", len(images)):
        try:
            found = _look(inspector, looser, plain, image, seed)
        except PadError as error:
            found = LeftOut(image.name, image.unit, str(error))
        if isinstance(found, SeenImage):
            seen.append(found)
        else:
            left_out.append(found)
    return seen, left_out


def _look(inspector: Inspector, looser: Inspector, plain: Renderer, image: GoodImage, seed: int) -> SeenImage | LeftOut:
    if isinstance(image.image, ImageError):
        raise image.image
    calibration = inspector.model.calibration
    assert calibration is not None
    query = inspector.prepare(image.image, image.camera)
    if (name := _reference_view(inspector.model, query)) is not None:
        why = f"it is the reference view {name}, which the model has learned: give images that it has not seen"
        return LeftOut(image.name, image.unit, why)
    localization = inspector.localize(query)
    if not localization.localized:
        localization = looser.localize(query)
    if not localization.localized:
        return LeftOut(image.name, image.unit, f"{localization.reason.name}: {localization.reason_text}")
    rendering = looser.render(query, localization)
    inspection = looser.score(query, localization, rendering)
    if not math.isfinite(inspection.score) or inspection.anomaly_map is None:
        return LeftOut(image.name, image.unit, f"{inspection.reason.name}: {inspection.reason_text}", inspection)
    conditions = inspection.conditions
    if conditions.view_share < inspector.scene.min_view_share or not conditions.light_known:
        return LeftOut(image.name, image.unit, f"{inspection.reason.name}: {inspection.reason_text}", inspection)
    with only_our_threads():
        sample = Sample(query.of_size(rendering.camera), rendering)
        observation = inspector.comparison.observe(sample, calibration.state, plain, seed)
        light = inspector.comparison.light_sums(sample, plain)
    kept = replace(localization, rendering=None)
    shown = inspection if inspection.score > calibration.threshold else None
    return SeenImage(
        image.name,
        image.unit,
        image.taken_ns,
        kept,
        conditions,
        inspection.score,
        float(inspection.anomaly_map.compared.mean()),
        observation,
        light,
        shown,
    )


def _reference_view(model: ReferenceModel, query: PreparedQuery) -> str | None:
    """The name of the reference view that the query is, pixel by pixel: it would score far below any good part."""
    for photograph in model.photographs:
        height, width = photograph.image.shape[:2]
        x, y = round(query.camera.cx - photograph.camera.cx), round(query.camera.cy - photograph.camera.cy)
        if min(x, y) >= 0 and np.array_equal(query.undistorted[y : y + height, x : x + width], photograph.image):
            return photograph.name
    return None


def _without_far(
    seen: Sequence[SeenImage], scores: Sequence[float], limit: float
) -> tuple[list[SeenImage], list[LeftOut]]:
    """Without images that score above the limit, as defective ones do, or those whose pose was found wrong, though all
    are taken for good."""
    usual = float(np.median(scores)) if seen else math.nan
    text = "looks defective: it scores {:.2f}, the others {:.2f} in the median; leave it away, or --trust it"
    far = [
        LeftOut(image.name, image.unit, text.format(score, usual), image.inspection)
        for image, score in zip(seen, scores, strict=True)
        if score > limit
    ]
    return [image for image, score in zip(seen, scores, strict=True) if score <= limit], far


def _far_from_others(scores: Sequence[float]) -> float:
    """Far above most scores, by their own spread."""
    if not scores:
        return math.inf
    logs = np.log(np.maximum(scores, 1e-6))
    usual = float(np.median(logs))
    deviation = NORMAL_DEVIATION * float(np.median(np.abs(logs - usual)))
    return math.exp(usual) * max(FAR_FACTOR, math.exp(FAR_DEVIATIONS * deviation))


def _far_from_references(scores: Sequence[float], before: Calibration, rate: float) -> float:
    """Far above most scores, by the spread of the reference views' scores: a few units hardly know their own."""
    reference = before.reference_scores if len(before.reference_scores) else before.scores
    largest = choose_threshold(reference, reference[:0], rate).value / max(float(np.median(reference)), 1e-6)
    return float(np.median(scores)) * FAR_BEYOND * largest if math.isfinite(largest) else math.inf


def _calibrated(
    inspector: Inspector, images: GoodImages, seen: Sequence[SeenImage], units: Sequence[str], rate: float, seed: int
) -> tuple[Calibration, list[float]]:
    """The calibration, and the score of each of the images by what the other units taught."""
    before, comparison, points = inspector.model.calibration, inspector.comparison, inspector.model.gaussians.means
    assert before is not None
    folds = {unit: i % min(FOLDS, len(units)) for i, unit in enumerate(units)}
    lit = learn_light(inspector, images, seen, folds, seed)
    states = []
    for fold, known in enumerate(lit.by_fold):
        others = [image.observation for image in lit.seen if folds[image.unit] != fold]
        states.append(replace(comparison.learn(known, others, before.scale, points), max_evidence=math.inf))
    inspectors = [with_state(inspector, state) for state in states]
    peaks: dict[str, float] = {}
    expected = []
    for image, sample in samples_again(images, seen, inspectors, folds, "scoring good units"):
        evidence = comparison.evidence(sample.query, sample.rendering, states[folds[image.unit]])
        peaks[image.name] = float(evidence.values.max())
        expected.append(evidence.expected)
    scale = max(float(np.median(list(peaks.values()))), SMALLEST_SCALE)
    of_images = [peaks[image.name] / scale for image in seen]
    of_units = {unit: max(s for image, s in zip(seen, of_images) if image.unit == unit) for unit in units}
    scores: NDArray[np.float32] = np.array(list(of_units.values()), np.float32)
    losses = [image.localization.loss for image in seen if math.isfinite(image.localization.loss)]
    calibration = replace(
        before, state=comparison.learn(lit.state, [image.observation for image in lit.seen], before.scale, points),
        scale=scale,
        max_loss=max(before.max_loss, LOSS_ALLOWANCE * max(losses, default=0.0)),
        max_expected=max(before.max_expected, EXPECTED_ALLOWANCE * max(expected)),
        conditions=before.conditions.widened([image.conditions for image in seen]),
    )  # fmt: skip
    reference = before.reference_scores if len(before.reference_scores) else before.scores
    return calibration.with_scores(scores, reference, rate), of_images


def report(found: LineCalibration, before: ReferenceModel) -> list[str]:
    """Lines that say what was learned, from what, and what it allows to promise."""
    calibration, old = found.model.calibration, before.calibration
    assert calibration is not None and old is not None
    rate, count = calibration.false_reject_rate, len(found.units)
    on_old_scale = calibration.threshold * calibration.scale / old.scale
    lines = [f"left out    {image.name}: {image.why}" for image in found.left_out]
    lines += [
        f"learned     from {found.images} images of {count} good units",
        f"threshold   {calibration.threshold:.3f} for {100 * rate:g} % false rejects ({on_old_scale:.3f} on the scale "
        f"before, where it was {old.threshold:.3f})",
        f"good units  {found.rejected} of {count} exceed it, each judged by what the others taught: "
        f"less than {100 * largest_rate(found.rejected, count):.1f} % of all do, with 95 % confidence",
    ]
    if found.model.training["line_calibrations"][-1]["light"]:
        lines.insert(len(found.left_out) + 1, "light       of this line learned: it differs from the reference views")
    if count < (needed := units_needed(rate)):
        lines.append(f"            {needed} good units, none above it, would show that it keeps {100 * rate:g} %")
    return lines


def _time_text(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, timezone.utc).isoformat()
