"""References in place of the secrets of an exported create."""

import re
from typing import Any

from gateway.services.moves.documents import filled, with_references
from gateway.storage.sealing import Keyring, new_key

SEALER = Keyring([new_key()])
CREATE: dict[str, Any] = {
    "kind": "durable",
    "name": "agent",
    "labels": {"team": "shop"},
    "config": {
        "version": "v2",
        "runtime_server": {"env": {"API_KEY": "canary-1", "MODE": "canary-2", "MORE": {"inner": ["canary-3"]}}},
        "secrets": {"secret_ids": ["5f1d7f4e-1f8e-4c39-8f69-0d8ad3ce2b11"]},
        "build": {"source": {"kind": "git", "ref": "https://user:canary-4@git.example/x"}},
        "tokens": {"a": "canary-5", "count": 3},
        "resources": {"cpu_cores": 4},
    },
    "launch": {"proxy": {"host": "proxy.example", "username": "me", "password": "canary-6"}},
}


def test_secrets_are_replaced_and_everything_else_is_as_it_was() -> None:
    exported = with_references(CREATE, SEALER)
    assert "canary" not in str(exported)
    config = exported["config"]
    assert config["secrets"] == CREATE["config"]["secrets"]
    assert config["resources"] == {"cpu_cores": 4}
    assert config["tokens"]["count"] == 3
    assert exported["labels"] == {"team": "shop"}
    assert exported["launch"]["proxy"]["username"] == "me"
    names = re.findall(r"'\$secret': '([^']+)'", str(exported))
    assert len(names) == 6
    assert all(re.fullmatch(r"[A-Z0-9_]+_[0-9A-F]{12}", name) for name in names)


def test_a_reference_is_the_same_for_the_same_value_and_member() -> None:
    again = {**CREATE, "name": "other"}
    assert with_references(CREATE, SEALER)["config"] == with_references(again, SEALER)["config"]
    one, two = (with_references({"password": value}, SEALER) for value in ("a", "b"))
    assert one != two
    assert with_references({"password": "a"}, Keyring([new_key()])) != one


def test_references_are_filled_with_their_values() -> None:
    exported = with_references({"password": "a", "rest": [{"env": {"KEY": "b"}}]}, SEALER)
    name = exported["password"]["$secret"]
    missing: set[str] = set()
    assert filled(exported, {name: "new"}, missing)["password"] == "new"
    assert missing == {exported["rest"][0]["env"]["KEY"]["$secret"]}


def test_an_object_that_is_no_reference_is_not_filled() -> None:
    document = {"a": {"$secret": 5}, "b": {"$secret": "X", "more": 1}, "c": {"$secrets": "X"}}
    missing: set[str] = set()
    assert filled(document, {"X": "value"}, missing) == document
    assert not missing
