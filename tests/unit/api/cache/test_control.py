"""The ``Cache-Control`` of a request."""

import pytest

from gateway.api.cache.cache import CacheDirectives
from gateway.api.cache.control import parse_cache_control


@pytest.mark.parametrize(
    ("sent", "directives"),
    [
        (None, CacheDirectives()),
        ("", CacheDirectives()),
        ("no-cache", CacheDirectives(-1)),
        ("No-Cache", CacheDirectives(-1)),
        ("max-age=0", CacheDirectives(-1)),
        ("max-age=30, no-cache", CacheDirectives(-1)),
        ("max-age=30", CacheDirectives(30)),
        ('max-age="30"', CacheDirectives(30)),
        ("max-age=30, max-age=5", CacheDirectives(5)),
        ("no-store", CacheDirectives(-1, store=False)),
        ("max-age=-1", CacheDirectives()),
        ("max-age=soon", CacheDirectives()),
        ("max-age=²", CacheDirectives()),
        ("max-stale=60, only-if-cached, xno-cache", CacheDirectives()),
    ],
)
def test_cache_control_is_parsed_and_unknown_directives_are_ignored(
    sent: str | None, directives: CacheDirectives
) -> None:
    assert parse_cache_control(sent) == directives
