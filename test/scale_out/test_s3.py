"""Parts from and to an S3 store: a real server (moto) on this machine."""

import json

import pytest
from part_work import arguments, train

pytest.importorskip("s3fs", reason="s3fs is not installed (pip install 'pad_ros[s3]')")
server_module = pytest.importorskip("moto.server", reason="moto is not installed (pip install 'moto[server]')")

from pad_ros.errors import InputError  # noqa: E402
from pad_ros.scale_out import places  # noqa: E402
from pad_ros.scale_out.each import run_each  # noqa: E402


@pytest.fixture
def store(monkeypatch):
    """The URL of a bucket; the workers find the server by the environment."""
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x",
                        "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("plant", exist_ok=True)  # the server keeps buckets of the test before
    yield "s3://plant"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_parts_of_a_store(store, tmp_path):
    for name in ("a", "b", "c"):
        places.write_text(f"{store}/parts/{name}/number", str(ord(name)))
    places.write_text(f"{store}/parts/b/refused", "")
    assert run_each(arguments(f"{store}/parts", f"{store}/out"), train) == 1
    found = places.read_json(f"{store}/out/parts.json")
    assert {part["name"]: part["state"] for part in found["parts"]} == {"a": "done", "b": "failed", "c": "done"}
    assert found["parts"][1]["name"] == "a" and found["parts"][1]["figures"]["dB on the part"] == 97
    assert set(places.listing(f"{store}/out/a")) == {"manifest.json", "map/points"}
    assert places.read_json(f"{store}/out/a.done.json")["complete"]
    assert "report.html" in places.listing(f"{store}/out")

    places.write_text(f"{store}/out/a/old", "left behind by a worker that was killed")
    places.write_text(f"{store}/parts/c/number", "7")
    run_each(arguments(f"{store}/parts", f"{store}/out"), train)
    found = places.read_json(f"{store}/out/parts.json")
    assert {part["name"]: part["state"] for part in found["parts"]} == {"a": "done", "b": "failed", "c": "done"}
    assert set(places.listing(f"{store}/out/a")) == {"manifest.json", "map/points"}
    run_each(arguments(f"{store}/parts", f"{store}/out"), train)
    assert places.read_json(f"{store}/out/parts.json")["kept"] == 2

    run_each(arguments(f"{store}/parts", tmp_path / "here"), train)  # from the store to this machine
    assert json.loads((tmp_path / "here" / "c" / "manifest.json").read_text())["training"]["held_out"]["psnr_part"] == 7


def test_what_the_store_refuses_is_one_line(store, monkeypatch):
    with pytest.raises(InputError, match="s3://nobody/parts: cannot be used"):
        run_each(arguments("s3://nobody/parts", f"{store}/out"), train)
