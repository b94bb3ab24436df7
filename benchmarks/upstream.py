"""A provider that costs as little as possible, so that it does not bound what is measured in front of it.

Below any prefix it serves the runtime API: one runtime with any id, creates, the user, and lists in pages.
``/of/COUNT/INDEX`` in the prefix makes it one of COUNT providers that share the 50 runtimes; with ``/many`` it has
10,000. ``/jwks`` is an empty set of keys.
"""

import asyncio
import json
import re
from functools import cache
from typing import Any, Final, cast
from uuid import uuid4

SCOPE: Final = "acme/research"
RUNTIME_ID: Final = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"
RUNTIMES: Final = f"/api/v1/org/{SCOPE.replace('/', '/ws/')}/runtimes"
LISTED: Final = 50
MANY: Final = 10_000

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_SHARE: Final = re.compile(r"/of/(\d+)/(\d+)/")


def runtime(number: int = 0) -> dict[str, Any]:
    """A durable runtime with a running instance, about 1 KB as a list row of the provider."""
    return {
        "id": f"{RUNTIME_ID[:-4]}{number:04x}" if number else RUNTIME_ID,
        "key": f"agent-{number}",
        "name": f"Agent {number}",
        "description": None,
        "status": "running",
        "config_version": "v2",
        "config_digest": "918e3197e97f7d0f092e7c82d21743d2c9f62ab51d4cee49e43e15a9ed23c8d7",
        "project_id": "2eadae94-fff7-4579-aacf-04286ff2a667",
        "project_key": "default",
        "project_name": "Default",
        "created_at": "2026-11-22T00:28:26.405393Z",
        "updated_at": "2026-11-22T00:28:31.295928Z",
        "owned_by_me": True,
        "instance": {
            "sandbox_id": "f75f4d19-6af9-41ce-9cf7-16051d4de698",
            "provider": "e2b",
            "provider_sandbox_id": "i085fb26c6a443a0b423d",
            "sandbox_url": None,
            "state": "running",
            "created_at": "2026-11-22T00:28:31.295928Z",
            "expires_at": "2026-11-22T01:28:31.295928Z",
            "pause_reason": None,
            "billed_credits": 12,
            "running_credits": 3,
            "estimated_total_credits": 15,
            "total_runtime_seconds": 271,
        },
    }


def slim(number: int) -> dict[str, Any]:
    """A list row of about 400 bytes: an idle runtime, so that 50 of them are about 20 KB."""
    row = runtime(number)
    for name in ("config_digest", "project_name", "description"):
        row.pop(name)
    return {**row, "status": "idle", "instance": None, "config_digest": "918e3197e97f7d0f"}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@cache
def page(first: int, end: int, limit: int) -> bytes:
    """The rows from ``first``, at most ``limit``, of those before ``end``."""
    until = min(first + limit, end)
    more = str(until) if until < end else None
    return _json({"items": [slim(number) for number in range(first, until)], "next_cursor": more})


def listed(path: str, query: str) -> bytes:
    """The page of a list."""
    wanted = dict(part.partition("=")[::2] for part in query.split("&"))
    first, end = 0, LISTED
    if share := _SHARE.search(path):
        count, index = int(share[1]), int(share[2])
        first, end = LISTED * index // count, LISTED * (index + 1) // count
    elif "/many/" in path:
        end = MANY
    return page(int(wanted.get("cursor", first)), end, int(wanted["limit"]))


_ONE: Final = _json(runtime()).split(RUNTIME_ID.encode())
_USER: Final = _json({"id": "d0b6a2cc-5d4d-4c37-9f43-7d1c9d8f2a61"})
_MADE: Final = {**runtime(), "status": "idle", "instance": None}


def answer(method: bytes, target: str, body: bytes) -> bytes:
    """The complete response to a request."""
    path, _, query = target.partition("?")
    status = b"200 OK"
    if method == b"POST":
        status, content = b"201 Created", _json({**_MADE, "id": str(uuid4()), "key": json.loads(body)["key"]})
    elif path.endswith(RUNTIMES):
        content = listed(path, query)
    elif RUNTIMES in path:
        content = path.rpartition("/")[2].encode().join(_ONE)
    else:
        content = b'{"keys":[]}' if path.endswith("/jwks") else _USER
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(content)) + content


class Provider(asyncio.Protocol):
    """One connection. Requests have a Content-Length or no body, and are not pipelined."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(_END)
        if not end:
            return
        length = _LENGTH.search(head) if head.startswith(b"POST") else None
        if length is not None and len(body) < int(length[1]):
            return
        self._data = b""
        method, target, _ = head.split(b" ", 2)
        self._transport.write(answer(method, target.decode(), body))


async def provider() -> str:
    """Serve, and return the base URL."""
    return url_of(await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=4096))


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
