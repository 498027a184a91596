"""Memory of a running cell: under the largest messages that any peer may send, and over thousands of images.

    python benchmarks/ros_memory.py OUT MODEL IMAGE [--images 400] [--coded 20000]

MODEL is loaded by a real cell, which gets one message of 64 MB of each kind (images of each encoding, compressed bombs,
camera_info, triggers, load_model), then `images` copies of IMAGE with noise. Another cell (coded_inspector.py) gets
`coded` images: what leaks in nodes and middleware shows there. Peak is the highest resident memory while a message was
handled. Exit status 1 where it reaches LIMIT_MB, or memory, handles or threads grow.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import cv2
import numpy as np
import rclpy
from coded_inspector import encode, write_bundle
from common import option_parser, write_result
from pad_ros.msg import InspectionResult, Trigger
from pad_ros.srv import LoadModel
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_line import Line, Usage, launch_graph
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.imaging import images
from pad_ros.io.encodings import ENCODINGS
from pad_ros.nodes.support.convert import rgb_to_image
from pad_ros.nodes.support.qos import latched, reliable
from pad_ros.nodes.support.stages import stamp_msg

Send = Callable[[], str]  # sends a message; what came back
Messages = Iterator[tuple[str, Send]]

LIMIT_MB = 1500
LARGEST = 64_000_000  # bytes
START, ANSWER = 400.0, 90.0  # seconds
FLAT_MB = 30  # growth of memory between the first and the last tenth of many images
RATE = 100.0  # coded images a second


class Peer(Node):
    """Whoever is in the same graph."""

    def __init__(self, namespace: str) -> None:
        super().__init__("peer", namespace=namespace)
        self.results: list[InspectionResult] = []
        self.raw = self.create_publisher(ImageMsg, "image_raw", reliable(5))
        self.packed = self.create_publisher(CompressedImage, "image_raw/compressed", reliable(5))
        self.triggers = self.create_publisher(Trigger, "trigger", reliable(5))
        self.loader = self.create_client(LoadModel, "load_model")
        self.create_subscription(InspectionResult, "result", self.results.append, latched(100))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
        return done()

    def header(self) -> Header:
        return Header(frame_id="camera", stamp=stamp_msg(time.time_ns()))

    def answered(self, send: Callable[[], None], count: int = 1) -> str:
        """What came back for what is sent; "" for nothing."""
        before = len(self.results)
        send()
        if not self.wait(lambda: len(self.results) >= before + count, ANSWER):
            return "nothing"
        found = self.results[-1]
        return f"{('HOLD', 'PASS', 'REJECT')[found.verdict]}: {found.reason_text[:60]}"


def main() -> int:
    parser = option_parser(__doc__, "out", "model", "image")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--coded", type=int, default=20_000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    launch_graph()
    rclpy.init()
    rows, problems = [], []
    for kind in ("raw", "compressed", "triggered"):
        rows += largest(arguments, kind, problems)
    rows += many(arguments, problems)
    columns = ["what", "answer", "memory before MB", "peak MB", "memory after MB", "handles", "threads"]
    text = [f"Limit {LIMIT_MB} MB. Handles and threads: of the process afterwards; where two, before and after.",
            *(problems or ["Below the limit under every message, and flat over many images."])]  # fmt: skip
    write_result(
        "ros_memory", "Memory of the cell under large messages and many images", columns, rows, "\n".join(text)
    )
    rclpy.try_shutdown()
    return int(bool(problems))


def started(arguments: argparse.Namespace, script: Path | None, **parameters: object) -> tuple[Line, Peer, Usage]:
    """A cell that has answered an image."""
    namespace = f"/memory_{time.monotonic_ns() % 10**6}"
    model = arguments.model.resolve() if script is None else write_bundle(arguments.out / "coded")
    line = Line({"cell": {"model": model, "frozen_check": False, **parameters}}, namespace, arguments.out, script)
    peer = Peer(namespace)
    first = images.load(arguments.image) if script is None else encode(1, True)
    end = time.monotonic() + START
    while not peer.results and time.monotonic() < end:
        if parameters.get("triggered"):  # its answer: no image came
            peer.triggers.publish(Trigger(header=peer.header(), part_id="first"))
        else:
            send_image(peer, first, parameters.get("image_transport") == "compressed")
        peer.wait(lambda: bool(peer.results), 3.0)
    if not peer.results:
        line.stop()
        sys.exit(f"the cell gave no answer within {START:.0f} s; see {arguments.out}/cell.log")
    peer.wait(lambda: False, 3.0)
    return line, peer, Usage(line.processes["cell"].pid)


def send_image(peer: Peer, pixels: np.ndarray, packed: bool) -> None:
    if packed:
        data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
        peer.packed.publish(CompressedImage(header=peer.header(), format="png", data=array("B", data)))
    else:
        peer.raw.publish(rgb_to_image(pixels, peer.header()))


def largest(arguments: argparse.Namespace, kind: str, problems: list[str]) -> list[list[object]]:
    """A row for each message of this kind: "raw", "compressed" or "triggered"."""
    transport = "compressed" if kind == "compressed" else "raw"
    every = {"image_transport": transport, "free_running": "every", "triggered": kind == "triggered"}
    line, peer, usage = started(arguments, None, **every)
    messages = {"raw": raw_messages, "compressed": compressed_messages, "triggered": trigger_messages}[kind]
    rows = []
    try:
        for name, send in messages(peer, images.load(arguments.image)):
            usage.reset_peak()
            before = usage.rss_mb()
            answer = send()
            peer.wait(lambda: False, 1.0)
            rows.append([name, answer, before, usage.peak_mb(), usage.rss_mb(), usage.handles(), usage.threads()])
            print(*rows[-1], flush=True)
            if usage.peak_mb() >= LIMIT_MB:
                problems.append(f"{name}: {usage.peak_mb():.0f} MB")
            if line.dead():
                problems.append(f"{name}: the cell ended")
                break
    finally:
        line.stop()
        peer.destroy_node()
    return rows


def raw_messages(peer: Peer, picture: np.ndarray) -> Messages:
    noise = array("B", np.random.default_rng(0).bytes(LARGEST))

    def raw(encoding: str, per_pixel: int, header: Header | None = None, data: array[int] = noise) -> Send:
        side = int((LARGEST / per_pixel) ** 0.5) // 2 * 2
        message = ImageMsg(header=header or peer.header(), height=side, width=side, encoding=encoding)
        message.step, message.data = side * per_pixel, data[: side * side * per_pixel]
        return lambda: peer.answered(lambda: peer.raw.publish(message))

    for encoding, (sample, channels, _) in ENCODINGS.items():
        yield f"image {encoding}", raw(encoding, channels * int(sample[1:]))
    yield "image 32FC1", raw("32FC1", 4)
    yield "image with an encoding of 64 MB", raw("x" * LARGEST, 64)
    yield "image with a frame_id of 64 MB", raw("rgb8", 3 * 2000, Header(frame_id="f" * LARGEST, stamp=stamp_msg(1)))
    yield "load_model with a path of 64 MB", lambda: load(peer, LoadModel.Request(path="/x" * (LARGEST // 2)))
    long = LoadModel.Request(path="/x", expected_hash="f" * LARGEST)
    yield "load_model with a hash of 64 MB", lambda: load(peer, long)
    infos = peer.create_publisher(CameraInfo, "camera_info", reliable(5))
    peer.wait(lambda: infos.get_subscription_count() > 0, ANSWER)
    side = int((LARGEST / 3) ** 0.5) // 2 * 2
    large = array("B", cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC).tobytes())
    focal = 1.2 * side

    def with_info(**values: object) -> Send:
        header = peer.header()
        k = [focal, 0.0, side / 2, 0.0, focal, side / 2, 0.0, 0.0, 1.0]
        info = CameraInfo(header=header, width=side, height=side, k=k, **values)

        def send() -> str:
            infos.publish(info)
            peer.wait(lambda: False, 2.0)
            return raw("rgb8", 3, header, large)()

        return send

    yield "picture of the part, 21 Mpx", with_info(distortion_model="plumb_bob")
    yield "the same with distortion", with_info(distortion_model="plumb_bob", d=[0.1, 0.01, 0.0, 0.0, 0.0])
    yield "camera_info with 8 million coefficients", with_info(distortion_model="plumb_bob", d=[0.1] * (LARGEST // 8))
    yield "camera_info with a model's name of 64 MB", with_info(distortion_model="m" * LARGEST, d=[0.1] * 5)


def trigger_messages(peer: Peer, picture: np.ndarray) -> Messages:
    def trigger(part_id: str, frame_id: str = "") -> Send:
        header = peer.header()
        header.frame_id = frame_id
        return lambda: peer.answered(lambda: peer.triggers.publish(Trigger(header=header, part_id=part_id)))

    yield "trigger with a part_id of 64 MB", trigger("p" * LARGEST)
    yield "the same once more", trigger("q" * LARGEST)
    yield "trigger with a frame_id of 64 MB", trigger("p", "f" * LARGEST)


def compressed_messages(peer: Peer, picture: np.ndarray) -> Messages:
    def packed(data: bytes, kind: str = "png") -> Send:
        message = CompressedImage(header=peer.header(), format=kind, data=array("B", data))
        return lambda: peer.answered(lambda: peer.packed.publish(message))

    yield "64 MB that are no image", packed(bytes(LARGEST))
    yield "PNG of 8000x8000 RGBA", packed(png(8000, 8000))
    yield "PNG that promises 60000x60000", packed(png(60000, 60000, rows=1))
    noise = np.random.default_rng(0).integers(0, 255, (5000, 5000, 3), np.uint8)
    for suffix in (".jpg", ".webp", ".tiff", ".bmp"):
        data = cv2.imencode(suffix, noise)[1].tobytes()
        yield f"{suffix[1:]} of 5000x5000, {len(data) / 1e6:.0f} MB", packed(data[:LARGEST], suffix[1:])
    small = cv2.imencode(".jpg", noise[:400, :400])[1].tobytes()
    yield "JPEG with 64 MB behind its end", packed(small + bytes(LARGEST - len(small)), "jpeg")
    yield (
        "PNG with a text chunk of 64 MB",
        packed(png(400, 400, extra=chunk(b"tEXt", b"a\0" + b"b" * (LARGEST - 10**6)))),
    )
    bomb = zlib.compress(bytes(10**9), 9)
    yield "PNG with a text that unpacks to 1 GB", packed(png(400, 400, extra=chunk(b"zTXt", b"a\0\0" + bomb)))
    yield "PNG with a profile that unpacks to 1 GB", packed(png(400, 400, extra=chunk(b"iCCP", b"a\0\0" + bomb)))


def chunk(kind: bytes, content: bytes) -> bytes:
    return pack(">I", len(content)) + kind + content + pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: int | None = None, extra: bytes = b"") -> bytes:
    """A black RGBA PNG; with fewer rows than its header promises where `rows` is given."""
    packer, data = zlib.compressobj(9), b""
    for _ in range(height if rows is None else rows):
        data += packer.compress(bytes(1 + 4 * width))
    header = chunk(b"IHDR", pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    end = chunk(b"IDAT", data + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + end


def load(peer: Peer, request: LoadModel.Request) -> str:
    if not peer.loader.wait_for_service(ANSWER):
        return "no service"
    future = peer.loader.call_async(request)
    peer.wait(future.done, ANSWER)
    return f"refused: {future.result().message[:60]}" if future.done() and not future.result().success else "nothing"


def many(arguments: argparse.Namespace, problems: list[str]) -> list[list[object]]:
    """A row for the real and one for the coded inspector; what grows from the second to the last tenth is a leak."""
    rows: list[list[object]] = []
    script = Path(__file__).with_name("coded_inspector.py")
    for name, count, chosen in (("real", arguments.images, None), ("coded", arguments.coded, script)):
        line, peer, usage = started(arguments, chosen, free_running="every", queue_size=100)
        try:
            usage.reset_peak()
            seen = stream(peer, usage, images.load(arguments.image) if chosen is None else None, count)
            tenth = max(1, len(seen) // 10)
            first, last = (np.median(part, axis=0) for part in (seen[tenth : 2 * tenth], seen[-tenth:]))
            handles, threads = (f"{first[i]:.0f}, {last[i]:.0f}" for i in (1, 2))
            answer = f"{len(peer.results)} results"
            title = f"{count} images, {name} inspector"
            rows.append([title, answer, first[0], usage.peak_mb(), last[0], handles, threads])
            print(*rows[-1], flush=True)
            if last[0] - first[0] > FLAT_MB or last[1] > first[1] + 2 or last[2] > first[2]:
                problems.append(f"{name} inspector: memory, handles or threads grew")
        finally:
            line.stop()
            peer.destroy_node()
    return rows


def stream(peer: Peer, usage: Usage, picture: np.ndarray | None, count: int) -> list[tuple[float, int, int]]:
    """Send images, one after the other with noise, or coded ones at RATE; memory, handles and threads, 100 times."""
    random, seen = np.random.default_rng(0), []
    for i in range(count):
        if picture is None:
            send_image(peer, encode(i, True), packed=False)
            peer.wait(lambda: False, 1 / RATE)
        else:
            noisy = picture + random.integers(0, 3, picture.shape, np.uint8) * (picture < 250)
            before = len(peer.results)
            send_image(peer, noisy.astype(np.uint8), packed=False)
            peer.wait(lambda before=before: len(peer.results) > before, ANSWER)
        if i % max(1, count // 100) == 0:
            seen.append((usage.rss_mb(), usage.handles(), usage.threads()))
    peer.wait(lambda: False, 2.0)
    return seen


if __name__ == "__main__":
    sys.exit(main())
