import json

import numpy as np
import pytest
from evaluation_fakes import SIZE, FakeInspector

from pad_ros.errors import ImageError, InputError
from pad_ros.evaluation import bench as bench_module
from pad_ros.evaluation.bench import bench
from pad_ros.evaluation.machine import describe_machine, machine_line, peak_memory_mb
from pad_ros.imaging import images


@pytest.fixture
def fake(monkeypatch):
    inspector = FakeInspector(hold=[1])
    monkeypatch.setattr(bench_module.Inspector, "load", staticmethod(lambda path, device: inspector))
    return inspector


def write_images(folder, count=3):
    files = [folder / f"{i}.png" for i in range(count)]
    for file in files:
        images.save(file, np.full((SIZE, SIZE, 3), 90, np.uint8))
    return files


def test_bench_has_the_fields_of_the_design(fake, tmp_path):
    result = json.loads(json.dumps(bench(tmp_path, write_images(tmp_path))))
    assert {"model", "device", "machine", "images", "latency_ms", "throughput_fps", "peak_memory_mb", "load_s"} <= set(
        result
    )
    assert fake.warm
    runs = bench_module.MIN_RUNS
    assert (result["images"], result["runs"], fake.calls, fake.expected) == (3, runs, 3 * runs, runs)
    assert result["tracked"] == 1 and set(result["tracking_ms"]) == {"p50", "p95", "p99"}
    assert result["throughput_fps"] > 0 and result["machine"]["versions"]["numpy"] == np.__version__
    assert set(result["latency_ms"]) == {"localize", "render", "score", "total"}
    assert set(result["latency_ms"]["total"]) == {"p50", "p95", "p99"}
    assert result["latency_ms"]["score"]["p99"] == 1.0
    assert result["machine"]["cpu"]
    assert result["machine"]["cores"] >= 1


def test_stages_that_never_ran_have_no_time(fake, tmp_path):
    fake.hold = set(range(1000))
    result = bench(tmp_path, write_images(tmp_path, 1))
    assert result["latency_ms"]["render"] == {"p50": None, "p95": None, "p99": None} == result["tracking_ms"]
    assert result["tracked"] is None


def test_bad_images_are_refused_before_the_model_is_loaded(fake, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        bench(tmp_path, [tmp_path / "bad.png"])
    with pytest.raises(InputError, match="no images"):
        bench(tmp_path, [])
    assert not fake.warm


def test_the_machine_is_named():
    line = machine_line(describe_machine() | {"gpu": "Some GPU"})
    assert "cores" in line
    assert line.endswith("Some GPU")
    assert peak_memory_mb() > 10
