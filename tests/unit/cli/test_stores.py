"""The commands that work on the store of a gateway: its schema, its intents, and decisions about them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from ruamel.yaml import YAML

from gateway.cli import cli
from gateway.cli.intent_documents import STATES
from gateway.domain.ids import b64url
from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState, Look, namespace_of
from gateway.ports.store import Changes, Store, Version
from gateway.storage.migrations import migrations
from gateway.storage.opening import store_of
from gateway.storage.sqlite import SqliteStore
from gateway.testing.store_subject import LEASE, begun, bring, create, moved

SETTINGS = """\
version: 1
auth: {keys: {ci: {key: 0123456789abcdef}}}
store: {url: 'sqlite:///data/store.db'}
providers:
  main: {api: durable, base_url: 'http://durable.test', token: t0ken, scope: acme/research}
  open: {api: durable, base_url: 'http://durable.test/', token: other}
  elsewhere: {api: durable, base_url: 'http://other.test', token: t0ken, scope: acme/research}
"""
HERE = namespace_of("durable", "http://durable.test", "account-1", "acme/research")
RUNTIME = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"
NEWEST = migrations()[-1].version


class Shell:
    """Runs commands with the settings file of a test, and reaches into its store."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "gateway.yaml"
        self.database = folder / "data" / "store.db"
        self.database.parent.mkdir()
        self.file.write_text(SETTINGS)

    def __call__(self, *arguments: str) -> Result:
        result = CliRunner().invoke(cli, [*arguments, "--config", str(self.file)], env={"LOGNAME": "olga"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "-o", "json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def store(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        async def working() -> Any:
            store = SqliteStore(self.database)
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(working())

    def intent(self, state: str = "parked", **options: Any) -> Intent:
        async def work(store: Store) -> Intent:
            new = create(**{"namespace": HERE, "provider": "main", **options})
            return await bring(store, begun(await store.begin(new, "me", LEASE)), IntentState(state))

        intent: Intent = self.store(work)
        return intent


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """Where there is no store yet."""
    return Shell(tmp_path)


@pytest.fixture
def shell(bare: Shell) -> Shell:
    asyncio.run(SqliteStore(bare.database).upgrade())
    return bare


def files(shell: Shell) -> list[str]:
    return sorted(path.name for path in shell.database.parent.iterdir())


def test_the_status_of_a_store_that_there_is_not_is_a_failure_and_makes_nothing(bare: Shell) -> None:
    result = bare("db", "status", "-o", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["version"] == 0
    assert "run runtime-gateway db upgrade" in result.stderr
    assert files(bare) == []


def test_an_upgrade_makes_the_store_and_its_key_and_can_be_repeated(bare: Shell) -> None:
    for _ in range(2):
        assert bare.json("db", "upgrade") == {
            "object": "store_schema",
            "store": str(bare.database),
            "version": NEWEST,
            "known_version": NEWEST,
            "readable_from": 1,
            "usable": True,
            "fault": None,
        }
        assert {"store.db", "store.db.key"} <= set(files(bare))
    result = bare("db", "status")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [str(bare.database), str(NEWEST), str(NEWEST), "true"]


def test_an_upgrade_of_a_database_whose_key_is_gone_ends_with_78(shell: Shell) -> None:
    result = shell("db", "upgrade")
    assert result.exit_code == 78
    assert result.stderr.startswith("error: key_unusable: the store ")
    assert len(result.stderr.splitlines()) == 1


def test_a_store_that_cannot_be_used_is_told_with_its_cause(bare: Shell) -> None:
    bare.database.write_bytes(b"no database " * 1000)
    for command in (("db", "status"), ("intents", "list"), ("intents", "show", "in_1"), ("intents", "decisions")):
        result = bare(*command)
        assert result.exit_code == 1
        first, cause = result.stderr.splitlines()
        assert first.startswith("error: store_unavailable: The store cannot be ")
        assert cause == "  DatabaseError: file is not a database"


def test_no_password_of_postgresql_is_shown(bare: Shell) -> None:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    url = "postgresql://gateway:s3cr3t@127.0.0.1:1/gateway"
    bare.file.write_text(SETTINGS.replace("'sqlite:///data/store.db'", f"'{url}', encryption_keys: ['{key}']"))
    for command in (("db", "status"), ("intents", "list"), ("config", "show")):
        result = bare(*command)
        assert result.exit_code == (0 if command == ("config", "show") else 1)
        assert "s3cr3t" not in result.output
        assert key not in result.output


def test_faults_of_the_settings_end_every_command_with_78(bare: Shell) -> None:
    bare.file.write_text(SETTINGS.replace("version: 1", "version: 2"))
    for command in (("db", "status"), ("db", "upgrade"), ("intents", "list"), ("intents", "resolve", "x", "--absent")):
        result = bare(*command)
        assert result.exit_code == 78
        assert "version: this gateway reads version 1 only" in result.stderr


def test_the_states_are_those_that_there_are() -> None:
    assert set(STATES) == {str(state) for state in IntentState}


def test_intents_are_listed_newest_first_and_by_state(shell: Shell) -> None:
    ids = {state: shell.intent(state, name=f"of-{state}").id for state in STATES}
    assert shell("intents", "list", "-o", "name").stdout.split() == list(reversed(ids.values()))
    told = shell.json("intents", "list", "--state", "unknown", "--state", "parked")
    assert [item["id"] for item in told["items"]] == [ids["parked"], ids["unknown"]]
    assert told["next_cursor"] is None
    table = shell("intents", "list", "--state", "done").stdout.splitlines()
    assert table[1].split()[:5] == [ids["done"], "done", "main", "acme/research", "of-done"]
    assert len(table) == 2


def test_intents_with_surplus_are_listed(shell: Shell) -> None:
    done = shell.intent("done")
    shell.intent("done", name="other")
    shell.store(lambda store: store.record_created(done.id, "second"))
    (item,) = shell.json("intents", "list", "--surplus")["items"]
    assert (item["id"], item["surplus"]) == (done.id, ["second"])


def test_pages_of_intents_go_on_where_the_one_before_ended(shell: Shell) -> None:
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


def test_an_intent_is_shown_with_all_but_what_is_sealed(shell: Shell) -> None:
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
    told = set(shell.json("intents", "show", shell.intent().id))
    in_lists, hidden = {"before"}, {"digest"}
    assert {renamed.get(name, name) for name in Intent.__dataclass_fields__} - in_lists - hidden == told - {"object"}


def test_an_intent_that_there_is_not_is_not_found(shell: Shell) -> None:
    for command in (("show", "in_none"), ("resolve", "in_none", "--absent")):
        result = shell("intents", *command)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: not_found: there is no intent in_none")


@pytest.mark.parametrize(
    "made",
    [
        RUNTIME,
        RUNTIME.upper(),
        f"main.{RUNTIME}",
        f"open.{b64url('acme/research')}~{RUNTIME}",
    ],
)
def test_a_parked_create_is_done_with_the_runtime_that_a_person_names(shell: Shell, made: str) -> None:
    """By its public id, under any name of the provider, or by the provider's own; always kept as the provider's."""
    parked = shell.intent()
    result = shell("intents", "resolve", parked.id, "--made", made, "--note", "seen by hand", "-o", "json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["state"], told["provider_runtime_id"]) == ("done", RUNTIME)
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


def test_a_parked_create_is_absent_when_a_person_says_so(shell: Shell) -> None:
    parked = shell.intent()
    result = shell("intents", "resolve", parked.id, "--absent", "--operator", "otto")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == [parked.id, "absent"]
    assert result.stderr.startswith("it counts as not made: ")
    table = shell("intents", "decisions").stdout.splitlines()
    assert table[1].split()[1:] == ["otto", "absent", parked.id, "-", "-"]


@pytest.mark.parametrize("state", [state for state in STATES if state != "parked"])
def test_only_a_parked_create_waits_for_a_decision(shell: Shell, state: str) -> None:
    intent = shell.intent(state)
    for decision in (("--absent",), ("--made", RUNTIME)):
        result = shell("intents", "resolve", intent.id, *decision)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: not_parked: {intent.id} is {state}, and only a parked one waits")
    assert shell.store(lambda store: store.get(intent.id)) == intent
    assert shell.json("intents", "decisions")["items"] == []


def test_what_was_decided_meanwhile_stands(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
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
        ((), "say either --made REF or --absent"),
        (("--absent", "--made", RUNTIME), "say either --made REF or --absent"),
        (("--made", f"elsewhere.{RUNTIME}"), "that is a runtime of elsewhere, and this create went to main"),
        (("--made", f"open.{b64url('acme/other')}~{RUNTIME}"), "that is a runtime in the scope acme/other"),
        (("--made", f"gone.{RUNTIME}"), "there is no provider gone in the settings"),
        (("--made", "main.nonsense"), "there is no runtime of this id"),
        (("--made", "two words"), "this is a runtime's id, or the provider's own id of it"),
        (("--made", ""), "this is a runtime's id, or the provider's own id of it"),
        (("--absent", "--operator", " "), "a name has 1 to 200 characters"),
        (("--absent", "--note", "x" * 2001), "a note has at most 2000 characters"),
    ],
)
def test_a_decision_that_makes_no_sense_is_not_taken(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    parked = shell.intent()
    result = shell("intents", "resolve", parked.id, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert shell.store(lambda store: store.get(parked.id)) == parked


def test_commands_work_beside_a_gateway_that_has_the_store_open(shell: Shell) -> None:
    parked = shell.intent()

    async def work(store: Store) -> Intent | None:
        for command in (("resolve", parked.id, "--absent"), ("list",), ("decisions",)):
            result = await asyncio.to_thread(shell, "intents", *command)
            assert result.exit_code == 0, result.stderr
        return await store.get(parked.id)

    after = shell.store(work)
    assert after is not None
    assert after.state is IntentState.ABSENT


def test_the_store_of_the_settings_is_the_one_that_is_used(shell: Shell) -> None:
    from gateway.cli.stores import settings_of

    settings = settings_of(str(shell.file)).store
    assert settings.file == shell.database
    assert isinstance(store_of(settings), SqliteStore)
    assert settings.url == SecretStr(f"sqlite:///{shell.database}")
