"""The store contract, on every database and in memory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.contract.store.contract import StoreContract
from tests.contract.store.subject import StoreSubject
from tests.contract.store_subjects import memory_stores, postgres_stores, sqlite_stores


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreSubject]:
    made: AbstractAsyncContextManager[StoreSubject]
    if request.param == "memory":
        made = memory_stores()
    elif request.param == "sqlite":
        made = sqlite_stores(tmp_path)
    else:
        made = postgres_stores(request.getfixturevalue("postgres"))
    async with made as subject:
        yield subject


class TestStores(StoreContract):
    """SQLite, PostgreSQL and the store in memory fulfil the same contract."""
