import io
import time

import pytest

from enms_core.__main__ import main
from enms_core.client import connect
from enms_core.people import Person
from enms_core.settings import Settings
from enms_core.store import tokens, users


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ENMS_HOME", str(tmp_path))
    return connect(Settings.from_env()).store


def found(store, secret):
    with store.read() as connection:
        return tokens.find(connection, secret)


def test_a_token_is_shown_once_and_revoked(store, capsys):
    assert main(["token", "add", "gateway", "--role", "analyst"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("enms_")
    assert len(secret) == len("enms_") + 43  # 256 bits
    assert found(store, secret).role == "analyst"
    assert main(["token", "add", "gateway"]) == 1
    assert "revoke it or choose another name" in capsys.readouterr().err
    assert main(["token", "list"]) == 0
    listed = capsys.readouterr().out
    assert "gateway  analyst" in listed
    assert secret not in listed
    assert main(["token", "revoke", "gateway"]) == 0
    assert found(store, secret) is None
    assert main(["token", "revoke", "gateway"]) == 1


def test_only_a_hash_is_kept(store, tmp_path, capsys):
    main(["token", "add", "gateway"])
    secret = capsys.readouterr().out.strip()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("enms.db*"))
    assert secret.encode() not in kept
    assert secret[: tokens.SHOWN].encode() in kept


def test_a_token_expires(store, capsys):
    main(["token", "add", "short", "--days", "0.0000001"])
    secret = capsys.readouterr().out.strip()
    time.sleep(0.02)
    assert found(store, secret) is None


def test_a_user_logs_in_with_a_password(store, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert main(["user", "add", "anna", "--role", "admin"]) == 0
    with store.read() as connection:
        assert users.is_password(connection, "anna", "correct horse battery")
        assert not users.is_password(connection, "anna", "wrong horse battery")
        assert not users.is_password(connection, "nobody", "correct horse battery")
        assert users.person(connection, "anna") == Person("anna", "admin")
        assert users.person(connection, "somebody") is None
    assert main(["user", "role", "anna", "--role", "viewer"]) == 0
    assert main(["user", "list"]) == 0
    assert "anna  viewer  password" in capsys.readouterr().out
    with store.read() as connection:
        assert users.is_password(connection, "anna", "correct horse battery")
    assert main(["user", "remove", "anna"]) == 0
    assert main(["user", "remove", "anna"]) == 1


def test_a_role_is_for_somebody_who_was_added(store, capsys):
    """A misspelt name once became a user of its own, and the person kept the old role."""
    assert main(["user", "role", "ana", "--role", "admin"]) == 1
    said = capsys.readouterr().err
    assert "'ana' is unknown" in said
    assert "enms user add NAME --role admin, and --no-password" in said
    with store.read() as connection:
        assert users.listed(connection) == []


def test_another_provider_vouches_for_somebody_without_a_password(store, capsys):
    assert main(["user", "add", "anna@example.com", "--role", "admin", "--no-password"]) == 0
    assert main(["user", "add", "anna@example.com", "--no-password"]) == 1
    assert "see enms user role" in capsys.readouterr().err
    assert main(["user", "role", "anna@example.com", "--role", "analyst"]) == 0
    assert main(["user", "list"]) == 0
    assert "anna@example.com  analyst  another provider" in capsys.readouterr().out


def test_a_short_password_is_refused(store, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert main(["user", "add", "anna"]) == 1
    assert "it must have 12 to 1000" in capsys.readouterr().err
