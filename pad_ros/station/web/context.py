"""What every page gets: the station, who asks, and the checks before anything is done."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ...errors import PadError
from ..accounts import Session, Throttle, session_of
from ..place import Place
from ..record import SECOND, reason_name
from ..statistics import SHIFTS
from .jobs import Jobs

COOKIE = "pad_station"
MAX_FORM_BYTES = 100_000
PAGES = (("live", "Live"), ("review", "Review"), ("part", "Part"), ("threshold", "Threshold"), ("models", "Models"),
         ("health", "Health"))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Station:
    """What the pages of one running server share. second_share: of reviewed results that another is to judge too."""

    place: Place
    engine: Engine
    jobs: Jobs
    shifts: tuple[int, ...] = SHIFTS
    second_share: float = 0.1
    secure: bool = False  # served over TLS: the cookie is for that alone
    throttle: Throttle = field(default_factory=Throttle)
    templates: Environment = field(default_factory=lambda: _environment())


@dataclass(frozen=True, eq=False)
class Context:
    """One request of a user who may make it. form: of a POST, without the CSRF token."""

    request: Request
    station: Station
    session: Session
    form: Mapping[str, str]

    @property
    def user(self) -> str:
        return self.session.user.name

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        return render(self.station, template, status, session=self.session, path=self.request.url.path, **values)


Handler = Callable[[Context], Response]


def route(path: str, handler: Handler, role: str = "viewer", methods: tuple[str, ...] = ("GET",)) -> Route:
    """A page for users of this role. Whoever is not signed in is led there; who may not, gets 403. A POST must come
    from a page of ours, with the session's token."""

    async def endpoint(request: Request) -> Response:
        station: Station = request.app.state.station
        session = await run_in_threadpool(_session, station, request)
        if session is None:
            return RedirectResponse(f"/sign-in?next={quote(request.url.path)}", 303)
        if not session.user.may(role):
            text = f"This takes the role {role}; {session.user.name} is {session.user.role}."
            return render(station, "refused.html.j2", 403, session=session, path=request.url.path, text=text)
        form: dict[str, str] = {}
        if request.method == "POST":
            form = await read_form(request)
            token = form.pop("csrf", "")
            if not same_origin(request) or not hmac.compare_digest(token.encode(), session.csrf.encode()):
                text = "The form did not come from this page, or is too old. Nothing was changed."
                return render(station, "refused.html.j2", 403, session=session, path=request.url.path, text=text)
        return await run_in_threadpool(_handled, handler, Context(request, station, session, form))

    return Route(path, endpoint, methods=list(methods))


def _handled(handler: Handler, context: Context) -> Response:
    try:
        return handler(context)
    except PadError as error:  # what a user can mend
        return context.page("refused.html.j2", 400, text=str(error))


def _session(station: Station, request: Request) -> Session | None:
    token = request.cookies.get(COOKIE, "")
    if not token:
        return None
    with station.engine.connect() as connection:
        return session_of(connection, token)


async def read_form(request: Request) -> dict[str, str]:
    """The text fields of a form; none of one that is too large."""
    if int(request.headers.get("content-length") or MAX_FORM_BYTES + 1) > MAX_FORM_BYTES:
        return {}
    async with request.form(max_files=0, max_fields=100) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}


def same_origin(request: Request) -> bool:
    """Whether a browser says that the request comes from a page of this server."""
    origin = request.headers.get("origin") or request.headers.get("referer") or ""
    site = request.headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and urlsplit(origin).netloc == request.headers.get("host", "?")


def render(station: Station, template: str, status: int = 200, **values: Any) -> Response:
    values.setdefault("session", None)
    text = station.templates.get_template(template).render(pages=PAGES, now=time.time(), **values)
    return HTMLResponse(text, status)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number_text, when=when_text, ago=ago_text, size=size_text, reason=reason_name)
    return environment


def number_text(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def when_text(time_ns: int) -> str:
    """Local date and time."""
    return f"{datetime.fromtimestamp(time_ns / SECOND):%Y-%m-%d %H:%M:%S}"


def ago_text(time_ns: int) -> str:
    seconds = max(0, int(time.time() - time_ns / SECOND))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size_text(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
