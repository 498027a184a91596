"""Signing in and out, and who may sign in."""

from __future__ import annotations

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ... import accounts
from ...schema import users
from ..context import COOKIE, Context, Station, read_form, render, route, same_origin


async def form(request: Request) -> Response:
    return render(request.app.state.station, "sign_in.html.j2", path="", problem="", next=_next(request))


async def sign_in(request: Request) -> Response:
    station: Station = request.app.state.station
    given = await read_form(request)
    name, password = given.get("name", "")[:64], given.get("password", "")
    problem, status = "", 403
    if not same_origin(request):
        problem = "The form did not come from this page."
    elif (wait := station.throttle.wait(name)) > 0:
        problem, status = f"Too many wrong passwords: wait {wait:.0f} s.", 429
    else:
        token = await run_in_threadpool(accounts.sign_in, station.engine, name, password)
        if token is not None:
            station.throttle.succeeded(name)
            answer = RedirectResponse(_next(request), 303)
            answer.set_cookie(COOKIE, token, max_age=30 * 86_400, httponly=True, samesite="strict",
                              secure=station.secure)  # fmt: skip
            return answer
        station.throttle.failed(name)
        problem = "Name or password is wrong."
    return render(station, "sign_in.html.j2", status, path="", problem=problem, next=_next(request))


def sign_out(context: Context) -> Response:
    accounts.sign_out(context.station.engine, context.request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


def user_list(context: Context) -> Response:
    with context.station.engine.connect() as connection:
        found = connection.execute(
            select(users.c.name, users.c.role).where(users.c.active).order_by(users.c.name)
        ).all()
    return context.page("users.html.j2", users=found, roles=accounts.ROLES)


def set_user(context: Context) -> Response:
    form = context.form
    name, role, password = (form.get(key, "") for key in ("name", "role", "password"))
    accounts.set_user(context.station.engine, name, role, password, by=context.user)
    return RedirectResponse("/users", 303)


def remove_user(context: Context) -> Response:
    accounts.remove_user(context.station.engine, context.form.get("name", ""), context.user)
    return RedirectResponse("/users", 303)


def password(context: Context) -> Response:
    return context.page("password.html.j2")


def own_password(context: Context) -> Response:
    """A user gives itself a new password, by the present one."""
    form, user = context.form, context.session.user
    if accounts.sign_in(context.station.engine, user.name, form.get("present", "")) is None:
        return context.page("refused.html.j2", 403, text="The present password is wrong. Nothing was changed.")
    accounts.set_user(context.station.engine, user.name, user.role, form.get("password", ""), by=user.name)
    return RedirectResponse("/sign-in", 303)


def _next(request: Request) -> str:
    """A path of ours to go on to, nowhere else."""
    path = request.query_params.get("next", "/live")
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/live"


ROUTES = [
    Route("/sign-in", form),
    Route("/sign-in", sign_in, methods=["POST"]),
    route("/sign-out", sign_out, methods=("POST",)),
    route("/users", user_list, "engineer"),
    route("/users", set_user, "engineer", methods=("POST",)),
    route("/users/remove", remove_user, "engineer", methods=("POST",)),
    route("/password", password),
    route("/password", own_password, methods=("POST",)),
]
