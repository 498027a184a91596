"""The pages in a real browser: the distribution's Chromium, by Playwright. Skips, with the reason, where none is."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import PASSWORD

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup)")

import uvicorn  # noqa: E402

from pad_ros.cli import main  # noqa: E402
from pad_ros.model import ReferenceModel  # noqa: E402
from pad_ros.station import accounts  # noqa: E402
from pad_ros.station.database import open_history  # noqa: E402
from pad_ros.station.place import Place  # noqa: E402
from pad_ros.station.web.app import create_app  # noqa: E402
from pad_ros.station.web.context import Station  # noqa: E402
from pad_ros.station.web.jobs import Jobs  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"desk": (1366, 768), "phone": (390, 844)}
PAGES = ("live", "review", "part", "threshold", "models", "health", "changes", "users", "password")

# WCAG 2.1, 1.4.3: contrast of each text to what is behind it, and the texts that have less than AA asks for.
LOW_CONTRAST = """() => {
  const rgba = (text) => { const v = text.match(/[\\d.]+/g).map(Number); return v.length === 3 ? [...v, 1] : v; };
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => c.slice(0, 3).map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > .9) return c; }
    return [255, 255, 255, 1];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e);
    if (!own || !e.getClientRects().length || style.visibility === "hidden" || e.closest("svg, option")) continue;
    const [a, b] = [light(rgba(style.color)), light(behind(e))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""


# What can be operated on a page; and the number of that which has the focus, with whether one sees that.
CONTROLS = """() => [...document.querySelectorAll(
  "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
)].filter((e) => e.getClientRects().length && !e.disabled)"""
COUNT = f"() => ({CONTROLS})().length"
FOCUSED = f"""() => {{
  const e = document.activeElement, style = getComputedStyle(e);
  return [({CONTROLS})().indexOf(e), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium is installed (apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Shown:
    """A page of a signed-in user. problems: what the browser complained of."""

    page: object
    url: str
    problems: list[str]

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_load_state("networkidle") if path.startswith("/part") else None

    def sign_in(self, name: str) -> None:
        self.page.context.clear_cookies()
        self.open("/sign-in")
        self.page.fill("#name", name)
        self.page.fill("#password", PASSWORD)
        self.page.press("#password", "Enter")
        self.page.wait_for_url("**/live")


@pytest.fixture
def serve(chromium, tmp_path) -> Iterator[Callable[..., Shown]]:
    """Serves an application; gives a browser's page on it."""
    ends: list[Callable[[], object]] = []

    def start(app: object, width: str = "desk") -> Shown:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        end = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.05)
        w, h = WIDTHS[width]
        context = chromium.new_context(viewport={"width": w, "height": h}, device_scale_factor=1)
        context.set_default_timeout(120_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: problems.append(f"asks {asked.url}") if "127.0.0.1" not in asked.url
                and not asked.url.startswith("data:") else None)  # fmt: skip
        ends.extend([context.close, lambda: setattr(server, "should_exit", True), lambda: thread.join(10)])
        return Shown(page, f"http://127.0.0.1:{port}", problems)

    yield start
    for end in ends:
        end()


def keep(shown: Shown, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("PAD_SCREENSHOTS", tmp_path))
    shown.page.screenshot(path=str(folder / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_its_screen_and_is_readable(site, serve, tmp_path, width):
    """No script fails, nothing comes from the network, nothing sticks out sideways, contrast is AA."""
    shown = serve(site.app, width)
    shown.open("/sign-in")
    assert shown.page.evaluate(LOW_CONTRAST) == []
    shown.sign_in("engineer")
    for name in (*PAGES, f"result/{site.keys[1]}"):
        shown.open(f"/{name}")
        keep(shown, f"{name.partition('/')[0]}_{width}", tmp_path)
        assert shown.page.evaluate(LOW_CONTRAST) == [], name
        wide = shown.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{name} is {wide} px too wide"
    assert shown.problems == []


def test_reviewing_needs_no_mouse(site, serve):
    shown = serve(site.app)
    shown.sign_in("operator")
    page = shown.page
    shown.open("/review")
    before = page.evaluate("getComputedStyle(document.querySelector('.over')).clipPath")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    assert page.evaluate("getComputedStyle(document.querySelector('.over')).clipPath") != before
    assert "scale(1.5)" in page.evaluate("document.querySelector('.layers').style.transform")
    page.keyboard.press("1")
    assert page.text_content("#over-name") == "reference"
    page.keyboard.press("s")
    page.wait_for_url(f"**/review?after={site.keys[5]}")
    for key, result in (("g", site.keys[3]), ("d", site.keys[2])):
        assert page.locator(f"form[action='/result/{result}/opinion']").count() == 1
        page.keyboard.press(key)
        page.wait_for_url(f"**/review?after={result}")
    shown.open(f"/result/{site.keys[3]}")
    assert "good" in page.text_content("main")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == "To the content", "the first stop of the keyboard leads past the menu"


def test_every_control_is_reached_by_the_keyboard_and_shows_that_it_is(site, serve):
    shown = serve(site.app)
    shown.sign_in("engineer")
    for name in (*PAGES, f"result/{site.keys[1]}"):
        shown.open(f"/{name}")
        count = shown.page.evaluate(COUNT)
        seen = set()
        for _ in range(count + 3):
            shown.page.keyboard.press("Tab")
            number, shows = shown.page.evaluate(FOCUSED)
            seen.add(number)
            assert number < 0 or shows, f"{name}: control {number} does not show the focus"
        assert set(range(count)) <= seen, f"{name}: {sorted(set(range(count)) - seen)} of {count} are not reached"


def test_the_slider_counts_as_the_server_does(site, serve):
    client = site.client("operator")
    for key, opinion in ((site.keys[1], "good"), (site.keys[3], "defect")):
        client.submit(f"/result/{key}/opinion", opinion=opinion)
    shown = serve(site.app)
    shown.sign_in("viewer")
    for at in ("2.2", "2.6"):
        shown.open(f"/threshold?at={at}")
        by_server = [shown.page.text_content(f"#{name}-{i}") for name in ("rejected", "passed") for i in range(3)]
        shown.page.eval_on_selector("#at", "(e) => e.dispatchEvent(new Event('input'))")
        by_page = [shown.page.text_content(f"#{name}-{i}") for name in ("rejected", "passed") for i in range(3)]
        assert by_page == by_server
    assert shown.problems == []


def test_the_live_page_says_at_once_when_the_station_is_gone(site, serve):
    shown = serve(site.app)
    shown.sign_in("viewer")
    shown.page.route("**/live/fragment*", lambda route: route.abort())
    shown.page.wait_for_selector("#lost:not([hidden])")
    assert shown.page.locator(".verdict.stale").count() == 1
    shown.page.unroute("**/live/fragment*")
    shown.page.wait_for_selector("#lost", state="hidden")


@pytest.mark.parametrize("name, end", [("localhost", "/sign-in"), ("127.0.0.1", "/models/approve")])
def test_a_page_of_another_origin_cannot_act_for_who_is_signed_in(site, serve, name, end):
    """The same browser, another server. From another site the browser sends no cookie; from another port of the same
    it does, and the form is refused."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    shown = serve(site.app)
    shown.sign_in("engineer")
    form = (
        f"<form method=post action={shown.url}/models/approve><input name=model value={site.model.hash}>"
        "<input name=cell value=left><button>win</button></form>"
    )
    evil = serve(Starlette(routes=[Route("/", lambda request: HTMLResponse(form))]))
    page = shown.page
    page.goto(evil.url.replace("127.0.0.1", name) + "/")
    with page.expect_navigation() as answer:
        page.click("button")
    assert answer.value.status == (403 if name == "127.0.0.1" else 200) and end in page.url
    assert not site.place.live("left").exists()


@pytest.mark.timeout(1800)
def test_from_a_false_reject_to_a_model_that_passes_the_part(toy, serve, tmp_path, monkeypatch, quick_hasher):
    """Reviewed, calibrated, approved by who may, and told with names. A viewer can do none of it."""
    monkeypatch.setattr(accounts, "_hasher", quick_hasher)
    strict = replace(toy.model.calibration, threshold=0.01 * float(toy.model.calibration.scores.min()))
    replace(toy.model, calibration=strict).save(tmp_path / "strict")
    images = sorted((toy.dataset / "train" / "good").glob("*.png"))[:6]
    station = tmp_path / "station"
    inspect = ["--out", str(tmp_path / "out"), "--record-to", str(station), "--cell", "left"]
    assert main(["inspect", str(tmp_path / "strict"), *map(str, images), *inspect]) == 1
    place = Place(station)
    engine = open_history(place)
    for role in accounts.ROLES:
        accounts.set_user(engine, role, role, PASSWORD, "test")
    app = create_app(Station(place, engine, Jobs(place, engine), second_share=0.0), ["127.0.0.1"])
    shown = serve(app)
    page = shown.page

    shown.sign_in("viewer")
    shown.open("/review")
    assert page.locator("button[value=good]").count() == 0
    refused = page.evaluate(
        "async (path) => (await fetch(path, {method: 'POST', body: new URLSearchParams({opinion: 'good'})})).status",
        "/result/1/opinion",
    )
    assert refused == 403

    shown.sign_in("operator")
    shown.open("/review")
    for _ in images:
        page.wait_for_selector("button[value=good]")
        with page.expect_navigation():
            page.keyboard.press("g")
    assert "Nothing waits for you" in page.text_content("main")
    shown.open("/models")
    page.check("input[name=trust]")
    page.click("button:text-is('Calibrate')")
    page.wait_for_selector("text=/it runs nowhere until|: failed/", timeout=1_200_000)  # on a busy machine
    assert "it runs nowhere until an engineer approves it" in page.text_content("#jobs"), page.text_content("#jobs")
    assert page.locator("text=Approve for this cell").count() == 0, "an operator cannot approve"
    assert not place.live("left").exists()

    shown.sign_in("engineer")
    shown.open("/models")
    page.locator("button:text-is('Approve for this cell')").first.click()
    page.wait_for_selector("td:has-text('not loaded yet')")
    live = place.live("left")
    assert ReferenceModel.load(live).calibration.threshold > strict.threshold
    assert main(["inspect", str(live), str(images[0]), *inspect]) == 0, "the same part passes"
    shown.open(f"/find?part={images[0].stem}")
    assert page.text_content(".badge.PASS") == "PASS"
    shown.open("/changes")
    told = page.text_content("main")
    for words in ("operator", "reviewed", "opinion: good", "model made", "engineer", "model approved"):
        assert words in told
    keep(shown, "walk_changes", tmp_path)
    assert not [problem for problem in shown.problems if "403" not in problem]
