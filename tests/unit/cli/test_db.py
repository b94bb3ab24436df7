"""``db``, and what all commands on a gateway's store have in common: unusable stores, faulty settings, secrets."""

import json

from gateway.storage.migrations import migrations

from .store_shell import NEWEST, RUNTIME, SETTINGS, Shell


def files(shell: Shell) -> list[str]:
    return sorted(path.name for path in shell.database.parent.iterdir())


def test_status_of_a_missing_store_fails_and_creates_nothing(bare: Shell) -> None:
    result = bare("db", "status", "-o", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["version"] == 0
    assert "run runtime-gateway db upgrade" in result.stderr
    assert files(bare) == []


def test_upgrade_creates_the_store_and_its_key_and_can_be_repeated(bare: Shell) -> None:
    for _ in range(2):
        assert bare.json("db", "upgrade") == {
            "object": "store_schema",
            "store": str(bare.database),
            "version": NEWEST,
            "known_version": NEWEST,
            "readable_from": migrations()[-1].readable_from,
            "usable": True,
            "fault": None,
        }
        assert {"store.db", "store.db.key"} <= set(files(bare))
    result = bare("db", "status")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [str(bare.database), str(NEWEST), str(NEWEST), "true"]


def test_upgrade_of_a_database_without_its_key_exits_with_78(shell: Shell) -> None:
    result = shell("db", "upgrade")
    assert result.exit_code == 78
    assert result.stderr.startswith("error: store.encryption_keys: the store ")
    assert len(result.stderr.splitlines()) == 1


def test_unusable_store_is_reported_with_its_cause(bare: Shell) -> None:
    bare.database.write_bytes(b"no database " * 1000)
    for command in (("db", "status"), ("intents", "list"), ("intents", "show", "in_1"), ("intents", "decisions")):
        result = bare(*command)
        assert result.exit_code == 1
        first, cause = result.stderr.splitlines()
        assert first.startswith("error: store_unavailable: The store cannot be ")
        assert cause == "  DatabaseError: file is not a database"


def test_password_of_postgresql_is_never_shown(bare: Shell) -> None:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    url = "postgresql://gateway:s3cr3t@127.0.0.1:1/gateway"
    bare.file.write_text(SETTINGS.replace("'sqlite:///data/store.db'", f"'{url}', encryption_keys: ['{key}']"))
    for command in (("db", "status"), ("intents", "list"), ("config", "show")):
        result = bare(*command)
        assert result.exit_code == (0 if command == ("config", "show") else 1)
        assert "s3cr3t" not in result.output
        assert key not in result.output


def test_faulty_settings_exit_with_78_in_every_command(bare: Shell) -> None:
    bare.file.write_text(SETTINGS.replace("version: 1", "version: 2"))
    for command in (("db", "status"), ("db", "upgrade"), ("intents", "list"), ("intents", "resolve", "x", "--absent")):
        result = bare(*command)
        assert result.exit_code == 78
        assert "version: this gateway reads version 1 only" in result.stderr


def test_commands_on_the_store_need_no_secret_of_another_section(bare: Shell) -> None:
    """A provider's token may be readable to the gateway's service only."""
    unreadable = SETTINGS.replace("token: t0ken", "token: 'file:/run/none'")
    bare.file.write_text(unreadable.replace("token: other", "token: '${NOT_SET}'"))
    assert bare("config", "check").exit_code == 78
    assert bare("db", "upgrade").exit_code == 0
    parked = bare.intent()
    for command in (
        ("db", "status"),
        ("intents", "list"),
        ("intents", "show", parked.id),
        ("intents", "resolve", parked.id, "--made", RUNTIME),
        ("intents", "decisions"),
    ):
        result = bare(*command)
        assert result.exit_code == 0, result.stderr


def test_runtime_of_a_provider_whose_settings_are_unreadable_needs_its_own_id(shell: Shell) -> None:
    parked = shell.intent()
    shell.file.write_text(SETTINGS.replace("token: t0ken", "token: 'file:/run/none'"))
    result = shell("intents", "resolve", parked.id, "--made", f"main.{RUNTIME}")
    assert result.exit_code == 2
    assert "the settings of the provider main cannot be read here" in result.stderr
    assert "give the provider's own id of the runtime, or leave out --config" in " ".join(result.stderr.split())
    assert shell.store(lambda store: store.get(parked.id)) == parked
