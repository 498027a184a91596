"""Memory, handles and threads of a process that inspects images again and again.

    python benchmarks/endurance.py MODEL DATASET [--images 20000] [--minutes 600]

Ends with the images or the minutes, whichever come first. Exit status 1 where one of the three grows from the second to
the last tenth.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import cycle, islice

import numpy as np
from common import option_parser, write_result
from ros_line import Usage

from pad_ros.evaluation.dataset import read_dataset
from pad_ros.inspector import Inspector

FLAT_MB = 30
COLUMNS = ["images", "seconds of processor time", "memory MB", "peak MB", "handles", "threads"]


def main() -> int:
    parser = option_parser(__doc__, "model", "dataset")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=600.0)
    arguments = parser.parse_args()
    inspector, dataset = Inspector.load(arguments.model), read_dataset(arguments.dataset)
    pictures = [item.load()[0] for item in dataset.images]
    inspector.warm_up()
    usage, end = Usage(os.getpid()), time.monotonic() + 60 * arguments.minutes
    seen = []
    for image in islice(cycle(pictures), arguments.images):
        inspector.inspect(image)
        seen.append([len(seen) + 1, time.process_time(), usage.rss_mb(), usage.peak_mb(), usage.handles(),
                     usage.threads()])  # fmt: skip
        if time.monotonic() > end:
            break
    tenth = max(1, len(seen) // 10)
    rows = seen[tenth - 1 :: tenth]
    first, last = (np.median(part, axis=0) for part in (seen[tenth : 2 * tenth], seen[-tenth:]))
    grown = last[2] - first[2] > FLAT_MB or (last[4:] > first[4:]).any()
    text = "Memory, handles or threads grew." if grown else "Flat."
    write_result(f"endurance_{dataset.name}", f"One image after the other, {dataset.name}", COLUMNS, rows, text)
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
