"""The registry, and fetching from a server on this machine that behaves well and badly."""

import dataclasses
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.cli import main
from pad_ros.errors import InputError, MissingDependencyError
from pad_ros.networks import registry as weights
from pad_ros.networks.registry import REGISTRY, Weights, fetch_weights, find_weights, read_weights, weights_folder

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good supports ranges; /plain does not; /short breaks off; /slow stops half-way; /gone is not there."""

    requests: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        kind, wanted = self.path.split(".")[0], self.headers.get("Range")
        self.requests.append((kind, wanted))
        if kind == "/gone":
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and kind != "/plain" else 0
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "/short":
            body = body[: len(body) // 2]
        self.wfile.write(body[: len(body) // 2])
        if kind == "/slow":
            time.sleep(1.0)
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are the test
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def register(server: str, monkeypatch: pytest.MonkeyPatch):
    """Registers "toy" at a path of the server."""
    Handler.requests.clear()

    def put(path: str, sha256: str = DIGEST) -> None:
        toy = Weights("toy", f"{server}/{path}.bin", sha256, len(CONTENT), "MIT", "yes", "toys")
        monkeypatch.setitem(REGISTRY, "toy", toy)

    return put


def test_a_good_file_is_fetched_once(register, tmp_path: Path) -> None:
    register("good")
    path = fetch_weights("toy", tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert path == find_weights("toy", path.parent) == fetch_weights("toy", path.parent)
    assert read_weights("toy", path.parent) == CONTENT
    assert len(Handler.requests) == 1
    assert [file.name for file in path.parent.iterdir()] == ["toy.bin"]


def test_a_broken_download_is_taken_up_again(register, tmp_path: Path) -> None:
    register("short")
    with pytest.raises(MissingDependencyError, match="broke off after 524288 of 1048576 bytes"):
        fetch_weights("toy", tmp_path)
    assert not (tmp_path / "toy.bin").exists()
    register("good")
    assert fetch_weights("toy", tmp_path).read_bytes() == CONTENT
    assert Handler.requests[-1] == ("/good", "bytes=524288-")


def test_a_server_without_ranges_starts_anew(register, tmp_path: Path) -> None:
    register("plain")
    (tmp_path / "toy.bin.part").write_bytes(CONTENT[:1000])
    assert fetch_weights("toy", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("beginning", [b"from another file", CONTENT, CONTENT + b"more"])
def test_whatever_was_left_behind(register, tmp_path: Path, beginning: bytes) -> None:
    register("good")
    (tmp_path / "toy.bin.part").write_bytes(beginning)
    assert fetch_weights("toy", tmp_path).read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing(register, tmp_path: Path) -> None:
    register("good", "0" * 64)
    with pytest.raises(MissingDependencyError, match=f"not the expected file.*{DIGEST}"):
        fetch_weights("toy", tmp_path)
    assert not (tmp_path / "toy.bin").exists()
    assert (tmp_path / "toy.bin.part").stat().st_size == 0


def test_what_the_server_does_not_have(register, tmp_path: Path) -> None:
    register("gone")
    with pytest.raises(MissingDependencyError, match="404"):
        fetch_weights("toy", tmp_path)


def test_a_server_that_stops_answering(register, tmp_path: Path) -> None:
    register("slow")
    with pytest.raises(MissingDependencyError, match="no data for 0.3 s.*try again"):
        fetch_weights("toy", tmp_path, timeout=0.3)
    assert 0 < (tmp_path / "toy.bin.part").stat().st_size < len(CONTENT)
    register("good")
    assert fetch_weights("toy", tmp_path).read_bytes() == CONTENT


def test_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/toy.bin"
    monkeypatch.setitem(REGISTRY, "toy", Weights("toy", url, DIGEST, 0, "MIT", "yes", "toys"))
    with pytest.raises(MissingDependencyError, match="cannot be fetched"):
        fetch_weights("toy", tmp_path)


def test_an_unknown_hash_must_be_given(register, tmp_path: Path) -> None:
    register("good", "")
    with pytest.raises(InputError, match=f"pad weights fetch toy --sha256 {DIGEST}"):
        fetch_weights("toy", tmp_path)
    assert not (tmp_path / "toy.bin").exists()
    assert fetch_weights("toy", tmp_path, DIGEST.upper()).read_bytes() == CONTENT
    assert Handler.requests[-1] == ("/good", f"bytes={len(CONTENT)}-"), "the file was here already"


def test_a_given_hash_does_not_overrule_a_known_one(register, tmp_path: Path) -> None:
    register("good")
    with pytest.raises(InputError, match="the published toy has"):
        fetch_weights("toy", tmp_path, "0" * 64)
    assert not Handler.requests


def test_a_file_that_is_not_the_published_one(register, tmp_path: Path) -> None:
    register("good")
    (tmp_path / "toy.bin").write_bytes(b"else")
    for function in (fetch_weights, read_weights):
        with pytest.raises(InputError, match=r"toy\.bin.*wrong sha256"):
            function("toy", tmp_path)


def test_two_at_once(register, tmp_path: Path) -> None:
    register("slow")
    first = threading.Thread(target=fetch_weights, args=("toy", tmp_path))
    first.start()
    while not (tmp_path / "toy.bin.part").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    with pytest.raises(InputError, match="another process"):
        fetch_weights("toy", tmp_path)
    first.join()
    assert (tmp_path / "toy.bin").read_bytes() == CONTENT


def test_missing_weights_name_licence_and_command(tmp_path: Path) -> None:
    with pytest.raises(
        MissingDependencyError, match="superpoint.*non-commercial.*pad weights fetch superpoint"
    ) as caught:
        find_weights("superpoint", tmp_path)
    assert caught.value.exit_status == 3
    assert "\n" not in str(caught.value)


@given(st.text(max_size=20))
def test_any_name(name: str) -> None:
    if name in REGISTRY:
        return
    with pytest.raises(InputError, match="there are"):
        find_weights(name, Path("/nowhere"))


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PAD_WEIGHTS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".local/share/pad_ros/weights"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert weights_folder() == tmp_path / ".local/share/pad_ros/weights"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert weights_folder() == tmp_path / "data/pad_ros/weights"
    monkeypatch.setenv("PAD_WEIGHTS", str(tmp_path / "w"))
    assert weights_folder() == tmp_path / "w"
    assert weights_folder(Path("given")) == Path("given")


def test_the_registry_is_complete() -> None:
    for name, one in REGISTRY.items():
        assert name == one.name
        assert one.url.startswith("https://")
        assert one.commercial in ("yes", "no", "ask")
        assert all(dataclasses.asdict(one)[key] for key in ("licence", "purpose"))
        assert one.sha256 == "" or len(one.sha256) == 64 and set(one.sha256) <= set("0123456789abcdef")
        assert Path(one.file).suffix in (".pth", ".pt", ".onnx", ".safetensors", ".mat")
    assert len({one.file for one in REGISTRY.values()}) == len(REGISTRY)
    assert REGISTRY["superpoint"].commercial == "no"
    assert weights.TIMEOUT > 1


def test_hashes_of_the_shared_files(shared: Path) -> None:
    files = {f"aliked-{kind}": f"aliked/aliked-{kind}.pth" for kind in ("t16", "n16", "n16rot", "n32")}
    files |= {
        "xfeat": "xfeat/xfeat_official_verlab.onnx",
        "lighterglue": "xfeat/lighterglue_L3.onnx",
        "lightglue-aliked": "lightglue/aliked_lightglue.pth",
        "lightglue-xfeat": "xfeat/xfeat-lighterglue.pt",
    }
    for name, file in files.items():
        content = (shared / "weights" / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == REGISTRY[name].sha256
        assert len(content) == REGISTRY[name].size


def test_the_command(register, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register("good")
    place = ["--weights", str(tmp_path)]
    assert main(["weights", "path", *place]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"
    assert main(["weights", "path", "toy", *place]) == 3
    assert "pad weights fetch toy" in capsys.readouterr().err
    assert main(["weights", "fetch", "toy", *place]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'toy.bin'}\n"
    assert "toy: licence MIT, commercial use: yes" in printed.err
    assert main(["weights", "list", *place]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(REGISTRY)
    assert lines[-1].split()[:2] == ["toy", "yes"]
    assert main(["weights", "fetch", "nope", *place]) == 2
    assert main(["weights", "fetch", "toy", "xfeat", "--sha256", DIGEST, *place]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["weights"])
