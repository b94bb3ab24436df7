"""Tokens of issuers: which are accepted, what they give, and when their keys are fetched."""

import asyncio
import json
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.access import DEFAULT_PERMISSIONS, Principal
from gateway.domain.errors import ProviderUnavailable, Unauthenticated
from gateway.domain.values import Permission
from gateway.ports.key_sets import KeySetUnavailable
from gateway.ports.principals import AccessData, StoredPrincipal
from gateway.services.access.directory import Directory, WrongKey
from gateway.services.access.key_sets import MAX_KEYS, KeySet, KeySets
from gateway.services.access.owners import Owners
from gateway.services.access.tokens import MAX_TOKEN, KeysPending, Tokens
from gateway.settings.access import JwtSettings
from tests.issuer import AUDIENCE, ISSUER, Issuer, jwk, part, private_key
from tests.unit.services.fakes import FakeClock

SHOP = Principal("shop", permissions=DEFAULT_PERMISSIONS, own_only=True)


class World:
    """An issuer, and the tokens that are verified with its keys. Key sets are fetched when the test says so."""

    def __init__(self, *algorithms: str, **settings: Any) -> None:
        self.issuer = Issuer(*algorithms)
        self.issuer.jwks = "https://login.test/jwks"
        self.clock = FakeClock()
        self.clock.time = time.time()
        self.owners = Owners()
        self.directory = Directory(self.clock, self.owners)
        self.reports: list[Any] = []
        self.key_sets = KeySets(self.fetch, self.clock, self)
        self.tokens = Tokens(self.directory, self.clock, self.key_sets)
        self.use(SHOP, **settings)

    def use(self, *declared: Principal, **settings: Any) -> None:
        """Settings with these principals."""
        self.directory.declare({one.name.encode(): one for one in declared})
        self.tokens.replace([JwtSettings.model_validate(self.issuer.settings(**settings))])

    async def fetch(self, address: str) -> bytes:
        if self.issuer.down:
            self.issuer.fetches += 1
            raise KeySetUnavailable("refused")
        return await self.issuer.fetch(address)

    def key_set_fetched(self, issuer: str, keys: int | None, problem: str | None) -> None:
        self.reports.append((issuer, keys, problem))

    def failed(self, error: Exception) -> None:
        self.reports.append(error)

    async def fetched(self) -> "World":
        await self.key_sets["login"].refresh()
        return self

    def find(self, token: str) -> Principal | None:
        return self.tokens.find(token, token.encode(errors="surrogateescape"))

    def of(self, **claims: Any) -> Principal:
        found = self.find(self.issuer.token(**claims))
        assert found is not None
        return found


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)
async def test_token_of_each_algorithm_is_accepted(algorithm: str) -> None:
    world = await World(algorithm).fetched()
    ends = int(time.time()) + 300
    assert world.of(exp=ends) == Principal("login/u1", DEFAULT_PERMISSIONS, own_only=True, expires=ends + 30)


async def test_token_signed_with_a_secret_is_refused_whatever_the_secret() -> None:
    world = await World("RS256").fetched()
    (_, key), *_ = world.issuer.keys.values()
    secrets = [
        b"",
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk("RS256", key)).encode(),
    ]
    for secret in secrets:
        for algorithm in ("HS256", "HS384", "HS512"):
            header = part({"alg": algorithm, "typ": "JWT", "kid": "key-0"})
            signed = f"{header}.{part(world.issuer.claims())}"
            digest = pyjwt.algorithms.get_default_algorithms()[algorithm]
            with pytest.raises(WrongKey):
                world.find(f"{signed}.{part(digest.sign(signed.encode(), secret or b'0'))}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "ES256K", "RS257", "dir"])
async def test_token_of_another_algorithm_is_refused_without_a_fetch(algorithm: str) -> None:
    world = await World().fetched()
    for signature in ("", "AAAA"):
        with pytest.raises(WrongKey):
            world.find(f"{part({'alg': algorithm})}.{part(world.issuer.claims())}.{signature}")
    assert world.issuer.fetches == 1


async def test_key_verifies_only_the_algorithms_of_its_type_and_curve() -> None:
    world = await World("ES256", "ES384", "RS256").fetched()
    for named, signing in (("key-0", "key-1"), ("key-1", "key-0"), ("key-2", "key-0"), ("key-0", "key-2")):
        with pytest.raises((WrongKey, KeysPending)):
            world.find(world.issuer.token(signing, {"kid": named}))
    strict = KeySet(json.dumps({"keys": [jwk("RS256", private_key("RS256"), kid="a", alg="PS256")]}).encode())
    assert strict.key("a", "PS256") is not None
    assert strict.key("a", "RS256") is None


async def test_key_in_or_named_by_the_header_is_not_used() -> None:
    world = await World().fetched()
    own = private_key("ES256", 99)
    public = jwk("ES256", own, kid="own")
    for header in (
        {"kid": "key-0", "jwk": public},
        {"jwk": public},
        {"kid": "key-0", "jku": "https://evil.test/jwks"},
        {"kid": "key-0", "x5u": "https://evil.test/x", "x5c": ["AAAA"]},
        {"kid": "https://evil.test/jwks"},
        {"kid": "../../dev/null"},
    ):
        world.clock.time += 100  # an unknown id may start a fetch again
        with pytest.raises((WrongKey, KeysPending)) as refused:
            world.find(pyjwt.encode(world.issuer.claims(), own, "ES256", cast("Any", header)))
        if isinstance(refused.value, KeysPending):
            await refused.value.fetch
            with pytest.raises(WrongKey):
                world.find(pyjwt.encode(world.issuer.claims(), own, "ES256", cast("Any", header)))


async def test_token_without_a_key_id_needs_the_only_key_of_its_algorithm() -> None:
    world = await World("ES256", "RS256").fetched()
    plain = pyjwt.encode(world.issuer.claims(), private_key("ES256"), "ES256")
    assert world.find(plain) == world.of()
    world = World("ES256")
    world.issuer.keys["other"] = ("ES256", private_key("ES256", 5))
    await world.fetched()
    with pytest.raises(KeysPending):
        world.find(plain)


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "b64", None])
async def test_token_with_critical_headers_is_refused(crit: Any) -> None:
    world = await World().fetched()
    claims = part(world.issuer.claims())
    header = part({"alg": "ES256", "kid": "key-0", "crit": crit, "b64": True})
    signature = pyjwt.algorithms.get_default_algorithms()["ES256"].sign(
        f"{header}.{claims}".encode(), private_key("ES256")
    )
    with pytest.raises(WrongKey):
        world.find(f"{header}.{claims}.{part(signature)}")


async def test_changed_token_is_refused() -> None:
    world = await World().fetched()
    header, claims, signature = world.issuer.token().split(".")
    other = part(world.issuer.claims(sub="admin"))
    for changed in (f"{header}.{other}.{signature}", f"{header}.{claims}.", f"{header}.{claims}.{part(b'0' * 64)}"):
        with pytest.raises(WrongKey):
            world.find(changed)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": ["another", 7]},
        {"aud": None},
        {"aud": []},
        {"exp": None},
        {"exp": "soon"},
        {"exp": [1]},
        {"nbf": "soon"},
        {"nbf": {}},
    ],
)
async def test_token_not_for_this_gateway_or_without_an_end_counts_as_wrong(claims: dict[str, Any]) -> None:
    world = await World().fetched()
    token = pyjwt.encode(world.issuer.claims(**claims), private_key("ES256"), "ES256", {"kid": "key-0"})
    with suppress(WrongKey):
        assert world.find(token) is None


async def test_audience_may_be_one_of_several() -> None:
    world = await World().fetched()
    assert world.of(aud=["another", AUDIENCE]).name == "login/u1"


@pytest.mark.parametrize("end", ["1e400", "1" + "0" * 400, "1" + "0" * 5000, "NaN", "-Infinity"])
async def test_end_that_no_clock_shows_is_no_internal_error(end: str) -> None:
    world = await World().fetched()
    claims = json.dumps(world.issuer.claims(exp=0)).replace('"exp": 0', f'"exp": {end}').encode()
    signed = f"{part({'alg': 'ES256', 'kid': 'key-0'})}.{part(claims)}"
    signature = pyjwt.algorithms.get_default_algorithms()["ES256"].sign(signed.encode(), private_key("ES256"))
    try:
        found = world.find(f"{signed}.{part(signature)}")
    except WrongKey:
        return
    assert found is None or found.expires == 253_370_764_800 + 30


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [({"exp": -20}, True), ({"exp": -40}, False), ({"nbf": 20}, True), ({"nbf": 40}, False), ({"iat": 4000}, True)],
)
async def test_clocks_may_differ_by_the_leeway(claims: dict[str, int], accepted: bool) -> None:
    world = await World(leeway=30).fetched()
    moments = {name: int(time.time()) + value for name, value in claims.items()}
    if accepted:
        assert world.of(**moments).name == "login/u1"
    else:
        with pytest.raises(Unauthenticated):
            world.of(**moments)


@pytest.mark.parametrize("value", [None, "", "a b", "two\nlines", "\x00", "\x7f", "ü", "a" * 256, 7, ["u1"], {"a": 1}])
async def test_claim_that_cannot_be_a_name_is_refused(value: Any) -> None:
    world = await World(principal="user", own_group="tenant").fetched()
    for claims in ({"user": value, "tenant": "t"}, {"user": "u1", "tenant": value}):
        with pytest.raises(Unauthenticated):
            world.of(**claims)
    found = world.of(user="a" * 255, tenant="auth0|t/1")
    assert (found.name, found.group, found.owner) == ("login/" + "a" * 255, "login/auth0|t/1", "login/auth0|t/1")


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        (None, {"runtimes:read", "runtimes:create"}),
        ("", set()),
        ([], set()),
        ("openid profile", set()),
        ("runtimes:read openid", {"runtimes:read"}),
        (["runtimes:read", "runtimes:config"], {"runtimes:read"}),
        ("admin", set()),
        ("admin runtimes:create", {"runtimes:create"}),
    ],
)
async def test_scopes_are_those_of_the_claim_that_the_template_has(claim: Any, scopes: set[str]) -> None:
    permissions = frozenset({Permission.READ, Permission.CREATE})
    world = World()
    world.use(Principal("shop", permissions), scopes="scope")
    await world.fetched()
    assert world.of(scope=claim).permissions == scopes


async def test_admin_is_given_by_template_and_claim_together() -> None:
    world = World()
    world.use(Principal("shop"), scopes="scope")
    await world.fetched()
    assert world.of(scope="admin").permissions == set(Permission)
    assert world.of(scope="runtimes:read").permissions == {Permission.READ}


@pytest.mark.parametrize("claim", [7, {"a": 1}, [7], True])
async def test_scopes_in_another_form_are_refused(claim: Any) -> None:
    world = await World(scopes="scope").fetched()
    with pytest.raises(Unauthenticated):
        world.of(scope=claim)


async def test_null_scopes_are_refused() -> None:
    world = await World(scopes="scope").fetched()
    claims = {**world.issuer.claims(), "scope": None}
    with pytest.raises(Unauthenticated):
        world.find(pyjwt.encode(claims, private_key("ES256"), "ES256", {"kid": "key-0"}))


async def test_texts_that_are_no_tokens_of_the_issuer_are_left_to_the_keys() -> None:
    world = await World().fetched()
    header, claims, signature = world.issuer.token().split(".")
    deep = part(b"[" * 5000 + b"]" * 5000)
    for text in (
        f"{header}.{claims}",
        f"{header}.{claims}.{signature}.",
        f"{header}.{part({'iss': 'https://other.test', 'aud': AUDIENCE})}.{signature}",
        f"{header}.{part({'aud': AUDIENCE})}.{signature}",
        f"{header}.{part([])}.{signature}",
        f"{deep}.{claims}.{signature}",
        f"{header}.{deep}.{signature}",
        f"{header}.{part(b'{')}.{signature}",
        f"{part(bytes([255]))}.{claims}.{signature}",
        f"{part({'alg': 'ES256', 'kid': 7})}.{claims}.{signature}",
        "eyJ\udcff.a.b",
        "ey..",
        world.issuer.token(padding="x" * MAX_TOKEN),
    ):
        assert world.find(text) is None, text[:80]


async def test_verified_token_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await World().fetched()
    token = world.issuer.token()
    found = world.find(token)

    def decode(*_args: Any, **_options: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(pyjwt, "decode", decode)
    assert world.find(token) is found
    with pytest.raises(NotImplementedError):
        world.find(world.issuer.token(sub="u2"))


async def test_verified_token_ends_with_its_time() -> None:
    world = await World().fetched()
    token = world.issuer.token(exp=int(time.time()) + 100)
    assert world.find(token)
    world.clock.time += 129
    assert world.find(token)
    world.clock.time += 2
    with pytest.raises(Unauthenticated):
        world.find(token)


async def test_end_of_the_template_ends_its_tokens() -> None:
    world = World()
    world.use(Principal("shop", expires=world.clock.time + 10))
    await world.fetched()
    assert world.of().expires == world.clock.time + 10


async def test_verified_token_of_a_disabled_principal_is_refused() -> None:
    world = await World().fetched()
    token = world.issuer.token()
    assert world.find(token)
    disabled = StoredPrincipal(name="login/u1", template=None, disabled=True, created_at=0.0)
    world.directory.load(AccessData(version="2", keys=(), principals=(disabled,), owners=()))
    with pytest.raises(Unauthenticated):
        world.find(token)
    assert world.of(sub="u2").name == "login/u2"


async def test_changed_template_applies_to_verified_tokens() -> None:
    world = await World().fetched()
    token = world.issuer.token()
    assert world.find(token)
    world.use(Principal("shop", frozenset({Permission.READ})))
    found = world.find(token)
    assert found is not None
    assert (found.permissions, found.own_only) == ({Permission.READ}, False)
    assert world.issuer.fetches == 1  # the address is the same


async def test_verified_token_of_a_removed_key_is_refused() -> None:
    world = await World().fetched()
    token = world.issuer.token()
    assert world.find(token)
    world.issuer.rotate()
    await world.fetched()
    with pytest.raises(KeysPending):
        world.find(token)


async def test_unknown_key_starts_one_fetch_a_minute() -> None:
    world = await World().fetched()
    old = dict(world.issuer.keys)
    world.issuer.rotate()
    token = world.issuer.token()
    with pytest.raises(KeysPending) as pending:
        world.find(token)
    with pytest.raises(KeysPending) as shared:
        world.find(token)
    assert shared.value.fetch is pending.value.fetch
    await pending.value.fetch
    assert world.find(token)
    world.issuer.keys = old
    for _ in range(3):
        with pytest.raises(WrongKey):
            world.find(world.issuer.token())
    assert world.issuer.fetches == 2
    world.clock.time += 61
    with pytest.raises(KeysPending):
        world.find(world.issuer.token())


async def test_last_good_key_set_serves_while_the_issuer_is_down() -> None:
    world = await World().fetched()
    token = world.issuer.token()
    world.issuer.down = True
    await world.fetched()
    assert world.find(token)
    world.issuer.down = False
    for document in (b"", b"<html>", b"[]", b'{"keys": 7}', b'{"keys": [' + b"{}," * MAX_KEYS + b"{}]}", b"\xff"):
        world.issuer.document = document
        await world.fetched()
        assert world.find(world.issuer.token(jti="another")), document
    assert world.reports[:2] == [("login", 1, None), ("login", None, "refused")]
    world.issuer.document = b'{"keys": []}'  # a key set without keys takes all of them back
    await world.fetched()
    with pytest.raises((WrongKey, KeysPending)):
        world.find(token)


async def test_token_before_the_first_key_set_is_refused_for_now() -> None:
    world = World()
    world.issuer.down = True
    with pytest.raises(KeysPending) as pending:
        world.of()
    await pending.value.fetch
    with pytest.raises(ProviderUnavailable):
        world.of()
    world.issuer.down = False
    await world.fetched()
    assert world.of().name == "login/u1"


async def test_key_sets_are_fetched_again_in_the_background() -> None:
    world = World()
    moments: list[float] = []
    enough = asyncio.Event()

    async def fetch(_address: str) -> bytes:
        moments.append(world.clock.time)
        if len(moments) == 5:
            enough.set()
        if len(moments) == 2:
            raise KeySetUnavailable("refused")
        if len(moments) == 3:
            raise RuntimeError("a bug")
        return world.issuer.key_set()

    world.key_sets._fetch = fetch
    world.key_sets.replace({"other": "https://other.test/jwks"}, lambda: None)
    running = asyncio.create_task(world.key_sets.run())
    async with asyncio.timeout(20):
        await enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    waits = [after - before for before, after in pairwise(moments)]
    for wait, least in zip(waits, (300, 15, 15, 300), strict=True):
        assert least <= wait <= least + 10
    assert [one for one in world.reports if isinstance(one, Exception)]


@pytest.mark.parametrize(
    "member",
    [
        {"kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256"},
        {"kty": "oct", "k": "AAAA", "kid": "a"},
        jwk("ES256", private_key("ES256"), kid="a", use="enc"),
        jwk("ES256", private_key("ES256"), kid="a", key_ops=["sign"]),
        jwk("ES256", private_key("ES256"), kid="a", d="AAAA"),
        jwk("ES256", private_key("ES256"), kid="a", crv="secp256k1"),
        jwk("ES256", private_key("ES256"), kid="a", x="AAAA"),
        jwk("ES256", private_key("ES256"), kid="a", kty="OKP"),
        jwk("ES256", private_key("ES256"), kid=7),
        jwk("RS256", private_key("RS256", bits=1024), kid="a"),
        jwk("RS256", private_key("RS256"), kid="a", alg="RSA-OAEP"),
        jwk("RS256", private_key("RS256"), kid="a", n="!"),
        {"kid": "a"},
        "text",
        None,
    ],
)
def test_unusable_member_of_a_key_set_is_left_out(member: Any) -> None:
    good = jwk("EdDSA", private_key("EdDSA"), kid="good", extra={"deep": [1]})
    found = KeySet(json.dumps({"keys": [member, good], "more": 1}).encode())
    assert (len(found), found.key("good", "EdDSA") is not None) == (1, True)


async def test_ed448_is_accepted() -> None:
    found = KeySet(json.dumps({"keys": [jwk("Ed448", private_key("Ed448"), kid="a")]}).encode())
    assert found.key("a", "EdDSA") is not None


async def test_owner_of_a_token_is_shown_by_its_name() -> None:
    world = await World(own_group="tenant").fetched()
    learned: list[str] = []
    world.owners.learn = learned.append  # type: ignore[assignment,method-assign]
    world.of(tenant="acme")
    assert learned == ["login/acme"]


async def test_two_issuers_of_one_address_differ_by_audience() -> None:
    world = World()
    world.directory.declare({b"1": SHOP, b"2": Principal("ops")})
    second = world.issuer.settings(audience="console", name="staff", template="ops")
    world.tokens.replace([JwtSettings.model_validate(one) for one in (world.issuer.settings(), second)])
    await asyncio.gather(world.key_sets["login"].refresh(), world.key_sets["staff"].refresh())
    assert [world.of().name, world.of(aud="console").name] == ["login/u1", "staff/u1"]
    assert world.of(aud="console", iss=ISSUER).own_only is False


async def test_principal_of_a_removed_issuer_has_no_rights_and_calls_no_more() -> None:
    world = World()
    world.directory.confirm(world.clock.monotonic())
    assert world.directory.principal("login/u1") == Principal("login/u1", DEFAULT_PERMISSIONS, own_only=True)
    assert world.directory.principal("other/u1") is None
    assert world.directory.still_calls("login/u1", None)
    world.tokens.replace([])
    assert world.directory.principal("login/u1") is None
    assert not world.directory.still_calls("login/u1", None)
