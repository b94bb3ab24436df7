"""The store's commands on PostgreSQL."""

import asyncio
import base64
import json
from pathlib import Path

from click.testing import CliRunner, Result
from pydantic import SecretStr

from gateway.cli import cli
from gateway.domain.intents import IntentState
from gateway.storage.postgres import PostgresStore
from tests.contract.store.subject import LEASE, begun, bring, create
from tests.contract.store_subjects import database
from tests.postgres_cluster import PostgresCluster

KEY = base64.b64encode(bytes(range(32))).decode()


async def test_upgrade_list_and_resolve_work_on_postgresql(postgres: PostgresCluster, tmp_path: Path):
    """Also while a gateway has the store open. Before the upgrade, the commands name the missing upgrade."""
    async with database(postgres) as dsn:
        settings = tmp_path / "gateway.yaml"
        settings.write_text(
            f"version: 1\nauth: none\nstore: {{url: '{dsn}', encryption_keys: ['{KEY}']}}\n"
            "providers: {main: {api: durable, base_url: 'http://durable.test', token: t, scope: acme/research}}\n"
        )

        async def shell(*arguments: str) -> Result:
            result = await asyncio.to_thread(CliRunner().invoke, cli, [*arguments, "--config", str(settings)])
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
            return result

        assert (await shell("db", "status")).exit_code == 1
        assert "run runtime-gateway db upgrade" in (await shell("intents", "list")).stderr
        assert json.loads((await shell("db", "upgrade", "-o", "json")).stdout)["store"] == "PostgreSQL"
        assert (await shell("db", "status")).exit_code == 0
        store = PostgresStore(SecretStr(dsn))
        await store.open()
        try:
            parked = await bring(store, begun(await store.begin(create(), "me", LEASE)), IntentState.PARKED)
            assert (await shell("intents", "list", "-o", "name")).stdout == f"{parked.id}\n"
            done = await shell("intents", "resolve", parked.id, "--made", "r-1", "--operator", "olga", "-o", "json")
            assert json.loads(done.stdout)["state"] == "done"
            (decided,) = await store.decisions(5)
            assert (decided.operator, decided.runtime_id) == ("olga", "r-1")
        finally:
            await store.close()
