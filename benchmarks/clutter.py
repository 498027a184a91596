"""What each step in front of a foreign background is worth: switched off one by one, at the same poses.

    python benchmarks/clutter.py MODEL DATASET

DATASET's test images show the part in front of any background. Rows: the whole image compared with the rendering in
front of its trained background; only where the reference mask (the rendering's alpha) is; where it or the query's mask
is (the union rule); the union with the rendering put over the query's own background; and that in the light of the
surroundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from common import option_parser, write_result

from pad_ros.comparison import measurement
from pad_ros.compute.threads import only_our_threads
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.evaluation.metrics import Judged, count_pixels, ranking_figures, rates
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.photometry import prepared_query

ROWS = ("no mask", "reference mask", "union", "union + composition", "union + composition + shading")
COLUMNS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "false_reject_rate", "escape_rate")


def main() -> None:
    arguments = option_parser(__doc__, "model", "dataset").parse_args()
    inspector, dataset = Inspector.load(arguments.model, "cpu"), read_dataset(arguments.dataset)
    judged: dict[str, list[Judged]] = {row: [] for row in ROWS}
    for item in dataset.images:
        image = images.load(item.path)
        query = inspector.prepare(image)
        localization = inspector.localize(query)
        mask = item.load_mask(image.shape)
        rendering = inspector.render(query, localization) if localization.localized else None
        for row in ROWS:
            with without_later_steps(row), only_our_threads():
                found = inspector.score(inspector.prepare(image), localization, rendering)
            judged[row].append(Judged.of(found, item.defective, mask, image.shape))
        print(item.name, flush=True)
    figures = {row: ranking_figures(i, count_pixels(i)[0]) | rates(i) for row, i in judged.items()}
    rows = [[row, *(cells[c] for c in COLUMNS)] for row, cells in figures.items()]
    title = f"Steps in front of a foreign background, {dataset.name}"
    write_result(f"clutter_{dataset.name}", title, ["compared", *COLUMNS], rows)


@contextmanager
def without_later_steps(row: str) -> Iterator[None]:
    """The comparison without the steps that come after `row`."""
    kept = ROWS.index(row)
    with ExitStack() as stack:
        if kept < 4:
            stack.enter_context(patch.object(prepared_query.LitQuery, "shading", None))
        if kept < 3:
            for module in (measurement, prepared_query):
                stack.enter_context(patch.object(module, "on_ground", lambda rendering, ground, background: rendering))
        if kept < 2:  # nothing is said of the background
            stack.enter_context(patch.object(measurement, "distance_from_ground", lambda query, rendering: None))
        if kept < 1:
            stack.enter_context(patch.object(prepared_query, "is_plain_background", lambda mask, rendering: True))
        yield


if __name__ == "__main__":
    main()
