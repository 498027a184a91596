"""Users and their passwords: hashed, private to their owner, slow to guess."""

import json
import logging
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.errors import InputError
from pad_ros.plant.opcua import users as module
from pad_ros.plant.opcua.users import MAX_TRIES, Role, Users, main

PASSWORD = "correct horse"


@pytest.fixture
def users(tmp_path) -> Users:
    users = Users(tmp_path)
    users.put("plc", Role.OPERATOR, PASSWORD)
    return users


def test_a_right_password_lets_in_and_a_wrong_one_does_not(users, tmp_path):
    assert users.check("plc", PASSWORD).role is Role.OPERATOR
    for name, password in (("plc", "wrong"), ("nobody", PASSWORD), (None, PASSWORD), ("plc", None), ("plc", "")):
        assert users.check(name, password) is None
    again = Users(tmp_path)
    assert again.check("plc", PASSWORD).name == "plc"


def test_the_file_holds_hashes_and_is_for_its_owner_only(users, tmp_path):
    file = tmp_path / "users.json"
    assert PASSWORD not in file.read_text() and "$argon2id$" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_first_user_is_made_once(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    users = Users(tmp_path)
    path = users.ensure_one()
    name, password = path.read_text().split()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(password) >= 20
    assert users.check(name, password).role is Role.OPERATOR
    assert users.ensure_one() is None and Users(tmp_path).ensure_one() is None
    assert password not in caplog.text


def test_guessing_is_slow_and_who_was_in_before_gets_in_all_the_same(users, monkeypatch):
    hashed = []
    verify = users._hasher.verify
    monkeypatch.setattr(type(users._hasher), "verify", lambda self, *given: hashed.append(given) or verify(*given))
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert users.check("plc", PASSWORD) is not None
    for number in range(50):
        assert users.check("plc", f"guess {number}") is None
    assert len(hashed) == MAX_TRIES
    assert users.check("plc", PASSWORD) is not None and len(hashed) == MAX_TRIES
    now[0] += 1000
    assert users.check("plc", "guess") is None and len(hashed) == MAX_TRIES + 1


def test_a_changed_password_is_the_only_one(users):
    assert users.check("plc", PASSWORD) is not None
    users.put("plc", Role.VIEWER, "another password")
    assert users.check("plc", PASSWORD) is None
    assert users.check("plc", "another password").role is Role.VIEWER
    users.remove("plc")
    assert users.check("plc", "another password") is None


@pytest.mark.parametrize("name, password", [
    ("", PASSWORD), ("a b", PASSWORD), ("x" * 65, PASSWORD), ("plc", "short"), ("plc", "x" * 513),
])  # fmt: skip
def test_names_and_passwords_that_will_not_do(users, name, password):
    with pytest.raises(InputError) as error:
        users.put(name, Role.OPERATOR, password)
    assert password not in str(error.value) or password == ""


@given(st.one_of(st.text(), st.sampled_from(["[]", '{"users": 3}', '{"users": {"a": {"role": "king"}}}', "{}"])))
def test_a_damaged_file_is_refused_with_one_line(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("users")
    (folder / "users.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="not a readable file of users"):
        Users(folder)


def test_the_command_adds_changes_and_removes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.isatty", lambda descriptor: False)

    def run(*arguments: str, typed: str = "") -> int:
        read, write = os.pipe()
        with open(write, "w") as given:
            given.write(typed)
        with open(read) as stream:
            monkeypatch.setattr("sys.stdin", stream)
            return main([str(tmp_path), *arguments])

    assert run("mes", "--role", "viewer", typed="a long password\n") == 0
    assert Users(tmp_path).check("mes", "a long password").role is Role.VIEWER
    assert run("mes", typed="short\n") == 2 and run("nobody", "--remove") == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert run("mes", "--remove") == 0
    assert json.loads((tmp_path / "users.json").read_text()) == {"users": {}}
