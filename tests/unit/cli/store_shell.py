"""Runs the commands that use a gateway's store directly, each with the settings file and the store of its test."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.domain.intents import Intent, IntentState, namespace_of
from gateway.ports.store import Store
from gateway.storage.migrations import migrations
from gateway.storage.sqlite import SqliteStore
from tests.contract.store.subject import LEASE, begun, bring, create

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
    """Runs commands with the settings file of a test, and accesses its store."""

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
