"""Models that stay loaded: there at once, gone when memory is short, and never older than their files."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from fake_inspector import FakeInspector, write_bundle

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.srv import LoadModel  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support.model_cache import ModelCache, memory_of, stamp_of  # noqa: E402


class Maker:
    """Makes inspectors of a given size, and knows how many it made."""

    def __init__(self, size=1_000_000):
        self.made, self.size = 0, size

    def __call__(self):
        self.made += 1
        return SimpleNamespace(array=np.zeros(self.size, np.uint8), number=self.made)


def test_a_model_is_made_once_as_long_as_its_files_stay(tmp_path):
    cache, make, bundle = ModelCache(10**9), Maker(), write_bundle(tmp_path / "a")
    first = cache.get(bundle, "cpu", make)
    assert cache.get(tmp_path / "x" / ".." / "a", "cpu", make) is first
    assert cache.get(bundle, "cuda", make) is not first  # made ready for something else
    state = (bundle / "name").stat()
    (bundle / "name").write_text("kafe")  # as long as before, and with the old time
    os.utime(bundle / "name", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert cache.get(bundle, "cpu", make) is not first
    assert make.made == 3
    cache.clear()
    cache.get(bundle, "cpu", make)
    assert make.made == 4


def test_the_least_recently_used_go_first(tmp_path):
    cache, make = ModelCache(2_500_000), Maker()
    a, b, c = (write_bundle(tmp_path / name) for name in "abc")
    for bundle in (a, b, a, c):  # b goes
        cache.get(bundle, "", make)
    assert make.made == 3 and cache.describe() == "2 (2 MB)"
    cache.get(a, "", make)
    assert make.made == 3
    cache.get(b, "", make)
    assert make.made == 4
    small = ModelCache(0)
    assert small.get(a, "", make) is small.get(a, "", make)  # the newest stays
    assert small.describe() == "1 (1 MB)"


def test_what_fails_or_changes_meanwhile_is_not_kept(tmp_path):
    cache, make, bundle = ModelCache(10**9), Maker(), write_bundle(tmp_path / "a")

    def replaced():
        write_bundle(bundle, "other")
        return make()

    def fails():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.get(bundle, "", fails)
    cache.get(bundle, "", replaced)
    cache.get(bundle, "", make)
    assert make.made == 2
    assert stamp_of(tmp_path / "nothing") == ()
    cache.get(tmp_path / "nothing", "", make)
    cache.get(tmp_path / "nothing", "", make)
    assert make.made == 4


def test_memory_counts_each_array_once():
    array = np.zeros(10**6, np.uint8)
    torch = pytest.importorskip("torch")
    held = {"a": [array[:10], array], "b": SimpleNamespace(array=array, tensor=torch.zeros(10**5)), "f": memory_of}
    assert 1_400_000 < memory_of(held) < 1_410_000


@pytest.fixture
def loads(monkeypatch):
    """The names of the models that were read, and those that were warmed up."""
    read, warm = [], []
    load = FakeInspector.load

    def counted(path, *rest):
        read.append(path.name)
        return load(path, *rest)

    monkeypatch.setattr(FakeInspector, "load", staticmethod(counted))
    monkeypatch.setattr(FakeInspector, "warm_up", lambda self: warm.append(self.model.name))
    return read, warm


def test_a_change_back_reads_nothing_and_keeps_all_checks(graph, tmp_path, loads):
    root = tmp_path / "models"
    paths = {name: str(write_bundle(root / name, name)) for name in ("a", "b", "c")}
    outside = write_bundle(tmp_path / "outside", "outside")
    cell = graph.add(
        CellNode, model=paths["a"], models=f"{paths['c']}, {root / 'none'}",
        models_root=str(root),
    )  # fmt: skip

    def load(path, expected=""):
        return graph.call(LoadModel, "load_model", LoadModel.Request(path=str(path), expected_hash=expected))

    assert loads == (["c", "none", "a"], ["c", "a"])
    for name in ("b", "a", "c", "b", "a"):
        assert load(paths[name]).success and cell.inspector.model.name == name
    assert loads == (["c", "none", "a", "b"], ["c", "a", "b"])
    answer = load(paths["b"], "0" * 64)  # loaded before does not mean trusted
    assert not answer.success and "hash is b-hash" in answer.message and cell.inspector.model.name == "a"
    (root / "link").symlink_to(root / "b")
    assert load(root / "link").success
    (root / "link").unlink()
    (root / "link").symlink_to(outside)
    assert "models must lie" in load(root / "link").message
    (root / "b" / "name").unlink()  # damaged since
    assert not load(paths["b"]).success and cell.inspector.model.name == "b"
    write_bundle(root / "b", "other b")
    assert load(paths["b"]).success and cell.inspector.model.name == "other b"
