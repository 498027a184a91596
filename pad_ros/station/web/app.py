"""The station's web application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .context import Station, render
from .pages import health, live, models, part, pictures, review, sign_in, threshold

STATIC = Path(__file__).with_name("static")
HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
     b"form-action 'self'; object-src 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)  # fmt: skip


class SecurityHeaders:
    """Adds HEADERS to every answer; what is no static file must not be kept by anybody."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
                if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def create_app(station: Station, hosts: Sequence[str]) -> Starlette:
    """hosts: names under which the server may be asked; another may be one that leads a browser here by its DNS."""
    app = Starlette(
        routes=[
            Route("/", _home),
            *sign_in.ROUTES, *live.ROUTES, *review.ROUTES, *pictures.ROUTES, *part.ROUTES, *threshold.ROUTES,
            *models.ROUTES, *health.ROUTES,
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(SecurityHeaders), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={404: _missing, 500: _failed},
        lifespan=_lifespan,
    )  # fmt: skip
    app.state.station = station
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    app.state.station.jobs.close()
    app.state.station.engine.dispose()


async def _home(request: Request) -> Response:
    return RedirectResponse("/live", 303)


async def _missing(request: Request, error: Exception) -> Response:
    return render(request.app.state.station, "refused.html.j2", 404, path="", text="There is no such page.")


async def _failed(request: Request, error: Exception) -> Response:
    text = "The page could not be made. The history may be unreachable; the line does not depend on it."
    return render(request.app.state.station, "refused.html.j2", 500, path="", text=text)
