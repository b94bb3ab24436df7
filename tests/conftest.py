"""Fixtures for all kinds of tests: a PostgreSQL cluster that the tests start themselves."""

import os
from collections.abc import Iterator

import pytest

from tests.postgres_cluster import PostgresCluster, binaries, postgres_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A running cluster. If PostgreSQL is not installed, the test is skipped, except in CI, where it fails."""
    if binaries() is None and not os.environ.get("CI"):
        pytest.skip("PostgreSQL is not installed")
    with postgres_cluster() as cluster:
        yield cluster
