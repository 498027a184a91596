"""The pose-naive baseline on plates with a groove: what no good plate shows stands out, wherever it is."""

import numpy as np
import pytest
import torch
from benchmark_modules import benchmark
from evaluation_fakes import SIZE, FakeInspector, write_dataset
from published_networks import random_backbone, random_network

from pad_ros.cli import main
from pad_ros.errors import InputError, MissingDependencyError
from pad_ros.evaluation.dataset import read_dataset, reference_images
from pad_ros.evaluation.evaluate import evaluate, metrics_table
from pad_ros.evaluation.patchcore import PatchCore, PatchCoreSettings, coreset, fit_to_dataset, patch_features
from pad_ros.imaging import images
from pad_ros.networks.backbones import Backbone
from pad_ros.verdicts import Reason, Verdict

SETTINGS = PatchCoreSettings(size=96, levels=(1, 2), coreset=0.03)  # deep levels of random networks see noise


def plate(seed: int, size: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 255, np.uint8)
    x, y = rng.integers(10, 30, 2)
    image[y : y + 50, x : x + 50] = 120
    image[y + 20 : y + 24, x + 5 : x + 45] = 60
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def scratched(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = plate(seed), np.zeros((96, 96), bool)
    mask[50:58, 40:48] = True
    image[mask] = (250, 30, 30)
    return image, mask


@pytest.fixture(scope="module")
def fitted():
    return PatchCore.fit([plate(i) for i in range(24)], random_backbone(), 0.1, SETTINGS)


def test_good_plates_pass_and_a_spot_is_found(fitted):
    good = [fitted.inspect(plate(100 + i)) for i in range(8)]
    assert [r.verdict is Verdict.PASS for r in good] == [r.score <= fitted.threshold for r in good]
    assert sum(r.verdict is Verdict.PASS for r in good) >= 4
    image, mask = scratched(200)
    result = fitted.inspect(image)
    assert (result.verdict, result.reason) == (Verdict.REJECT, Reason.ANOMALY)
    assert result.score > max(fitted.threshold, *(r.score for r in good)) and result.p_value == pytest.approx(1 / 4)
    values = result.anomaly_map.values
    assert values.shape == mask.shape and values.dtype == np.float32
    y, x = np.unravel_index(values.argmax(), values.shape)
    assert 38 <= y < 70 and 28 <= x < 60
    assert result.localization is None and result.rendering is None and result.timings_ms["total"] > 0


def test_the_same_images_give_the_same_baseline(fitted):
    again = PatchCore.fit([plate(i) for i in range(24)], random_backbone(), 0.1, SETTINGS)
    image, _ = scratched(3)
    assert fitted.threshold == again.threshold
    assert fitted.compare(image)[1] == again.compare(image)[1]


def test_maps_come_at_the_size_of_the_query(fitted):
    wide = np.concatenate([plate(1), plate(2)], axis=1)
    assert fitted.compare(wide)[0].shape == (96, 192)
    with pytest.raises(InputError, match="too long"):
        fitted.compare(np.zeros((4, 400, 3), np.uint8))


def test_patches_join_two_levels_over_their_neighbourhood():
    patches, shape, size = patch_features(random_backbone(), plate(0), SETTINGS)
    assert shape == (24, 24) and size == (96, 96) and patches.shape == (576, 24 + 32)
    fine, _ = random_backbone().levels(plate(0)[None], (1, 2))
    assert patches[25, :24].numpy() == pytest.approx(fine[0, :, 0:3, 0:3].mean(axis=(1, 2)), rel=1e-4)
    assert patches[0, :24].numpy() == pytest.approx(fine[0, :, 0:2, 0:2].mean(axis=(1, 2)), rel=1e-4)


@pytest.mark.parametrize("dimensions", [2, 100])
def test_the_coreset_covers_the_patches(dimensions):
    generator = torch.Generator().manual_seed(1)
    centres = 100 * torch.randn(20, dimensions, generator=generator)
    patches = (centres[:, None] + torch.randn(20, 50, dimensions, generator=generator)).flatten(0, 1)
    chosen = coreset(patches, 20)
    assert sorted((chosen // 50).tolist()) == list(range(20))  # one of each cluster
    assert torch.equal(chosen, coreset(patches, 20))
    assert len(set(coreset(patches[:30], 30).tolist())) == 30


def test_a_distance_counts_less_among_patches_that_are_as_far_apart():
    memory = torch.tensor([[0.0, 0], [4, 0], [0, 4], [100, 0], [100.1, 0], [100, 0.1]])
    baseline = PatchCore(random_backbone(), memory, np.ones(3, np.float32), settings=PatchCoreSettings(neighbours=3))
    sparse = baseline._weight(torch.tensor([-2.0, -2]), memory[0])
    dense = baseline._weight(torch.tensor([103.0, 0]), memory[3])
    assert sparse > dense
    expected = torch.softmax(torch.cdist(torch.tensor([[-2.0, -2]]), memory[:3])[0], dim=0)[0]
    assert sparse == pytest.approx(1 - float(expected), rel=1e-4)


def test_too_few_images_and_none_at_all_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 images of good parts are too few, give 8"):
        PatchCore.fit([plate(i) for i in range(3)], random_backbone())
    with pytest.raises(InputError, match="no images of good parts"):
        fit_to_dataset(tmp_path, [random_network()], 0.01)


def test_without_good_images_for_a_threshold_everything_is_held():
    baseline = PatchCore(random_backbone(), torch.zeros(5, 56), np.zeros(0, np.float32), settings=SETTINGS)
    result = baseline.inspect(plate(0))
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.UNCALIBRATED) and result.reason_text


@pytest.fixture
def dataset(tmp_path):
    folder = write_dataset(tmp_path / "square")
    rng = np.random.default_rng(5)
    for i in range(12):
        image = np.full((SIZE, SIZE, 3), 255, np.uint8)
        image[20:50, 15:50] = rng.integers(90, 110, (30, 35, 1))
        images.save(folder / f"train/good/{i}.png", image)
    return folder


def test_references_are_in_the_order_of_their_numbers(dataset):
    assert [path.stem for path in reference_images(dataset)] == [str(i) for i in range(12)]


def test_its_figures_stand_beside_the_method_s(dataset, tmp_path):
    baseline = fit_to_dataset(dataset, [random_network()], 0.2)
    found = evaluate(FakeInspector(), read_dataset(dataset), tmp_path / "out", {"patchcore": baseline})
    figures = found["baselines"]["patchcore"]
    assert figures["localized"] == 0 and figures["pose_error"] is None
    assert 0 <= figures["image_auroc"] <= 1 and figures["images"] == 9
    assert "patchcore" in metrics_table(found) and "patchcore" in (tmp_path / "out/report.html").read_text()


def test_a_missing_backbone_is_named(dataset, tmp_path):
    with pytest.raises(MissingDependencyError, match="BSD-3-Clause.*pad weights fetch mobilenet-v2") as caught:
        fit_to_dataset(dataset, [], 0.01, tmp_path)
    assert caught.value.exit_status == 3


def test_the_baseline_is_a_choice_of_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "model", "data", "--out", "out", "--baseline", "padim"])
    assert "patchcore" in capsys.readouterr().err


def test_real_features_tell_a_faint_spot(shared):
    coral = benchmark("stand_in")
    if not (shared / "weights" / coral.FILE).is_file():
        pytest.skip(f"no {coral.FILE} in {shared / 'weights'}")
    backbone = Backbone(coral.stand_in(shared / "weights"))
    baseline = PatchCore.fit([plate(i) for i in range(24)], backbone, 0.1, PatchCoreSettings(size=96))
    good = [baseline.compare(plate(300 + i))[1] for i in range(4)]
    image = plate(400)
    image[50:58, 40:48] = 150
    assert baseline.compare(image)[1] > max(good)
