"""The store fails before a create is written, at its commit, or after the response; or it is restored from a copy."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import IntentState
from gateway.storage.sql_store import SqlStore
from tests.contract.store_subjects import connected
from tests.faults.callers import get
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS
from tests.faults.world import unique_name, world

PATIENT = {"wait_out": 60}
_DIES_AT_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON intents DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION die();
"""


async def test_without_a_store_creates_fail_and_reads_work(store_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-18."""
    async with world(tmp_path, store_location, deadline=1) as w, w.gateway() as gateway:
        for upstream in w.providers.values():
            assert (await w.create(upstream, f"before-{upstream.name}", f"b-{upstream.name}")).status == 201
        await store_location.cut()
        for upstream in w.providers.values():
            refused = await w.create(upstream, f"after-{upstream.name}", upstream.name)
            assert (refused.status, refused.code) == (503, "store_unavailable")
            assert (refused.json["source"], refused.json["retryable"]) == ("gateway", "same_request")
            assert float(refused.headers["Retry-After"]) > 0
            assert upstream.posts() == 1
            read = await get(w.client, gateway.url, f"/v1/runtimes?provider={upstream.name}")
            assert (read.status, len(read.json["items"])) == (200, 1)
        await store_location.restore()
        for upstream in w.providers.values():
            response = await w.made(upstream, f"after-{upstream.name}", upstream.name)
            assert response.status == 201
            assert len(upstream.live()) == 2


async def test_response_that_cannot_be_stored_is_returned_and_settled_later(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-18."""
    async with world(tmp_path, store_location, deadline=3) as w, w.gateway(creates={**PATIENT, "send_within": 0.5}):
        providers = list(w.providers.values())
        for upstream in providers:
            upstream.fault("hold_after", times=1)
        pending = [asyncio.create_task(w.create(upstream, "lost", upstream.name)) for upstream in providers]
        for upstream in providers:
            await upstream.emulator.until_waiting(1)
        await store_location.cut()
        for upstream in providers:
            upstream.emulator.release("create")
        responses = await asyncio.gather(*pending)
        await store_location.restore()

        async def is_readable() -> bool:
            try:
                return not await w.unsettled()
            except StoreUnavailable:
                return False

        await eventually(is_readable, "all intents are settled")
        for upstream, response in zip(providers, responses, strict=True):
            assert response.status == 201
            intent = await w.intent(upstream.name)
            assert (intent.state, intent.runtime_id) == (IntentState.DONE, response.json["provider_id"])
            again = await w.made(upstream, "lost", upstream.name)
            assert (again.status, again.json["id"]) == (201, response.json["id"])
            assert [made.id for made in upstream.made()] == [response.json["provider_id"]]


@pytest.mark.parametrize("store_location", ["postgres"], indirect=True)
async def test_failed_commit_sends_nothing(store_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-18."""
    async with world(tmp_path, store_location, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["bctrl"], unique_name()
        async with connected(store_location.settings["url"]) as connection:
            await connection.execute(_DIES_AT_COMMIT)
            refused = await w.create(upstream, name, "k")
            assert (refused.status, refused.code) == (503, "store_unavailable")
            assert upstream.posts() == 0
            await connection.execute("DROP TRIGGER dies ON intents")
        response = await w.made(upstream, name, "k")
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_commit_whose_acknowledgement_is_lost_sends_nothing(
    api: str, sqlite_location: StoreLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent exists. The gateway that missed the acknowledgement does not send, and others do once its lease ends.
    See docs/fault-cases.md#fault-18."""
    begin: Callable[..., Awaitable[Any]] = SqlStore.begin

    async def unacknowledged(*arguments: Any, **options: Any) -> Any:
        await begin(*arguments, **options)
        raise StoreUnavailable("The connection was lost.", retry_after=1)

    quick = {"wait_out": 1, "lease_margin": 1, "send_within": 0.2}
    async with world(tmp_path, sqlite_location, deadline=0.5) as w, w.gateway(creates=quick):
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        monkeypatch.setattr(SqlStore, "begin", unacknowledged)
        refused = await w.create(upstream, name, "k")
        assert (refused.status, refused.code) == (503, "store_unavailable")
        monkeypatch.undo()
        assert upstream.posts() == 0
        assert (await w.intent("k")).state is IntentState.OPEN
        response = await w.made(upstream, name, "k")
        assert response.status == 201
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_store_restored_from_an_old_copy_leads_to_no_second_runtime(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-18."""
    copy = tmp_path / "copy"
    copy.mkdir()
    async with world(tmp_path, sqlite_location, deadline=1) as w:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        async with w.gateway(creates=PATIENT):
            pass
        await w.store.close()
        for path in sqlite_location.files():
            shutil.copy(path, copy)
        async with w.gateway(creates=PATIENT):
            upstream.fault("drop_after", times=1)
            await w.create(upstream, name, "k")
        sqlite_location.lose()
        for path in copy.iterdir():
            shutil.copy(path, tmp_path)
        await w.store.open()
        async with w.gateway(creates=PATIENT):
            response = await w.made(upstream, name, "k")
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
