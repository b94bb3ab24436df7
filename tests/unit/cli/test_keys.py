"""``keys`` and ``principals``: what they send and print."""

import json
from typing import Any, Final

import pytest

from .conftest import Run, ScriptedGateway

TEXT: Final = "rtgw_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def key(**members: Any) -> dict[str, Any]:
    """A key as the API sends it."""
    return {
        "object": "key",
        "id": "key_0123456789ab",
        "prefix": TEXT[:11],
        "principal": "team-frontend",
        "name": "dashboard",
        "scopes": None,
        "source": "api",
        "created_at": "2026-11-29T00:00:00Z",
        "expires_at": "2027-01-02T00:00:00Z",
        "last_used_at": "2026-11-29T10:31:00Z",
        **members,
    }


def principal(**members: Any) -> dict[str, Any]:
    """A principal as the API sends it."""
    return {
        "object": "principal",
        "name": "team-frontend",
        "source": "api",
        "template": "shop-customers",
        "disabled": False,
        "scopes": ["runtimes:read"],
        "owner": "team-frontend",
        "own_only": True,
        "expires_at": None,
        "created_at": "2026-11-29T00:00:00Z",
        "warning": None,
        **members,
    }


def test_new_key_is_printed_alone_with_a_note_on_stderr(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(key(key=TEXT), 201)
    options = ("--template", "shop", "--scopes", "runtimes:read, native", "--name", "n", "--expires", "2027-01-01")
    result = run("keys", "create", "--principal", "team", *options)
    assert result.stdout == f"{TEXT}\n"
    assert TEXT not in result.stderr
    assert "printed only now" in result.stderr
    (sent,) = gateway.seen
    assert (sent.method, sent.path) == ("POST", "/v1/keys")
    assert sent.body == {
        "principal": "team",
        "template": "shop",
        "scopes": ["runtimes:read", "native"],
        "name": "n",
        "expires_at": "2027-01-01",
    }
    gateway.answers(key(key=TEXT), 201)
    assert json.loads(run("keys", "create", "--principal", "team", "-o", "json").stdout)["key"] == TEXT
    assert gateway.seen[-1].body == {"principal": "team"}


@pytest.mark.parametrize(("options", "overlap"), [((), 3600), (("--overlap", "0"), 0)])
def test_rotation_prints_the_new_key(gateway: ScriptedGateway, run: Run, options: tuple[str], overlap: int) -> None:
    gateway.answers(key(key=TEXT), 201)
    assert run("keys", "rotate", "key_1", *options).stdout == f"{TEXT}\n"
    (sent,) = gateway.seen
    assert (sent.method, sent.path, sent.body) == ("POST", "/v1/keys/key_1/rotate", {"overlap": overlap})


def test_keys_are_listed_in_80_columns(gateway: ScriptedGateway, run: Run) -> None:
    declared = key(id="key_ba9876543210", source="settings", name=None, expires_at=None, last_used_at=None)
    gateway.answers({"object": "list", "items": [key(), declared]})
    lines = run("keys", "list", "--principal", "team-frontend").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["NAME", "PRINCIPAL", "FROM", "EXPIRES", "LAST", "USED", "AGE"]
    assert lines[1].split() == ["dashboard", "team-frontend", "api", "2027-01-02", "2026-11-29", "0s"]
    assert lines[2].split() == ["key_ba9876543210", "team-frontend", "settings", "-", "-", "0s"]
    assert gateway.seen[0].query == [("principal", "team-frontend")]
    gateway.answers({"object": "list", "items": [key()]})
    assert run("keys", "list", "-o", "name").stdout == "key_0123456789ab\n"


def test_principals_are_listed_in_80_columns_with_their_warnings(gateway: ScriptedGateway, run: Run) -> None:
    gone = principal(name="orphan", template="gone", scopes=None, owner=None, warning="It has no rights.")
    admin = principal(name="backend", source="settings", template=None, scopes=["admin"], owner="backend")
    gateway.answers({"object": "list", "items": [principal(), admin, gone]})
    result = run("principals", "list")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["NAME", "FROM", "TEMPLATE", "DISABLED", "OWNER", "RIGHTS", "AGE"]
    assert lines[1].split() == ["team-frontend", "api", "shop-customers", "no", "team-frontend", "limited", "0s"]
    assert lines[2].split() == ["backend", "settings", "-", "no", "backend", "admin", "0s"]
    assert lines[3].split() == ["orphan", "api", "gone", "no", "-", "none", "0s"]
    assert result.stderr == "warning: orphan: It has no rights.\n"


def test_revocations_and_changes_of_principals_are_sent(gateway: ScriptedGateway, run: Run) -> None:
    for words, method, path in (
        (("keys", "revoke", "key_1"), "DELETE", "/v1/keys/key_1"),
        (("principals", "delete", "team"), "DELETE", "/v1/principals/team"),
        (("principals", "disable", "login/sub"), "POST", "/v1/principals/login%2Fsub/disable"),
        (("principals", "enable", "team"), "POST", "/v1/principals/team/enable"),
    ):
        gateway.answers(principal(disabled=words[1] == "disable"))
        result = run(*words)
        assert result.exit_code == 0
        assert (gateway.seen[-1].method, gateway.seen[-1].path) == (method, path)
        if method == "POST":
            assert (" yes " in result.stdout) is (words[1] == "disable")
