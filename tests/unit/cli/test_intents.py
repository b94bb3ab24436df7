"""``intents``: lists, details, and decisions about parked creates."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import SecretStr
from ruamel.yaml import YAML

from gateway.cli.intents import STATES
from gateway.domain.ids import b64url
from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState, Look
from gateway.ports.store import Changes, Store, Version
from gateway.storage.opening import store_of
from gateway.storage.sqlite import SqliteStore
from tests.contract.store.subject import LEASE, begun, create, moved

from .store_shell import HERE, RUNTIME, Shell


def test_states_of_the_option_are_those_of_the_domain() -> None:
    assert set(STATES) == {str(state) for state in IntentState}


def test_intents_are_listed_newest_first_and_by_state(shell: Shell) -> None:
    ids = {state: shell.intent(state, name=f"of-{state}").id for state in STATES}
    assert shell("intents", "list", "-o", "name").stdout.split() == list(reversed(ids.values()))
    listed = shell.json("intents", "list", "--state", "unknown", "--state", "parked")
    assert [item["id"] for item in listed["items"]] == [ids["parked"], ids["unknown"]]
    assert listed["next_cursor"] is None
    table = shell("intents", "list", "--state", "done").stdout.splitlines()
    assert table[1].split()[:3] == ["of-done", "done", "main"]
    assert len(table) == 2


def test_intents_with_surplus_are_listed(shell: Shell) -> None:
    done = shell.intent("done")
    shell.intent("done", name="other")
    shell.store(lambda store: store.record_created(done.id, "second"))
    (item,) = shell.json("intents", "list", "--surplus")["items"]
    assert (item["id"], item["surplus"]) == (done.id, ["second"])


def test_each_page_of_intents_continues_after_the_previous_page(shell: Shell) -> None:
    ids = [shell.intent("done", name=f"n-{number}").id for number in range(5)]
    seen: list[str] = []
    cursor: list[str] = []
    while True:
        result = shell("intents", "list", "--limit", "2", "-o", "json", *cursor)
        page = json.loads(result.stdout)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            assert result.stderr == ""
            break
        cursor = ["--cursor", page["next_cursor"]]
        assert cursor[1] in result.stderr
    assert seen == ids[::-1]
    assert shell("intents", "list", "--cursor", "none").exit_code == 2


def test_intent_is_shown_without_its_encrypted_fields(shell: Shell) -> None:
    async def work(store: Store) -> Intent:
        new = create(
            namespace=HERE, key="k-1", request=b"sealed-request", provider_key="rtgw-1", before=Look(100.0, ())
        )
        intent = begun(await store.begin(new, "me", LEASE))
        changes = Changes(
            attempts=(IntentAttempt(1, "target-1", 1000.25, 1001.5, "sent", 502, None),),
            looks=(Look(2000.0, ("r-1", "r-2")),),
            outcome=b"sealed-outcome",
            reason="two matches",
        )
        return moved(await store.move(Version.of(intent), IntentState.UNKNOWN, Actor.HOLDER, "me", changes=changes))

    intent = shell.store(work)
    document = shell.json("intents", "show", intent.id)
    assert document["attempts"] == [
        {
            "epoch": 1,
            "target": "target-1",
            "first_send": "1970-01-01T00:16:40.250Z",
            "last_send": "1970-01-01T00:16:41.500Z",
            "phase": "sent",
            "status": 502,
            "made": None,
        }
    ]
    assert document["looks"] == [
        {"at": "1970-01-01T00:01:40.000Z", "when": "before the send", "found": []},
        {"at": "1970-01-01T00:33:20.000Z", "when": "after the send", "found": ["r-1", "r-2"]},
    ]
    assert (document["request_bytes"], document["outcome_bytes"]) == (14, 14)
    assert (document["key"], document["provider_key"], document["reason"]) == ("k-1", "rtgw-1", "two matches")
    assert YAML(typ="safe").load(shell("intents", "show", intent.id, "-o", "yaml").stdout) == document
    table = shell("intents", "show", intent.id)
    assert "sealed-" not in table.output
    lines = [line.split() for line in table.stdout.splitlines()]
    assert ["1", "1970-01-01T00:16:40.250Z", "1970-01-01T00:16:41.500Z", "sent", "502", "-"] in lines
    assert ["1970-01-01T00:33:20.000Z", "after", "the", "send", "r-1,", "r-2"] in lines
    assert ["1970-01-01T00:01:40.000Z", "before", "the", "send", "nothing"] in lines


def test_every_field_of_an_intent_is_shown(shell: Shell) -> None:
    renamed = {"runtime_id": "provider_runtime_id", "request": "request_bytes", "outcome": "outcome_bytes"}
    shown = set(shell.json("intents", "show", shell.intent().id))
    in_lists, hidden = {"before"}, {"digest"}
    assert {renamed.get(name, name) for name in Intent.__struct_fields__} - in_lists - hidden == shown - {"object"}


def test_unknown_intent_is_not_found(shell: Shell) -> None:
    for command in (("show", "in_none"), ("resolve", "in_none", "--absent")):
        result = shell("intents", *command)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: not_found: there is no intent in_none")


@pytest.mark.parametrize(
    "made", [RUNTIME, RUNTIME.upper(), f"main.{RUNTIME}", f"open.{b64url('acme/research')}~{RUNTIME}"]
)
def test_parked_create_is_done_with_the_runtime_that_the_operator_names(shell: Shell, made: str) -> None:
    """The operator gives the public id, under any name of the provider, or the provider's id; the latter is kept."""
    parked = shell.intent()
    result = shell("intents", "resolve", parked.id, "--made", made, "--note", "seen by hand", "-o", "json")
    assert result.exit_code == 0, result.stderr
    resolved = json.loads(result.stdout)
    assert (resolved["state"], resolved["provider_runtime_id"]) == ("done", RUNTIME)
    assert result.stderr.startswith(f"it is done with the runtime {RUNTIME}: ")
    (line,) = shell.json("intents", "decisions")["items"]
    del line["at"]
    assert line == {
        "object": "decision",
        "operator": "olga",
        "decision": "made",
        "intent": parked.id,
        "provider_runtime_id": RUNTIME,
        "note": "seen by hand",
    }


def test_parked_create_is_absent_when_the_operator_says_so(shell: Shell) -> None:
    parked = shell.intent()
    result = shell("intents", "resolve", parked.id, "--absent", "--operator", "otto")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == ["one", "absent"]
    assert result.stderr.startswith("it counts as not created: ")
    table = shell("intents", "decisions").stdout.splitlines()
    assert table[1].split() == [parked.id, "absent", "otto", "-", "0s"]


@pytest.mark.parametrize("state", [state for state in STATES if state != "parked"])
def test_decision_about_a_create_that_is_not_parked_is_refused(shell: Shell, state: str) -> None:
    intent = shell.intent(state)
    for decision in (("--absent",), ("--made", RUNTIME)):
        result = shell("intents", "resolve", intent.id, *decision)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: not_parked: {intent.id} is {state}, and only a parked intent needs")
    assert shell.store(lambda store: store.get(intent.id)) == intent
    assert shell.json("intents", "decisions")["items"] == []


def test_outcome_recorded_in_the_meantime_is_kept(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    parked = shell.intent()
    decide = SqliteStore.decide

    async def late(store: SqliteStore, *args: Any, **kwargs: Any) -> Any:
        await store.record_created(parked.id, "other")
        return await decide(store, *args, **kwargs)

    monkeypatch.setattr(SqliteStore, "decide", late)
    result = shell("intents", "resolve", parked.id, "--absent")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: not_parked: {parked.id} is done")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give exactly one of: --made REF, --absent"),
        (("--absent", "--made", RUNTIME), "Give exactly one of: --made REF, --absent"),
        (("--made", f"elsewhere.{RUNTIME}"), "that is a runtime of elsewhere, but this create was sent to main"),
        (("--made", f"open.{b64url('acme/other')}~{RUNTIME}"), "that is a runtime in the scope acme/other"),
        (("--made", f"gone.{RUNTIME}"), "there is no provider gone in the settings"),
        (("--made", "main.nonsense"), "no runtime of this provider has such an id"),
        (("--made", "two words"), "expected a runtime's id, or the provider's own id"),
        (("--made", ""), "expected a runtime's id, or the provider's own id"),
        (("--absent", "--operator", " "), "a name must have 1 to 200 characters"),
        (("--absent", "--note", "x" * 2001), "a note must have at most 2000 characters"),
    ],
)
def test_invalid_decision_is_refused(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    parked = shell.intent()
    result = shell("intents", "resolve", parked.id, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert shell.store(lambda store: store.get(parked.id)) == parked


def test_commands_work_while_a_gateway_has_the_store_open(shell: Shell) -> None:
    parked = shell.intent()

    async def work(store: Store) -> Intent | None:
        for command in (("resolve", parked.id, "--absent"), ("list",), ("decisions",)):
            result = await asyncio.to_thread(shell, "intents", *command)
            assert result.exit_code == 0, result.stderr
        return await store.get(parked.id)

    after = shell.store(work)
    assert after is not None
    assert after.state is IntentState.ABSENT


def test_commands_use_the_store_of_the_settings(shell: Shell) -> None:
    from gateway.cli.server import load

    settings = load(str(shell.file)).settings.store
    assert settings.file == shell.database
    assert isinstance(store_of(settings), SqliteStore)
    assert settings.url == SecretStr(f"sqlite:///{shell.database}")
