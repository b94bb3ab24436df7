"""Fixtures for all kinds of tests: a PostgreSQL cluster and a Redis that the tests start themselves."""

import gc
import os
from collections.abc import Iterator

import pytest

from tests import redis_server
from tests.postgres_cluster import PostgresCluster, binaries, postgres_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A running cluster. If PostgreSQL is not installed, the test is skipped, except in CI, where it fails."""
    if binaries() is None and not os.environ.get("CI"):
        pytest.skip("PostgreSQL is not installed")
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture
def redis() -> Iterator[redis_server.RedisServer]:
    """A running Redis. If it is not installed, the test is skipped, except in CI, where it fails."""
    if redis_server.PROGRAM is None and not os.environ.get("CI"):
        pytest.skip("Redis is not installed")
    with redis_server.redis_server() as server:
        yield server


def pytest_collection_finish() -> None:
    """Exclude what was collected from garbage collections: thousands of tests would make each take a second."""
    gc.collect()
    gc.freeze()
