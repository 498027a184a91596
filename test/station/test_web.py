"""The pages: what each shows, who may do what, and that no other page can do it for them."""

import json
import time
from pathlib import Path

import pytest
from conftest import HOST, PASSWORD
from model_factory import make_model
from sqlalchemy import insert, select, update
from station_records import wait_for

from pad_ros.station import accounts
from pad_ros.station.schema import (
    ABSENT,
    DROPPED,
    KEPT,
    PENDING,
    approvals,
    audit,
    cells,
    models,
    pictures,
    results,
    reviews,
    sessions,
    users,
)
from pad_ros.station.web import jobs

PAGES = ("/live", "/live/fragment", "/review", "/part", "/threshold", "/models", "/health", "/changes")
CHANGES = {  # path -> the least role that may, and what it sends
    "/result/{key}/opinion": ("operator", {"opinion": "good"}),
    "/models/calibrate": ("operator", {"model": "{model}"}),
    "/models/approve": ("engineer", {"model": "{model}", "cell": "left"}),
    "/models/back": ("engineer", {"cell": "left"}),
    "/models/rate": ("engineer", {"model": "{model}", "rate": "0.05"}),
    "/models/add": ("engineer", {"folder": "/nowhere"}),
    "/users": ("engineer", {"name": "new", "role": "viewer", "password": PASSWORD}),
    "/users/remove": ("engineer", {"name": "viewer"}),
}


def rows(site, table):
    with site.engine.connect() as connection:
        return connection.execute(select(table)).all()


def filled(site, path):
    names = {"{model}": site.model.hash}
    return path.format(key=site.keys[1]), {k: names.get(v, v) for k, v in CHANGES[path][1].items()}


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_to_a_viewer_and_to_nobody_else(site, path):
    answer = site.client("viewer").get(path)
    assert answer.status_code == 200 and "text/html" in answer.headers["content-type"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    refused = site.client().get(path)
    assert refused.status_code == 303 and refused.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("path", CHANGES)
def test_a_role_below_gets_403_and_nothing_changes(site, path):
    role, _ = CHANGES[path]
    url, data = filled(site, path)
    before = [rows(site, table) for table in (reviews, models, approvals, users)]
    for name in accounts.ROLES[: accounts.ROLES.index(role)]:
        assert site.client(name).submit(url, **data).status_code == 403
    assert [rows(site, table) for table in (reviews, models, approvals, users)] == before
    assert not site.station.jobs.all()


@pytest.mark.parametrize("path", [*CHANGES, "/sign-out", "/password"])
def test_another_page_cannot_change_anything(site, path):
    url, data = filled(site, path) if path in CHANGES else (path, {})
    client = site.client("engineer")
    before = [rows(site, table) for table in (reviews, models, approvals, users, sessions)]
    assert client.post(url, data=data).status_code == 403, "without a token"
    assert client.post(url, data={**data, "csrf": "wrong"}).status_code == 403
    (token,) = [one.csrf for one in rows(site, sessions)]
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert client.post(url, data={**data, "csrf": token}, headers=headers).status_code == 403
    assert [rows(site, table) for table in (reviews, models, approvals, users, sessions)] == before
    assert not site.station.jobs.all()


def test_a_foreign_name_of_the_host_is_refused(site):
    assert site.client().get("/sign-in", headers={"host": "evil.example"}).status_code == 400


def test_signing_in_and_out(site):
    client = site.client()
    for name, password in (("engineer", "wrong password"), ("nobody", PASSWORD), ("", "")):
        answer = client.post("/sign-in", data={"name": name, "password": password})
        assert answer.status_code == 403 and "wrong" in answer.text
    assert client.post("/sign-in", data={"name": "engineer", "password": PASSWORD},
                       headers={"origin": "http://evil.example"}).status_code == 403  # fmt: skip
    answer = client.post("/sign-in?next=/models", data={"name": "engineer", "password": PASSWORD})
    assert answer.headers["location"] == "/models"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get("/models").status_code == 200
    assert client.submit("/sign-out").status_code == 303
    assert client.get("/models").status_code == 303 and not rows(site, sessions)
    outside = client.post("/sign-in?next=//evil.example", data={"name": "engineer", "password": PASSWORD})
    assert outside.headers["location"] == "/live"


def test_guessing_passwords_is_slowed_down(site):
    client = site.client()
    answers = [client.post("/sign-in", data={"name": "engineer", "password": "wrong"}) for _ in range(7)]
    assert [answer.status_code for answer in answers[:5]] == 5 * [403] and answers[-1].status_code == 429
    right = client.post("/sign-in", data={"name": "engineer", "password": PASSWORD})
    assert right.status_code == 429, "not even the right one is listened to meanwhile"
    assert site.client("viewer").get("/live").status_code == 200, "others are not kept out"


def test_sessions_end_and_are_kept_as_hashes(site):
    client = site.client("viewer")
    assert client.cookies["pad_station"] not in str(rows(site, sessions))
    with site.engine.begin() as connection:
        connection.execute(update(sessions).values(expires_ns=time.time_ns() - 1))
    assert client.get("/live").status_code == 303


def test_a_large_form_is_not_read(site):
    answer = site.client("engineer").submit("/models/add", folder="x" * 200_000)
    assert answer.status_code == 403


def test_live_shows_the_last_verdict_and_that_it_is_old_where_nothing_is_heard(site):
    text = site.client("viewer").get("/live").text
    assert "REJECT" in text and "part-5" in text and "stale" in text and "no recorder reports" in text
    report(site, {"nodes": {"/left/cell": {"level": 1, "message": "drifting", "seen_ns": 0}}})
    text = site.client("viewer").get("/live").text
    assert "verdict REJECT" in text and " stale" not in text and "cell: drifting" in text
    report(site, {}, seen_ns=time.time_ns() - 60 * 10**9)
    assert "its recorder is silent" in site.client("viewer").get("/live").text


def report(site, state, seen_ns=None):
    with site.engine.begin() as connection:
        connection.execute(cells.delete())
        values = {"name": "left", "seen_ns": seen_ns or time.time_ns(), "state": json.dumps(state)}
        connection.execute(insert(cells).values(**values))


def test_texts_from_the_line_are_no_html(site):
    with site.engine.begin() as connection:
        connection.execute(update(results).values(part_id="<script>alert(1)</script>", reason_text="<b>x"))
    client = site.client("viewer")
    for path in ("/live", "/review", f"/result/{site.keys[0]}"):
        text = client.get(path).text
        assert "<script>alert" not in text and "&lt;script&gt;" in text


def test_pictures_are_shown_and_the_heatmap_in_colours(site):
    client = site.client("viewer")
    for kind, form in (("query", "png"), ("reference", "jpeg"), ("heatmap", "jpeg"), ("overlay", "jpeg")):
        answer = client.get(f"/picture/{site.keys[1]}/{kind}")
        assert answer.status_code == 200 and answer.headers["content-type"] == f"image/{form}"
    assert client.get(f"/picture/{site.keys[0]}/query").status_code == 404
    assert client.get(f"/picture/{site.keys[1]}/secrets").status_code == 404
    assert site.client().get(f"/picture/{site.keys[1]}/query").status_code == 303
    (site.place.folder / "secret.png").write_bytes(b"secret")
    with site.engine.begin() as connection:
        connection.execute(update(pictures).values(path="../secret.png"))
    assert client.get(f"/picture/{site.keys[1]}/query").status_code == 400


def test_a_page_says_what_became_of_pictures_that_are_not_there(site):
    client = site.client("viewer")
    newest = site.keys[-1]
    with site.engine.begin() as connection:
        connection.execute(pictures.delete().where(pictures.c.result_id == newest))
    said = {
        PENDING: "not written yet",
        KEPT: "have gone since",
        DROPPED: "given up",
        ABSENT: "No picture of it has come",
    }
    for state, words in said.items():
        with site.engine.begin() as connection:
            connection.execute(update(results).where(results.c.id == newest).values(picture_state=state))
        for path in (f"/result/{newest}", "/live/fragment"):
            text = client.get(path).text
            assert words in text and ("data-pending" in text) == (state == PENDING)


def test_the_queue_leads_from_one_result_to_the_next(site):
    client = site.client("operator")
    assert f"/result/{site.keys[5]}/opinion" in client.get("/review").text
    answer = client.submit(f"/result/{site.keys[5]}/opinion", opinion="good", queue="1")
    assert answer.headers["location"] == f"/review?after={site.keys[5]}"
    assert f"/result/{site.keys[3]}/opinion" in client.get(answer.headers["location"]).text
    assert f"/result/{site.keys[2]}/opinion" in client.get(f"/review?after={site.keys[3]}").text
    page = client.get(f"/result/{site.keys[5]}").text
    assert "<b>good</b>" in page and "operator" in page
    client.submit(f"/result/{site.keys[5]}/opinion", opinion="defect")
    page = client.get(f"/result/{site.keys[5]}").text
    assert "<b>defect</b>" in page and "changed from good" in page
    assert client.submit(f"/result/{site.keys[5]}/opinion", opinion="perfect").status_code == 400


def test_a_second_opinion_is_blind(site):
    object.__setattr__(site.station, "second_share", 1.0)
    key = site.keys[5]
    site.client("operator").submit(f"/result/{key}/opinion", opinion="defect")
    engineer = site.client("engineer")
    page = engineer.get(f"/result/{key}").text
    assert "second opinion" in page.lower() and "<b>defect</b>" not in page and ">operator<" not in page
    engineer.submit(f"/result/{key}/opinion", opinion="defect")
    page = engineer.get(f"/result/{key}").text
    assert page.count("<b>defect</b>") >= 2 and "operator" in page
    assert "agree on 100 % of 1" in engineer.get("/review").text


def test_a_part_is_found_by_its_name(site):
    client = site.client("viewer")
    assert client.get("/find?part=part-2").headers["location"] == f"/result/{site.keys[2]}"
    assert client.get("/find?part=unknown").status_code == 400
    assert client.get("/result/999").status_code == 404
    assert client.get("/nowhere").status_code == 404


def test_the_threshold_page_counts_what_a_setting_would_have_done(site):
    operator = site.client("operator")
    for key, opinion in ((site.keys[1], "good"), (site.keys[3], "defect"), (site.keys[0], "defect")):
        operator.submit(f"/result/{key}/opinion", opinion=opinion)
    text = " ".join(operator.get("/threshold?at=2").text.split())
    assert '<td class="n" id="rejected-1">1</td>' in text and '<td class="n" id="passed-1">1</td>' in text
    text = " ".join(operator.get("/threshold?at=3").text.split())
    assert '<td class="n" id="rejected-1">0</td>' in text and '<td class="n" id="passed-1">2</td>' in text
    for odd in ("nan", "-1", "1e999", "x"):
        assert operator.get(f"/threshold?at={odd}").status_code == 200


def test_points_and_defects_of_the_part(site):
    client = site.client("viewer")
    found = client.get(f"/part/points?model={site.model.hash}&parts=2").json()
    assert len(found["points"][0]) == 6 and len(found["defects"]) == 2
    assert found["defects"][0][:3] == [0.1, 0.2, 0.3] and found["defects"][0][4] == "ADDED"
    assert client.get("/part/points?model=unknown").status_code == 400
    assert client.get("/part?parts=%00").status_code == 200


def test_a_model_runs_only_when_approved_and_one_click_leads_back(site, tmp_path):
    engineer = site.client("engineer")
    other = make_model(gaussians=30, name="other").save(tmp_path / "other")
    assert engineer.submit("/models/add", folder=str(tmp_path / "other")).status_code == 303
    assert engineer.submit("/models/add", folder=str(tmp_path)).status_code == 400
    assert not rows(site, approvals) and not site.place.live("left").exists()
    assert engineer.submit("/models/approve", model=site.model.hash, cell="left").status_code == 303
    assert site.place.live("left").resolve() == (tmp_path / "model").resolve()
    engineer.submit("/models/approve", model=other.hash, cell="left")
    assert site.place.live("left").resolve() == (tmp_path / "other").resolve()
    assert engineer.submit("/models/back", cell="left").status_code == 303
    assert site.place.live("left").resolve() == (tmp_path / "model").resolve()
    given = rows(site, approvals)
    assert [(one.user, one.model_hash, one.before_hash) for one in given] == [
        ("engineer", site.model.hash, None), ("engineer", other.hash, site.model.hash),
        ("engineer", site.model.hash, other.hash),
    ]  # fmt: skip
    for data in ({"model": "unknown", "cell": "left"}, {"model": other.hash, "cell": "nowhere"}):
        assert engineer.submit("/models/approve", **data).status_code == 400
    assert len(rows(site, approvals)) == 3


def test_calibration_is_asked_for_and_its_model_waits_for_approval(site, monkeypatch):
    asked = []

    def run(arguments):
        asked.append(arguments)
        make_model(gaussians=25).save(Path(arguments[4]))
        return "learned from 1 image\n"

    monkeypatch.setattr(site.station.jobs, "_run", run)
    operator = site.client("operator")
    operator.submit("/models/calibrate", model=site.model.hash)
    wait_for(lambda: site.station.jobs.all()[0].state == "failed", "the job")
    assert "no reviewed results" in operator.get("/models").text
    operator.submit(f"/result/{site.keys[1]}/opinion", opinion="good")
    assert operator.submit("/models/calibrate", model=site.model.hash, trust="on", since="99999d").status_code == 303
    wait_for(lambda: site.station.jobs.all()[0].state == "done", "the job")
    (arguments,) = asked
    assert arguments[0] == "calibrate" and arguments[-1] == "--trust"
    made = site.station.jobs.all()[0].model_hash
    (row,) = [one for one in rows(site, models) if one.hash == made]
    assert (row.parent, row.added_by) == (site.model.hash, "operator")
    text = operator.get("/models").text
    assert "learned from 1 image" in text and made[:12] in text
    assert "only 0 had passed" in text, "false rejects alone make a loose threshold"
    assert not rows(site, approvals) and not list((site.place.folder / "work").iterdir())
    assert operator.submit("/models/calibrate", model=site.model.hash, since="noon").status_code == 400


def test_another_rate_makes_another_model(site):
    engineer = site.client("engineer")
    engineer.submit("/models/rate", model=site.model.hash, rate="0.1")
    wait_for(lambda: site.station.jobs.all()[0].state in ("done", "failed"), "the job")
    job = site.station.jobs.all()[0]
    assert job.state == "done" and job.lines[0].startswith("threshold "), job.lines
    (row,) = [one for one in rows(site, models) if one.hash == job.model_hash]
    assert row.rate == 0.1 and row.parent == site.model.hash
    engineer.submit("/models/rate", model=site.model.hash, rate="0.0000001")
    wait_for(lambda: site.station.jobs.all()[0].state == "failed", "the second job")
    assert engineer.submit("/models/rate", model=site.model.hash, rate="much").status_code == 400


def test_a_command_that_fails_tells_its_line():
    with pytest.raises(jobs.InputError, match="no such folder"):
        jobs.run_pad(["info", "/nowhere"])


def test_users(site):
    engineer = site.client("engineer")
    assert engineer.submit("/users", name="eva", role="operator", password="long enough 1").status_code == 303
    assert "eva" in engineer.get("/users").text and site.client("operator").get("/users").status_code == 403
    for data in (
        {"name": "<x>", "role": "viewer", "password": PASSWORD}, {"name": "x", "role": "king", "password": PASSWORD},
        {"name": "x", "role": "viewer", "password": "short"},
    ):  # fmt: skip
        assert engineer.submit("/users", **data).status_code == 400
    viewer = site.client("viewer")
    engineer.submit("/users/remove", name="viewer")
    assert viewer.get("/live").status_code == 303, "a removed user is out at once"
    assert engineer.submit("/users/remove", name="engineer").status_code == 400, "the last engineer stays"
    assert "argon2" in rows(site, users)[0].password


def test_the_own_password(site):
    client = site.client("viewer")
    assert client.get("/password").status_code == 200
    assert client.submit("/password", present="wrong", password="another password").status_code == 403
    assert client.submit("/password", present=PASSWORD, password="another password").status_code == 303
    assert client.get("/live").status_code == 303
    fresh = site.client()
    assert fresh.post("/sign-in", data={"name": "viewer", "password": "another password"}).status_code == 303


def test_every_change_is_in_the_audit(site):
    engineer = site.client("engineer")
    engineer.submit(f"/result/{site.keys[1]}/opinion", opinion="good")
    engineer.submit("/models/approve", model=site.model.hash, cell="left")
    engineer.submit("/users", name="eva", role="operator", password="long enough 1")
    found = {(row.user, row.action, row.subject) for row in rows(site, audit)}
    assert {("engineer", "reviewed", str(site.keys[1])), ("engineer", "model approved", site.model.hash),
            ("engineer", "user set", "eva"), ("engineer", "signed in", "engineer")} <= found  # fmt: skip
    text = site.client("viewer").get("/changes").text
    assert "model approved" in text and "opinion: good" in text and PASSWORD not in str(rows(site, audit))
    assert site.client("viewer").get("/changes?before=2").status_code == 200


def test_health_shows_disk_clocks_and_drift(site):
    report(site, {"committed": 5, "waiting": 1, "lost": 2, "image_age": 3.5, "nodes": {}})
    text = site.client("viewer").get("/health").text
    assert "3.500 s old" in text and "CHECK" in text and "2 results" in text and "too little is known" in text
    assert "3 results lost" not in text and "free" in text and "p95" in text


def test_a_database_that_is_away_is_said(site, monkeypatch):
    client = site.client("viewer")
    site.place.database_file.rename(site.place.folder / "away")
    site.engine.dispose()
    answer = client.get("/live")
    assert answer.status_code == 500 and "unreachable" in answer.text


def test_static_files_come_from_here(site):
    client = site.client()
    assert client.get("/static/station.css").status_code == 200
    assert client.get("/static/../app.py").status_code == 404
    assert HOST.startswith("http://127.0.0.1")
