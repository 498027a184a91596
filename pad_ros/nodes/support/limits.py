"""How large what comes from the graph may be: no message of any peer may use up the memory.

A message is bounded where it is kept, or where its text would be sent on.
"""

from __future__ import annotations

from dataclasses import dataclass

from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

MAX_TEXT = 1000  # characters of a part_id, frame_id or reason; what is longer is cut
MAX_PATH = 4096  # characters
MAX_COEFFICIENTS = 32  # of a distortion
BYTES_PER_PIXEL = 4  # of compressed images at most; uncompressed formats have no more
SPARE_BYTES = 2_000_000  # for their headers and profiles


@dataclass(frozen=True, eq=False)
class TooLarge:
    """Stands for an image that is not kept."""

    header: Header
    text: str
    data: bytes = b""


def shortened(text: str) -> str:
    return text[:MAX_TEXT]


def bounded_image(msg: ImageMsg | CompressedImage, max_pixels: int) -> ImageMsg | CompressedImage | TooLarge:
    """The message, or what stands for it where it holds more than an image of `max_pixels`."""
    size = len(msg.data)
    if isinstance(msg, CompressedImage):
        if size > BYTES_PER_PIXEL * max_pixels + SPARE_BYTES:
            return TooLarge(msg.header, f"a compressed image of {size} bytes is larger than any of the model's camera")
        return msg
    if msg.width * msg.height > max_pixels or size > 2 * BYTES_PER_PIXEL * max_pixels + SPARE_BYTES:
        text = (
            f"an image of {msg.width}x{msg.height} pixels and {size} bytes; {max_pixels / 1e6:.3g} Mpx are accepted, "
            "four times those of the model's camera"
        )
        return TooLarge(msg.header, text)
    if len(msg.encoding) > MAX_TEXT:
        return TooLarge(msg.header, f"an encoding with a name of {len(msg.encoding)} characters")
    return msg


def usable_info(msg: CameraInfo) -> bool:
    """Whether a camera_info is small enough to be kept."""
    texts = msg.distortion_model, msg.header.frame_id
    return len(msg.d) <= MAX_COEFFICIENTS and all(len(text) <= MAX_TEXT for text in texts)
