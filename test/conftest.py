"""Shared by all tests. Test data lies at PAD_SHARED, or in ../shared beside the repository; CI users have none."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from ros_domain import own_graph

if TYPE_CHECKING:
    from toy import Toy

# Before anything imports rclpy: check every message field, and keep parallel runs and other machines apart.
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
own_graph()

# The same examples in every run: a change must not fail by chance. To look for new ones: --hypothesis-profile=explore
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with data that does not belong to the repository; skips where it is missing."""
    folder = Path(os.environ.get("PAD_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared test data at {folder} (set PAD_SHARED)")
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> "Toy":
    """A model really trained on a small generated part, with queries; takes most of a minute, so `slow` tests only."""
    from toy import make_toy

    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def file_size_limit() -> Callable[[int], AbstractContextManager[None]]:
    """`with file_size_limit(bytes)`: files cannot grow beyond that inside, as on a full disk.

    Only inside: pytest itself may be writing to a file that is longer, before it ends a test.
    """
    return _limited_files


@contextmanager
def _limited_files(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def _needs_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
