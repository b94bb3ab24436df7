"""What every kind of test may need: a PostgreSQL of the tests' own."""

import os
from collections.abc import Iterator

import pytest

from gateway.testing.postgres_cluster import PostgresCluster, binaries, postgres_cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A running cluster. Where PostgreSQL is missing the test is skipped, except in CI, which installs it."""
    if binaries() is None and not os.environ.get("CI"):
        pytest.skip("PostgreSQL is not installed")
    with postgres_cluster() as cluster:
        yield cluster
