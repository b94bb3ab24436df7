"""Scripted answers and exceptions for what goes through an ``aiohttp.ClientSession``, by aioresponses: for tables of
statuses, headers and client exceptions. What a connection does is tested with real servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import aiohttp
from aioresponses import aioresponses


class ScriptedResponse(aiohttp.ClientResponse):
    """aioresponses 0.7.9 leaves out ``stream_writer``, which aiohttp 3.14 requires and reads ``output_size`` of."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"stream_writer": SimpleNamespace(output_size=0), **options})


@contextmanager
def scripted_answers() -> Iterator[aioresponses]:
    """Answer the requests of all client sessions, each request once by the first answer that fits it."""
    with patch("aioresponses.core.ClientResponse", ScriptedResponse), aioresponses() as answers:
        yield answers
