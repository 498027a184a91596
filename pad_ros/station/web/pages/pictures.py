"""The kept pictures, as a browser shows them."""

from __future__ import annotations

from sqlalchemy import select
from starlette.responses import Response
from starlette.routing import Route

from ....errors import InputError
from ....reporting.pictures import heatmap_image
from ...picture_store import HEATMAP, decode_heatmap, encoded
from ...schema import pictures, results
from ..context import Context, route

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
KEEP = "private, max-age=86400, immutable"  # a picture never changes


def picture(context: Context) -> Response:
    """One picture of a result; the heatmap in colours, tied to the threshold."""
    params = context.request.path_params
    asked = (
        select(pictures.c.path, pictures.c.unit, results.c.threshold).join(results)
        .where(pictures.c.result_id == params["result"], pictures.c.kind == params["kind"])
    )  # fmt: skip
    with context.station.engine.connect() as connection:
        row = connection.execute(asked).first()
    folder = context.station.place.pictures
    if row is None or not (folder / row.path).is_file():
        return Response("this picture is not kept", 404)
    file = (folder / row.path).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise InputError("a picture outside of the station's folder")
    data, kind = file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream")
    if params["kind"] == HEATMAP:
        values = decode_heatmap(data, row.unit or 1.0)
        data, kind = encoded(heatmap_image(values, row.threshold or float("nan")), "jpeg"), "image/jpeg"
    return Response(data, media_type=kind, headers={"cache-control": KEEP})


ROUTES: list[Route] = [route("/picture/{result:int}/{kind:str}", picture)]
