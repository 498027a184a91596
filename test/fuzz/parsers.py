"""One harness per parser of foreign data, for test_fuzz.py and fuzz.py.

`PARSERS[name](data, folder)` reads `data` as the product would, by files in `folder`. A PadError is right: it says what
is wrong. Anything else that is raised is a bug, and so are a hang and a blow-up of memory. `seeds(name)` are whole
inputs to begin from; found/NAME/ keeps inputs that once broke a parser.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parent / "io"), str(HERE.parents[1])]

import bag_files  # noqa: E402
import robot_bag  # noqa: E402
import view_files  # noqa: E402
from model_factory import make_gaussians, make_model  # noqa: E402

from pad_ros.errors import PadError  # noqa: E402
from pad_ros.evaluation.recordings import read_labels  # noqa: E402
from pad_ros.imaging import images  # noqa: E402
from pad_ros.io.bag_views import read_bag_views  # noqa: E402
from pad_ros.io.bags import read_images  # noqa: E402
from pad_ros.io.bundle_folder import files_in  # noqa: E402
from pad_ros.io.colmap_files import read_model, read_shots  # noqa: E402
from pad_ros.io.nerf import read_nerf  # noqa: E402
from pad_ros.methods.presets import load_method  # noqa: E402
from pad_ros.model import MANIFEST, ReferenceModel, seal_manifest  # noqa: E402
from pad_ros.networks import probe  # noqa: E402
from pad_ros.rendering.gaussians import load_ply, save_ply  # noqa: E402

FOUND = HERE / "found"
CUT = b"\n=====\n"  # between the files of an input that is several
MAX_PIXELS = 1_000_000
AT = 300_000_000  # ns: the stamp of an image in a bag

Parser = Callable[[bytes, Path], object]


def ply(data: bytes, folder: Path) -> object:
    return load_ply(_file(folder, "splats.ply", data))


def colmap_text(data: bytes, folder: Path) -> object:
    _files(folder, ("cameras.txt", "images.txt"), data)
    return read_shots(folder, ".txt")


def colmap_binary(data: bytes, folder: Path) -> object:
    _files(folder, ("cameras.bin", "images.bin", "points3D.bin"), data)
    return read_model(folder)


def transforms(data: bytes, folder: Path) -> object:
    for i in range(2):
        shutil.copyfile(_picture(i), folder / f"{i}.png")
    return read_nerf(_file(folder, "transforms.json", data), None)


def manifest(data: bytes, folder: Path) -> object:
    """With the right hashes, as whoever can write the folder would write them."""
    shutil.copytree(_bundle(), folder / "model")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        data = seal_manifest({**values, "files": _hashes(folder / "model")})[1].encode(errors="surrogatepass")
    (folder / "model" / MANIFEST).write_bytes(data)
    return ReferenceModel.load(folder / "model")


def bundle(data: bytes, folder: Path) -> object:
    """A file of a model (its number is the first byte), with the right hash in the manifest."""
    model = folder / "model"
    shutil.copytree(_bundle(), model)
    names = [name for name in files_in(model) if name != MANIFEST]
    (model / names[(data[0] if data else 0) % len(names)]).write_bytes(data[1:])
    values = json.loads((model / MANIFEST).read_text())
    (model / MANIFEST).write_text(seal_manifest({**values, "files": _hashes(model)})[1])
    return ReferenceModel.load(model)


def bag(suffix: str, data: bytes, folder: Path) -> object:
    return [frame.stamp_ns for frame in read_images(_file(folder, f"bag{suffix}", data))]


def bag_tf(data: bytes, folder: Path) -> object:
    """Views whose poses a message of /tf tells, with these bytes for it."""
    messages = [
        ("/tf", robot_bag.tf()),
        ("/camera_info", bag_files.camera_info()),
        ("/image_raw", bag_files.raw(1, AT)),
    ]
    return read_bag_views(
        bag_files.write_bag(folder / "bag", messages, spoil=lambda _: data, kinds="TF"), None, None, "part"
    )


def labels(data: bytes, folder: Path) -> object:
    return read_labels(_file(folder, "labels.csv", data))


def image(data: bytes, folder: Path) -> object:
    return images.decode(data, max_pixels=MAX_PIXELS)[0].shape


def settings(data: bytes, folder: Path) -> object:
    return load_method("pad", data.decode(errors="replace").split("\n"))


def onnx(data: bytes, folder: Path) -> object:
    """What judges a network before it runs. It may raise: it is called in a process of its own."""
    try:
        return probe.problem_of(data)
    except Exception as error:
        return error


PARSERS: dict[str, Parser] = {
    "ply": ply, "colmap_text": colmap_text, "colmap_binary": colmap_binary, "transforms": transforms,
    "manifest": manifest, "bundle": bundle, "bag_mcap": partial(bag, ".mcap"), "bag_db3": partial(bag, ".db3"),
    "bag_tf": bag_tf, "labels": labels, "image": image, "settings": settings, "onnx": onnx,
}  # fmt: skip


def run(name: str, data: bytes) -> bool:
    """Whether the input was accepted; raises what no parser may raise."""
    with tempfile.TemporaryDirectory(prefix="pad_fuzz_") as folder:
        try:
            PARSERS[name](data, Path(folder))
        except PadError:
            return False
    return True


# ---- whole inputs ----


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return tuple(_SEEDS[name](Path(folder)))


def found(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((FOUND / name).glob("*"))]


def _ply_seeds(folder: Path) -> list[bytes]:
    save_ply(make_gaussians(3), folder / "a.ply")
    save_ply(make_gaussians(2, sh_degree=0), folder / "b.ply")
    return [(folder / name).read_bytes() for name in ("a.ply", "b.ply")]


def _colmap_text_seeds(folder: Path) -> list[bytes]:
    cameras = b"# cameras\n1 PINHOLE 48 40 60 60 24 20\n2 OPENCV 48 40 60 60 24 20 .1 0 0 0\n"
    shots = b"1 1 0 0 0 0 0 3 1 a.png\n1.5 2.5 7\n2 .7 .7 0 0 0 0 3 2 b c.png\n\n"
    return [cameras + CUT + shots]


def _colmap_binary_seeds(folder: Path) -> list[bytes]:
    map_ = _bundle() / "map"
    small = [
        struct.pack("<QIiQQ4d", 1, 1, 1, 48, 40, 60, 60, 24, 20),
        struct.pack("<QI7dI6sQ2dQ", 1, 1, 1, 0, 0, 0, 0, 0, 3, 1, b"a.png\0", 1, 1.5, 2.5, 7),
        struct.pack("<QQ3d3BdQII", 1, 7, 0.1, 0.2, 0.3, 1, 2, 3, 0.5, 1, 1, 0),
    ]
    return [
        CUT.join(small),
        CUT.join((map_ / f"{name}.bin").read_bytes() for name in ("cameras", "images", "points3D")),
    ]


def _transforms_seeds(folder: Path) -> list[bytes]:
    lens = {"fl_x": 60, "fl_y": 61, "cx": 24, "cy": 20, "w": 48, "h": 40, "k1": 0.1, "k2": 0, "p1": 0, "p2": 0}
    documents = [view_files.write_nerf(folder, count=2, names="{}.png", **values) for values in ({}, lens)]
    return [json.dumps(document).encode() for document in documents]


def _manifest_seeds(folder: Path) -> list[bytes]:
    return [(_bundle() / MANIFEST).read_bytes()]


def _bundle_seeds(folder: Path) -> list[bytes]:
    names = [name for name in files_in(_bundle()) if name != MANIFEST]
    return [bytes([i]) + (_bundle() / name).read_bytes() for i, name in enumerate(names)]


def _bag_seeds(storage: str, suffix: str, folder: Path) -> list[bytes]:
    messages = [("/camera_info", bag_files.camera_info()), ("/image_raw", bag_files.raw(1, 5)),
                ("/image_raw", bag_files.raw(2, 6))]  # fmt: skip
    packed = [("/image_raw/compressed", bag_files.compressed(1, 5))]
    bags = [bag_files.write_bag(folder / str(i), m, storage) for i, m in enumerate((messages, packed))]
    return [next(path.glob(f"*{suffix}")).read_bytes() for path in bags]


def _tf_seeds(folder: Path) -> list[bytes]:
    around = [robot_bag.transform("part", "arm", robot_bag.BASE, at) for at in (AT - 1000, AT + 3000)]
    at_once = robot_bag.tf(*around, robot_bag.transform("arm", "camera", robot_bag.HAND_EYE, AT))
    return [bytes(bag_files.TYPES.serialize_cdr(at_once, at_once.__msgtype__))]


def _label_seeds(folder: Path) -> list[bytes]:
    lines = [{"stamp": 5, "label": "good"}, {"stamp": 6, "image": "x/test/Burrs/1.png", "mask": "m.png"}]
    return [
        b'stamp,label,mask\n5,good,\n6,"Bur""rs",m.png\n',
        b"stamp,image\n5,x/test/good/0.png\n",
        "\n".join(map(json.dumps, lines)).encode(),
    ]


def _image_seeds(folder: Path) -> list[bytes]:
    picture = cv2.cvtColor(view_files.picture(0), cv2.COLOR_RGB2BGR)
    kinds = (
        (".png", picture, []), (".png", np.dstack([picture, picture[..., 0]]), []), (".jpg", picture, []),
        (".png", picture[..., 0].astype(np.uint16) << 8, []), (".bmp", picture, []), (".tiff", picture, []),
        (".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".webp", picture, []),
    )  # fmt: skip
    return [cv2.imencode(suffix, pixels, options)[1].tobytes() for suffix, pixels, options in kinds]


def _setting_seeds(folder: Path) -> list[bytes]:
    return [
        b"splatting.gaussians=3000\nlocalization.matcher=brute_force",
        b"refinement={renderings: 1}\nscoring.photographs=0",
        b"splatting.steps=!!int 0x10\nlocalization.max_scale=1e0",
        b"splatting.steps=[1, {a: b}]\nsplatting.x=&a [*a]\nname=.inf",
    ]


def _onnx_seeds(folder: Path) -> list[bytes]:
    from onnx import TensorProto, helper

    def model(kind: str, domain: str = "", **attributes: object) -> bytes:
        value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[1, 3])
        node = helper.make_node(kind, ["x"], ["y"], domain=domain, **attributes)
        weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
        graph = helper.make_graph([node], "g", [value("x")], [value("y")], [weight])
        return bytes(helper.make_model(graph).SerializeToString())

    return [model("Relu"), model("Elu", alpha=1.0), model("Loop"), model("Relu", "evil")]


_SEEDS: dict[str, Callable[[Path], list[bytes]]] = {
    "ply": _ply_seeds, "colmap_text": _colmap_text_seeds, "colmap_binary": _colmap_binary_seeds,
    "transforms": _transforms_seeds, "manifest": _manifest_seeds, "bundle": _bundle_seeds,
    "bag_mcap": partial(_bag_seeds, "mcap", ".mcap"), "bag_db3": partial(_bag_seeds, "sqlite3", ".db3"),
    "bag_tf": _tf_seeds, "labels": _label_seeds, "image": _image_seeds, "settings": _setting_seeds, "onnx": _onnx_seeds,
}  # fmt: skip


# ---- files ----


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _files(folder: Path, names: tuple[str, ...], data: bytes) -> None:
    parts = data.split(CUT, len(names) - 1)
    for name, part in zip(names, [*parts, *[b""] * len(names)]):
        _file(folder, name, part)


@cache
def _bundle() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pad_fuzz_model_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_model(gaussians=6).save(folder / "model")
    return folder / "model"


def _hashes(model: Path) -> dict[str, str]:
    names = (name for name in files_in(model) if name != MANIFEST)
    return {name: hashlib.sha256((model / name).read_bytes()).hexdigest() for name in names}


@cache
def _picture(i: int) -> Path:
    path = _bundle().parent / f"{i}.png"
    images.save(path, view_files.picture(i))
    return path
