"""Part: the model's points in 3D, with the defects of the last parts on them: where do they gather?"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from sqlalchemy import select
from starlette.responses import Response
from starlette.routing import Route

from ....errors import InputError
from ....model import SPLATS
from ....rendering.gaussians import load_ply
from ... import statistics
from ...queries import Filter
from ...schema import defects, models, results
from ..context import Context, route

MOST_POINTS = 12_000
MOST_PARTS = 2_000
OPAQUE = 0.3  # what is fainter is not drawn
SH_DC = 0.28209479177387814  # of the constant spherical harmonic (Kerbl et al. 2023)


def page(context: Context) -> Response:
    with context.station.engine.connect() as connection:
        known = connection.execute(select(models).order_by(models.c.added_ns.desc())).all()
        model = next((one for one in known if one.hash == context.query("model")), None) or (
            known[0] if known else None
        )
        places = [] if model is None else statistics.defect_places(connection, Filter(model=model.hash))[:8]
    return context.page("part.html.j2", known=known, model=model, places=places, parts=_parts(context))


def points(context: Context) -> Response:
    """JSON: points [x, y, z, r, g, b] of the model, and defects [x, y, z, peak / threshold, kind, result]."""
    digest = context.query("model")
    with context.station.engine.connect() as connection:
        folder = connection.scalar(select(models.c.folder).where(models.c.hash == digest))
        if folder is None:
            raise InputError(f"model {digest[:12]}: this station does not know it")
        latest = (
            select(results.c.id).where(results.c.verdict == 2, results.c.model_hash == digest)
            .order_by(results.c.time_ns.desc()).limit(_parts(context))
        )  # fmt: skip
        d = defects.c
        asked = select(d.place_x, d.place_y, d.place_z, d.peak_score, results.c.threshold, d.kind, d.result_id)
        rows = connection.execute(asked.join(results).where(d.result_id.in_(latest), d.place_x.is_not(None))).all()
    found = [
        [x, y, z, round((peak or 0) / threshold, 2) if threshold else 1.0, kind, key]
        for x, y, z, peak, threshold, kind, key in rows
    ]
    text = f'{{"points": {part_points(folder, digest)}, "defects": {json.dumps(found)}}}'
    return Response(text, media_type="application/json")


@lru_cache(maxsize=4)
def part_points(folder: str, digest: str) -> str:
    """The part's points as JSON; digest: of the model, so that another one in the folder is read anew."""
    gaussians = load_ply(Path(folder) / SPLATS)
    chosen = np.flatnonzero(gaussians.opacities > OPAQUE)
    if len(chosen) > MOST_POINTS:
        chosen = np.random.default_rng(0).choice(chosen, MOST_POINTS, replace=False)
    colours = np.clip(0.5 + SH_DC * gaussians.sh[chosen, 0], 0, 1) * 255
    values = np.concatenate([gaussians.means[chosen].round(4), colours.round()], axis=1)
    return json.dumps([[*map(float, row[:3]), *map(int, row[3:])] for row in values.tolist()])


def _parts(context: Context) -> int:
    text = context.query("parts", "200")
    return max(1, min(int(text), MOST_PARTS)) if text.isascii() and text.isdigit() and len(text) < 9 else 200


ROUTES: list[Route] = [route("/part", page), route("/part/points", points)]
