"""The store reveals no secret of a create, not even to a reader who can guess it (docs/promises.md#p6)."""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rfc8785

from tests.contract.store_subjects import connected
from tests.faults.conftest import StoreLocation
from tests.faults.world import world

CANARY = "canary-of-the-mine-0815"
WORDS = ("password", "hunter2", "letmein", CANARY)
PROXY = {"type": "http", "host": "proxy.example", "port": 8080, "username": "me"}
_TABLES = (
    "SELECT * FROM intents",
    "SELECT * FROM pins",
    "SELECT * FROM specs",
    "SELECT * FROM decisions",
    "SELECT * FROM kept_creates",
)


async def test_store_holds_no_secret_and_no_digest_of_a_guessable_secret(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-21."""
    async with world(tmp_path, store_location, deadline=1) as w:
        async with w.gateway(creates={"wait_out": 60, "settle_every": 60}) as gateway:
            for name, upstream in w.providers.items():
                assert (await w.create(upstream, f"done-{name}", f"done-{name}", **_secret(name, CANARY))).status == 201
                upstream.fault("drop_after", times=1)
                upstream.fault("list_lag", times=1)
                lost = await w.create(upstream, f"lost-{name}", f"lost-{name}", **_secret(name, CANARY))
                assert lost.code == "outcome_unknown"
            kept = await _everything(store_location)
            sent = [b.body for u in w.providers.values() for b in u.emulator.requests.received("create")]
        log = gateway.log.getvalue()
    assert sum(CANARY in str(body) for body in sent) >= 2 * len(w.providers)
    assert b"lost-durable" in kept
    assert not [form for form in _forms(CANARY.encode()) if form in kept]
    assert CANARY not in log
    for digest in _guesses(list(w.providers)):
        assert not [form for form in _forms(digest) if form in kept]


def _secret(provider: str, password: str) -> dict[str, Any]:
    if provider == "durable":
        return {"config": {"version": "v2", "runtime_server": {"env": {"TOKEN": password}}}}
    return {"launch": {"mode": "ephemeral", "proxy": {**PROXY, "password": password}}}


def _guesses(providers: list[str]) -> Iterator[bytes]:
    """The digests that an attacker would try who has the store, the requests without the password, and a word list."""
    for word in WORDS:
        documents = [
            {"kind": kind, "provider": name, "name": f"{what}-{name}", **_secret(name, word)}
            for name in providers
            for kind in ("durable", "browser")
            for what in ("done", "lost")
        ]
        for guess in (word.encode(), *(rfc8785.dumps(document) for document in documents)):
            yield hashlib.sha256(guess).digest()
            yield hmac.digest(b"", guess, "sha256")


def _forms(secret: bytes) -> list[bytes]:
    """The encodings in which the bytes might be stored."""
    return [secret, secret.hex().encode(), b64encode(secret).rstrip(b"=")]


async def _everything(location: StoreLocation) -> bytes:
    """All bytes of a store, including a SQLite store's write-ahead log."""
    if location.file is not None:
        return b"".join(path.read_bytes() for path in location.files())
    async with connected(location.settings["url"]) as connection:
        rows = [row for table in _TABLES for row in await connection.fetch(table)]
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)
