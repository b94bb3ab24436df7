"""What a request's ``Cache-Control`` asks for."""

import pytest

from gateway.api.cache.cache import Terms
from gateway.api.cache.control import terms_of


@pytest.mark.parametrize(
    ("sent", "terms"),
    [
        (None, Terms()),
        ("", Terms()),
        ("no-cache", Terms(-1)),
        ("No-Cache", Terms(-1)),
        ("max-age=0", Terms(-1)),
        ("max-age=30, no-cache", Terms(-1)),
        ("max-age=30", Terms(30)),
        ('max-age="30"', Terms(30)),
        ("max-age=30, max-age=5", Terms(5)),
        ("no-store", Terms(-1, store=False)),
        ("max-age=-1", Terms()),
        ("max-age=soon", Terms()),
        ("max-age=²", Terms()),
        ("max-stale=60, only-if-cached, xno-cache", Terms()),
    ],
)
def test_a_cache_control_is_read_and_what_is_not_understood_is_ignored(sent: str | None, terms: Terms) -> None:
    assert terms_of(sent) == terms
