"""The page about limits is complete: it has every setting that is a limit, with the value in the code."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from gateway.api.auth import ADDRESSES, MOST
from gateway.api.dialects import _MAX_QUERY_FIELDS
from gateway.api.idempotency import MAX_LENGTH
from gateway.domain.field_errors import MAX_DETAIL, MAX_ERROR_BYTES, MAX_ERRORS, MAX_POINTER
from gateway.domain.json_numbers import MAX_SLOW_NUMBERS
from gateway.domain.list_progress import MAX_PROVIDER_CURSOR
from gateway.http.bodies import MAX_DEPTH, MAX_MEMBERS, MAX_VALUES
from gateway.http.native_addresses import UNREAD_BYTES
from gateway.http.server import MOST_TURNED_AWAY
from gateway.http.tls import HANDSHAKE_SECONDS
from gateway.http.uploads import SLOWEST
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.redaction import MAX_CODE, MAX_REQUEST_ID
from gateway.ports.redaction import MAX_DETAIL as MAX_DETAIL_SHOWN
from gateway.services.access.administration import MAX_KEYS
from gateway.services.list_cursors import _MAX_CURSOR
from gateway.services.participants import FILL_PAGES
from gateway.services.sent_spec import LAST_WRITES, MAX_WAITING, MEMORY_BYTES
from gateway.settings import Settings
from gateway.storage.sqlite import _WAITING
from gateway.upstream.http1.connection import MAX_INTERIM
from tests.unit.settings.test_documented import settings_of

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| what |", "|---"))
]
BOUNDS = re.compile(
    r"\.(max_(?!rest\b|backoff\b|age\b)\w+|\w+_timeout|timeout|grace|in_flight|waiting|connections|settling_in_flight)$"
)

OURS = {path: default for path, default in settings_of(Settings) if not path.startswith("providers.")}
THEIRS = {f"providers.NAME.{path}": default for path, default in settings_of(ProviderSettings)}
ALL = OURS | THEIRS


def general(path: str) -> str:
    return re.sub(r"policies\.\w+\.", "policies.CLASS.", path) if path.endswith(("in_flight", "waiting")) else path


def by_setting(setting: str) -> list[str]:
    return next(row for row in ROWS if f"`{setting}`" in row[2])


def as_documented(value: Any) -> str:
    """Return a default in the form of the page."""
    if isinstance(value, int) and value >= 1 << 10 and value % (1 << 10) == 0:
        return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value >> 10} KiB"
    return f"{value:g}"


@pytest.mark.parametrize("path", [path for path in ALL if BOUNDS.search(path)])
def test_every_limit_setting_has_a_row_with_its_default(path: str) -> None:
    limit = by_setting(general(path))[1]
    if ALL[path] is not None:  # the page describes a derived default in words
        assert re.search(rf"\b{as_documented(ALL[path])}\b", limit), limit


def test_every_setting_on_the_page_exists() -> None:
    known = {general(path) for path in ALL} | {"providers.NAME.deadlines"}
    named = {setting for row in ROWS for setting in re.findall(r"`([a-zA-Z_.]+)`", row[2])}
    assert named <= known
    assert len(named) > 20


@pytest.mark.parametrize(
    ("beginning", "values"),
    [
        ("depth of a JSON body", [MAX_DEPTH]),
        ("receiving a body that is streamed", [SLOWEST]),
        ("a TLS handshake", [HANDSHAKE_SECONDS]),
        ("connections beyond that", [MOST_TURNED_AWAY]),
        ("members of one object", [MAX_MEMBERS]),
        ("members and items", [MAX_VALUES]),
        ("numbers with an exponent", [MAX_SLOW_NUMBERS]),
        ("entries in `errors`", [MAX_ERRORS, MAX_ERROR_BYTES]),
        ("a pointer in `errors`", [MAX_POINTER, MAX_DETAIL]),
        ("warnings about unknown keys", [MAX_ERRORS]),
        ("fields of a query", [_MAX_QUERY_FIELDS]),
        ("wrong keys of one client address", [MOST]),
        ("client addresses whose wrong keys", [ADDRESSES]),
        ("keys, and principals", [MAX_KEYS]),
        ("`Idempotency-Key`", [MAX_LENGTH]),
        ("cursor", [_MAX_CURSOR, MAX_PROVIDER_CURSOR]),
        ("pages of a provider that fill", [FILL_PAGES]),
        ("interim responses", [MAX_INTERIM]),
        ("a provider's message, code and request id", [MAX_DETAIL_SHOWN, MAX_CODE, MAX_REQUEST_ID]),
        ("bytes that a caller under `/native` has not read", [UNREAD_BYTES]),
        ("requests sent ahead", [MAX_MSG_QUEUE_SIZE]),
        ("operations that wait for SQLite", [_WAITING]),
        ("specs that wait", [MAX_WAITING]),
        ("writing specs when the gateway ends", [LAST_WRITES]),
        ("specs of runtimes in memory", [MEMORY_BYTES]),
    ],
)
def test_limit_without_a_setting_has_the_value_in_the_code(beginning: str, values: list[int]) -> None:
    (row,) = [row for row in ROWS if row[0].startswith(beginning)]
    assert row[2] == "–"
    for value in values:
        assert re.search(rf"\b{as_documented(value)}\b", row[1].replace(",000", "000")), row[1]


def test_no_queue_of_the_gateway_is_unbounded() -> None:
    """Queues of the standard library are unbounded by default. That of the SQLite store holds no more groups than
    there are operations, which are counted (``test_calls_beyond_the_queue_limit_are_refused``)."""
    unbounded = re.compile(r"\b(?:Simple|Lifo|Priority)?Queue\(\)|\bSimpleQueue\b|maxsize=0\b")
    gateway = Path(__file__).parents[2] / "gateway"
    sources = [path for path in gateway.rglob("*.py") if "testing" not in path.parts]
    found = [str(path.relative_to(gateway)) for path in sources if unbounded.search(path.read_text("utf-8"))]
    assert found == ["storage/sqlite_thread.py"]
