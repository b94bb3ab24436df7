"""What is remembered of creates tells no secret, also not to who can guess."""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rfc8785

from tests.contract.store_subjects import connected
from tests.faults.conftest import StorePlace
from tests.faults.world import world

CANARY = "canary-of-the-mine-0815"
WORDS = ("password", "hunter2", "letmein", CANARY)
PROXY = {"type": "http", "host": "proxy.example", "port": 8080, "username": "me"}
_TABLES = ("SELECT * FROM intents", "SELECT * FROM pins", "SELECT * FROM specs", "SELECT * FROM decisions")


async def test_case_21_the_store_holds_no_secret_and_no_digest_that_a_word_list_finds(
    store_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, store_place, deadline=1) as w:
        async with w.gateway(creates={"wait_out": 60, "settle_every": 60}) as gateway:
            for name, upstream in w.providers.items():
                assert (await w.create(upstream, f"done-{name}", f"done-{name}", **_secret(name, CANARY))).status == 201
                upstream.fault("drop_after", times=1)
                upstream.fault("list_lag", times=1)
                lost = await w.create(upstream, f"lost-{name}", f"lost-{name}", **_secret(name, CANARY))
                assert lost.code == "outcome_unknown"
            kept = await _everything(store_place)
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
    """The digests that somebody would try who has the store, the requests but for a password, and a list of words."""
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
    """How bytes may stand in a file."""
    return [secret, secret.hex().encode(), b64encode(secret).rstrip(b"=")]


async def _everything(place: StorePlace) -> bytes:
    """All bytes of a store, those of its log of writes included."""
    if place.file is not None:
        return b"".join(path.read_bytes() for path in place.files())
    async with connected(place.settings["url"]) as connection:
        rows = [row for table in _TABLES for row in await connection.fetch(table)]
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)
