"""The log of the plant's side in that of a node."""

from __future__ import annotations

import logging

from rclpy.node import Node

LIBRARIES = ("asyncua", "asyncuagds", "paho")  # tell a peer's every step and error at length


class _RosHandler(logging.Handler):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def log_to(node: Node) -> None:
    """What pad_ros.station says; of the libraries below it nothing."""
    ours = logging.getLogger("pad_ros.station")
    ours.handlers = [_RosHandler(node)]
    ours.setLevel(logging.INFO)
    ours.propagate = False
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
