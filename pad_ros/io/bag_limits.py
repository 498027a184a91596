"""Limits on what a bag may ask for: a few MB can promise gigabytes.

rosbags unpacks whatever is in a bag, and gives up on a schema whose encoding it does not know. Importing this
module replaces the functions that it does so with; test/io/test_bag_limits.py notices if their names change.
"""

from __future__ import annotations

from typing import IO, Any

import lz4.frame
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2 import storage_mcap

MAX_UNPACKED_BYTES = 256_000_000  # of one message, and of one chunk of an mcap file
MAX_FILE_RATIO = 200  # of a storage file that is compressed as a whole
TOO_LARGE = f"more than {MAX_UNPACKED_BYTES // 10**6} MB in one compressed piece"

_zstd: Any = rosbag2_reader.zstd
_get_msgdef = storage_mcap.get_msgdef


def _bounded(decompressor: Any, data: bytes) -> bytes:
    unpacked: bytes = decompressor.decompress(data, MAX_UNPACKED_BYTES)
    if not decompressor.eof:
        raise ValueError(TOO_LARGE if len(unpacked) >= MAX_UNPACKED_BYTES else "a compressed piece is cut off")
    return unpacked


def unpack_zstd(data: bytes) -> bytes:
    """The content of one zstd frame; ValueError where it is cut off or too large."""
    return _bounded(_zstd.ZstdDecompressor(), data)


def _unpack_lz4(data: bytes) -> bytes:
    return _bounded(lz4.frame.LZ4FrameDecompressor(), data)


class _BoundedZstd:
    """What DirectoryReader uses of the module zstd."""

    decompress = staticmethod(unpack_zstd)

    @staticmethod
    def open(file: IO[bytes], mode: str) -> Any:
        limit = MAX_FILE_RATIO * file.seek(0, 2)
        file.seek(0)
        unpacked = _zstd.open(file, mode)
        read, done = unpacked.read, 0

        def bounded_read(size: int = -1) -> bytes:
            nonlocal done
            block: bytes = read(size)
            done += len(block)
            if done > limit:
                raise ValueError(f"a compressed file unpacks to more than {MAX_FILE_RATIO} times its size")
            return block

        unpacked.read = bounded_read
        return unpacked


def _any_msgdef(schema: Any) -> MessageDefinition:
    try:
        return _get_msgdef(schema)
    except KeyError:
        return MessageDefinition(MessageDefinitionFormat.NONE, "")


rosbag2_reader.zstd = _BoundedZstd  # type: ignore[assignment]
storage_mcap.get_msgdef = _any_msgdef
storage_mcap.DECOMPRESSORS.update(zstd=lambda data, _: unpack_zstd(data), lz4=lambda data, _: _unpack_lz4(data))
