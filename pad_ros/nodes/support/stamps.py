"""What an image's stamp allows: seen before, out of order, too old, in the future."""

from __future__ import annotations


class Stamps:
    """Judges the stamps of one camera's images, nanoseconds. 0 is "unstamped".

    max_age, max_ahead: seconds by which a stamp may lie behind and before the node's clock; 0: not checked.
    """

    def __init__(self, max_age: float = 0.0, max_ahead: float = 0.0) -> None:
        self._max_age, self._max_ahead = max_age, max_ahead
        self._last = 0
        self.jumps = 0  # how often time ran backwards: a bag that begins again, a clock that was set back

    def duplicate(self, stamp_ns: int) -> bool:
        """Whether this is the last image once more. An earlier stamp is no duplicate: there time begins anew."""
        if stamp_ns == 0:
            return False
        if stamp_ns == self._last:
            return True
        self.jumps += stamp_ns < self._last
        self._last = stamp_ns
        return False

    def problem(self, stamp_ns: int, now_ns: int) -> str:
        """Why an image of this stamp must not be judged now; "" if it may."""
        if not (self._max_age or self._max_ahead):
            return ""
        if stamp_ns == 0:
            return "the image has no stamp; its age cannot be checked"
        age = (now_ns - stamp_ns) / 1e9
        if self._max_age and age > self._max_age:
            return f"the image is {age:.3f} s old, {self._max_age:g} s are allowed"
        if self._max_ahead and -age > self._max_ahead:
            return (
                f"the image's stamp lies {-age:.3f} s in the future, {self._max_ahead:g} s are allowed: "
                "synchronize the clocks of camera and node"
            )
        return ""
