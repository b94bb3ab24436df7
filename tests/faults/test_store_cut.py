"""The store goes away: before a create is written down, at its commit, after the provider's answer; or goes back."""

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
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import APIS
from tests.faults.world import a_name, world

PATIENT = {"wait_out": 60}
_DIES_AT_COMMIT = """
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON intents DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION die();
"""


async def test_case_18_without_a_store_nothing_is_created_and_everything_else_goes_on(
    store_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, store_place, deadline=1) as w, w.gateway() as gateway:
        for upstream in w.providers.values():
            assert (await w.create(upstream, f"before-{upstream.name}", f"b-{upstream.name}")).status == 201
        await store_place.cut()
        for upstream in w.providers.values():
            refused = await w.create(upstream, f"after-{upstream.name}", upstream.name)
            assert (refused.status, refused.code) == (503, "store_unavailable")
            assert (refused.json["source"], refused.json["retryable"]) == ("gateway", "same_request")
            assert float(refused.headers["Retry-After"]) > 0
            assert upstream.posts() == 1
            read = await get(w.client, gateway.url, f"/v1/runtimes?provider={upstream.name}")
            assert (read.status, len(read.json["items"])) == (200, 1)
        await store_place.mend()
        for upstream in w.providers.values():
            answer = await w.made(upstream, f"after-{upstream.name}", upstream.name)
            assert answer.status == 201
            assert len(upstream.live()) == 2


async def test_case_18_an_answer_that_cannot_be_written_down_is_given_and_settled_later(
    store_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, store_place, deadline=3) as w, w.gateway(creates={**PATIENT, "send_within": 0.5}):
        providers = list(w.providers.values())
        for upstream in providers:
            upstream.fault("hold_after", times=1)
        asked = [asyncio.create_task(w.create(upstream, "lost", upstream.name)) for upstream in providers]
        for upstream in providers:
            await upstream.emulator.until_waiting(1)
        await store_place.cut()
        for upstream in providers:
            upstream.emulator.release("create")
        answers = await asyncio.gather(*asked)
        await store_place.mend()

        async def is_readable() -> bool:
            try:
                return not await w.unsettled()
            except StoreUnavailable:
                return False

        await eventually(is_readable, "all intents are settled")
        for upstream, answer in zip(providers, answers, strict=True):
            assert answer.status == 201
            intent = await w.intent(upstream.name)
            assert (intent.state, intent.runtime_id) == (IntentState.DONE, answer.json["provider_id"])
            again = await w.made(upstream, "lost", upstream.name)
            assert (again.status, again.json["id"]) == (201, answer.json["id"])
            assert [made.id for made in upstream.made()] == [answer.json["provider_id"]]


@pytest.mark.parametrize("store_place", ["postgres"], indirect=True)
async def test_case_18_a_commit_that_fails_sends_nothing(store_place: StorePlace, tmp_path: Path) -> None:
    async with world(tmp_path, store_place, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["bctrl"], a_name()
        async with connected(store_place.settings["url"]) as connection:
            await connection.execute(_DIES_AT_COMMIT)
            refused = await w.create(upstream, name, "k")
            assert (refused.status, refused.code) == (503, "store_unavailable")
            assert upstream.posts() == 0
            await connection.execute("DROP TRIGGER dies ON intents")
        answer = await w.made(upstream, name, "k")
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_case_18_a_commit_whose_acknowledgement_is_lost_sends_nothing(
    api: str, sqlite_place: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is there, and nobody may send on it: not the one that did not hear of it, and others when it is free."""
    begin: Callable[..., Awaitable[Any]] = SqlStore.begin

    async def unheard(*arguments: Any, **options: Any) -> Any:
        await begin(*arguments, **options)
        raise StoreUnavailable("The connection was lost.", retry_after=1)

    quick = {"wait_out": 1, "lease_margin": 1, "send_within": 0.2}
    async with world(tmp_path, sqlite_place, deadline=0.5) as w, w.gateway(creates=quick):
        upstream, name = w.providers[api.replace("_", "-")], a_name()
        monkeypatch.setattr(SqlStore, "begin", unheard)
        refused = await w.create(upstream, name, "k")
        assert (refused.status, refused.code) == (503, "store_unavailable")
        monkeypatch.undo()
        assert upstream.posts() == 0
        assert (await w.intent("k")).state is IntentState.OPEN
        answer = await w.made(upstream, name, "k")
        assert answer.status == 201
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_case_18_a_store_that_is_restored_from_an_old_copy_makes_no_second_runtime(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    async with world(tmp_path, sqlite_place, deadline=1) as w:
        upstream, name = w.providers[api.replace("_", "-")], a_name()
        async with w.gateway(creates=PATIENT):
            pass
        await w.store.close()
        for path in sqlite_place.files():
            shutil.copy(path, copy)
        async with w.gateway(creates=PATIENT):
            upstream.fault("drop_after", times=1)
            await w.create(upstream, name, "k")
        sqlite_place.lose()
        for path in copy.iterdir():
            shutil.copy(path, tmp_path)
        await w.store.open()
        async with w.gateway(creates=PATIENT):
            answer = await w.made(upstream, name, "k")
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
