"""Where frames are at a time, as /tf and /tf_static say it: interpolated, without ROS."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from ..errors import InputError
from ..imaging.geometry import Pose

TRANSFORM_TYPE = "tf2_msgs/msg/TFMessage"
TOPICS = ("/tf", "/tf_static")
MAX_GAP = 0.5  # seconds between two transforms that are interpolated, or beyond the last one
MAX_DEPTH = 64  # of the tree: more is a loop
MAX_FRAMES = 10_000
SHOWN = 8  # frames that an error lists


class NoTransformError(InputError):
    """Between two frames nothing is known at this time; at others it may be."""


@dataclass(eq=False)
class _Link:
    """A frame's pose in its parent: parent_from_child at each stamp, in order. Static ones hold at all times."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)  # ns
    poses: list[Pose] = field(default_factory=list)

    def add(self, stamp: int, pose: Pose) -> None:
        if self.static or (self.stamps and stamp == self.stamps[-1]):
            self.stamps, self.poses = [*self.stamps[:-1], stamp], [*self.poses[:-1], pose]
            return
        at = bisect.bisect_right(self.stamps, stamp)
        self.stamps.insert(at, stamp)
        self.poses.insert(at, pose)

    def at(self, stamp: int, child: str) -> Pose:
        if self.static:
            return self.poses[-1]
        after = bisect.bisect_left(self.stamps, stamp)
        near = [i for i in (after - 1, after) if 0 <= i < len(self.stamps)]
        if self.stamps[near[-1]] == stamp:
            return self.poses[near[-1]]
        if len(near) == 1 or self.stamps[after] - self.stamps[after - 1] > MAX_GAP * 1e9:
            nearest = min(near, key=lambda i: abs(self.stamps[i] - stamp))
            raise NoTransformError(
                f"/tf does not say where {child} was in {self.parent}: the nearest transform is "
                f"{abs(self.stamps[nearest] - stamp) / 1e9:.2f} s away"
            )
        share = (stamp - self.stamps[after - 1]) / (self.stamps[after] - self.stamps[after - 1])
        return interpolated(self.poses[after - 1], self.poses[after], share)


class Transforms:
    """All frames and how they lie in their parents. history: transforms kept of each frame; 0: all."""

    def __init__(self, history: int = 0) -> None:
        self._links: dict[str, _Link] = {}
        self._history = history

    def __bool__(self) -> bool:
        return bool(self._links)

    def add_stamped(self, stamped: Any, static: bool) -> None:
        """A TransformStamped. InputError where it is none, or its frame has two parents."""
        stamp = int(stamped.header.stamp.sec) * 1_000_000_000 + int(stamped.header.stamp.nanosec)
        shift, turn = stamped.transform.translation, stamped.transform.rotation
        pose = Pose.from_quaternion(np.array([turn.w, turn.x, turn.y, turn.z]), np.array([shift.x, shift.y, shift.z]))
        self.add(_plain(stamped.header.frame_id), _plain(stamped.child_frame_id), stamp, pose, static)

    def add(self, parent: str, child: str, stamp: int, pose: Pose, static: bool) -> None:
        """parent_from_child at a stamp [ns]."""
        if len(self._links) >= MAX_FRAMES and child not in self._links:
            raise InputError(f"more than {MAX_FRAMES} frames in /tf")
        link = self._links.setdefault(child, _Link(parent, static))
        if link.parent != parent:
            raise InputError(f"/tf: the frame {child} lies in {link.parent} and in {parent}; a frame has one parent")
        link.add(stamp, pose)
        if self._history and len(link.stamps) > self._history:
            del link.stamps[0], link.poses[0]

    def lookup(self, target: str, source: str, stamp: int) -> Pose:
        """target_from_source at `stamp` [ns].

        InputError where a frame is unknown or the two are not connected; NoTransformError where they are, but not known
        at this time.
        """
        up, down = self._chain(_plain(source)), self._chain(_plain(target))
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise InputError(f"/tf does not connect {source} with {target}: {up[-1]} and {down[-1]} have no parent")
        return self._to(common, down, stamp).inverse() @ self._to(common, up, stamp)

    def mount(self, frame: str) -> str:
        """What the frame is fixed to by static transforms: the first frame upwards that moves; "" where none does."""
        chain = self._chain(_plain(frame))
        return next((name for name in chain if name in self._links and not self._links[name].static), "")

    def _chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        known = {*self._links, *(link.parent for link in self._links.values())}
        if frame not in known:
            shown = sorted(known)
            more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
            raise InputError(f"/tf has no frame {frame!r}; there are: {', '.join(shown[:SHOWN]) or 'none'}{more}")
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None:
            if link.parent in chain or len(chain) > MAX_DEPTH:
                raise InputError(f"/tf: the frames {', '.join(chain[:SHOWN])} lie in each other")
            chain.append(link.parent)
        return chain

    def _to(self, top: str, chain: list[str], stamp: int) -> Pose:
        """top_from_frame of the frame that the chain begins with."""
        pose = Pose.identity()
        for frame in chain[: chain.index(top)]:
            pose = self._links[frame].at(stamp, frame) @ pose
        return pose


def interpolated(first: Pose, second: Pose, share: float) -> Pose:
    """The pose at `share` of the way: the rotation about a fixed axis, the origin along a line."""
    rotations = Rotation.from_matrix(np.stack([first.rotation, second.rotation]))
    between = Slerp([0.0, 1.0], rotations)(share).as_matrix()
    return Pose.from_rt(between, (1 - share) * first.translation + share * second.translation)


def merged(messages: Iterable[tuple[str, Any]]) -> Transforms:
    """From (topic, TFMessage) pairs in any order."""
    transforms = Transforms()
    for topic, message in messages:
        for stamped in message.transforms:
            transforms.add_stamped(stamped, static=topic.endswith("tf_static"))
    return transforms


def _plain(frame: str) -> str:
    """tf2 knows no leading slash; tf did."""
    return frame.removeprefix("/")
