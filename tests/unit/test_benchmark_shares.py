"""The shares of the parts of the gateway in the time of a request."""

import json
from pathlib import Path

import pytest

from benchmarks.shares import PARTS, Shares, parts_of, read, rows

CLIENT, POLICY = ("/x/gateway/upstream/transport.py", 1, "send"), ("/x/gateway/upstream/policies/retry.py", 1, "send")
SEND, APPEND = ("~", 0, "<method 'send' of '_socket.socket' objects>"), ("~", 0, "<method 'append' of 'list' objects>")
ELSEWHERE = ("/x/site-packages/click/core.py", 1, "main")


def test_functions_in_c_count_for_the_part_that_calls_them_but_sockets_for_themselves() -> None:
    stats = {
        CLIENT: (10, 10, 3.0, 9.0, {}),
        POLICY: (20, 20, 1.0, 10.0, {}),
        SEND: (10, 10, 4.0, 4.0, {CLIENT: (10, 10, 4.0, 4.0)}),
        APPEND: (50, 50, 2.0, 2.0, {POLICY: (30, 30, 1.0, 1.0), ELSEWHERE: (20, 20, 1.0, 1.0)}),
    }
    assert parts_of(stats, 10) == {
        "sockets": (0.4, 1.0),
        "policies": (0.2, 5.0),
        "HTTP client": (0.3, 1.0),
        "the rest": (0.1, 2.0),
    }


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("/r/gateway/http/request_loop.py", "connection, head, route"),
        ("/r/gateway/http/endpoints.py", "endpoint"),
        ("/r/gateway/http/access_log.py", "log and metrics"),
        ("/r/gateway/api/auth.py", "key and permission"),
        ("/r/gateway/api/native.py", "pass-through"),
        ("/r/gateway/api/responses.py", "encoding, tag, cache"),
        ("/r/adapters/durable/wire.py", "adapter"),
        ("/r/gateway/storage/sql.py", "store"),
        ("/usr/lib/python3.11/asyncio/events.py", "asyncio"),
        ("/r/lib/site-packages/aiohttp/web_response.py", "aiohttp"),
    ],
)
def test_file_belongs_to_its_part(file: str, part: str) -> None:
    assert list(parts_of({(file, 1, "f"): (1, 1, 1.0, 1.0, {})}, 1)) == [part]


def test_table_has_the_parts_that_occur_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "shares.json"
    file.write_text(
        json.dumps(
            [
                {"work": "get", "parts": {"sockets": [0.25, 4.2], "adapter": [0.75, 10.0]}},
                {"work": "list", "parts": {"sockets": [1.0, 1500.0]}},
            ]
        )
    )
    found = read(file)
    assert found[0] == Shares("get", {"sockets": (0.25, 4.2), "adapter": (0.75, 10.0)})
    assert next(iter(PARTS)) == "sockets"
    assert list(rows(found)) == [
        ("part", "get", "list"),
        ("sockets", "25%", "100%"),
        ("adapter", "75%", "–"),
        ("calls of functions", "14", "1,500"),
    ]
