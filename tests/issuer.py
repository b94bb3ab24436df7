"""A small issuer of tokens: keys that rotate, a key set on loopback that can fail, and tokens of any form."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from gateway.testing.processes import running

AUDIENCE: Final = "runtime-gateway"
ISSUER: Final = "https://login.test"
_CURVES: Final = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@cache
def private_key(algorithm: str, number: int = 0, bits: int = 2048) -> Any:
    """A key for an algorithm; the same one for the same arguments."""
    del number
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa.generate_private_key(65537, bits)


def jwk(algorithm: str, key: Any, **members: Any) -> dict[str, Any]:
    """The public key as a member of a key set."""
    algorithm = "EdDSA" if algorithm == "Ed448" else algorithm
    made = json.loads(get_default_algorithms()[algorithm].to_jwk(key.public_key()))
    made.pop("key_ops", None)
    return {**made, **members}


def part(value: Any) -> str:
    """A part of a token: the value as JSON, or these bytes."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """``keys`` are the private keys by id, with their algorithms. ``down`` fails all fetches, and ``document`` replaces
    the key set. ``fetches`` counts. While ``held`` is not set, a fetch waits."""

    def __init__(self, *algorithms: str) -> None:
        self.keys = {f"key-{number}": (each, private_key(each)) for number, each in enumerate(algorithms or ("ES256",))}
        self.down = False
        self.document: bytes | None = None
        self.fetches = 0
        self.held = asyncio.Event()
        self.held.set()
        self.jwks = ""

    def rotate(self, algorithm: str = "ES256") -> str:
        """Replace all keys by a new one, and return its id."""
        key_id = f"key-{len(self.keys)}-{self.fetches}-new"
        self.keys = {key_id: (algorithm, private_key(algorithm, 1 + self.fetches))}
        return key_id

    def key_set(self) -> bytes:
        """The document at the address."""
        return json.dumps({"keys": [jwk(alg, key, kid=kid) for kid, (alg, key) in self.keys.items()]}).encode()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a token; None removes one."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": now + 300, "nbf": now - 5, **changed}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key_id: str | None = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token of the last key, or of another one. ``header`` adds to its header, or removes (None)."""
        key_id = key_id or list(self.keys)[-1]
        algorithm, key = self.keys[key_id]
        return jwt.encode(self.claims(**changed), key, algorithm, {"kid": key_id, **(header or {})})

    async def fetch(self, _address: str = "") -> bytes:
        """The key set, as a ``FetchKeySet``."""
        self.fetches += 1
        await self.held.wait()
        return self.key_set() if self.document is None else self.document

    async def _serve(self, _request: web.Request) -> web.Response:
        document = await self.fetch()
        return web.Response(status=503) if self.down else web.Response(body=document, content_type="application/json")

    def settings(self, **changed: Any) -> dict[str, Any]:
        """The entry of ``auth.jwt``."""
        entry = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": self.jwks, "name": "login", "template": "shop"}
        return {**entry, **changed}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Issuer"]:
        """Serve the key set on loopback."""
        app = web.Application()
        app.router.add_get("/jwks", self._serve)
        async with running(app) as url:
            self.jwks = f"{url}/jwks"
            yield self
