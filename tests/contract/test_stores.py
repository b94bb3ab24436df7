"""The store contract, on every database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.testing.store_contract import StoreContract
from gateway.testing.store_subject import StoreSubject
from tests.contract.store_subjects import postgres_stores, sqlite_stores


@pytest.fixture(params=["sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreSubject]:
    made = (
        sqlite_stores(tmp_path) if request.param == "sqlite" else postgres_stores(request.getfixturevalue("postgres"))
    )
    async with made as subject:
        yield subject


class TestStores(StoreContract):
    """SQLite and PostgreSQL keep the same promises."""
