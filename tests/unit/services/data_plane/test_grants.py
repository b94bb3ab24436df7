"""Tokens of the data plane."""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from gateway.domain.access import ALL_PERMISSIONS, Principal
from gateway.domain.errors import GatewayError, PermissionDenied, StoreUnavailable, Unauthenticated
from gateway.domain.ids import b64url_bytes, bytes_from_b64url
from gateway.domain.values import Permission
from gateway.ports.data_plane import Revocation
from gateway.ports.principals import AccessData, StoredKey, StoredPrincipal
from gateway.services.access.directory import Directory
from gateway.services.data_plane.grants import Grants
from gateway.storage.sealing import Keyring, new_key
from tests.unit.services.fakes import FakeClock

SHOP = Principal("shop")
KEY = StoredKey(id="k1", digest=b"d", prefix="p", principal="team", created_at=0)
RING = Keyring([new_key()])


def data(**changes: Any) -> AccessData:
    team = StoredPrincipal(name="team", template="shop", disabled=False, created_at=0)
    full = {"version": "1", "epoch": "e", "keys": [KEY], "principals": [team], "owners": [], "revocations": []}
    return AccessData(**{**full, **changes})


class Given:
    """Grants over a directory that has been read."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.directory = Directory(self.clock)
        self.directory.declare({b"x": SHOP})
        self.load()
        self.grants = Grants(RING, self.directory, self.clock)

    def load(self, **changes: Any) -> None:
        self.directory.load(data(**changes))
        self.directory.confirm(self.clock.monotonic())

    def token(self, principal: Principal = SHOP, ttl: float = 60) -> str:
        return self.grants.token(self.grants.make("p.r", "i1", "cdp", principal, ttl))


def test_token_is_read_until_its_end() -> None:
    given = Given()
    token = given.token()
    assert given.grants.read(token).instance == "i1"
    given.clock.time += 60
    with pytest.raises(Unauthenticated):
        given.grants.read(token)


def test_token_that_is_changed_at_any_place_or_cut_is_refused() -> None:
    given = Given()
    token = given.token()
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        for wrong in (token[:place] + other + token[place + 1 :], token[:place]):
            with pytest.raises(Unauthenticated):
                given.grants.read(wrong)


@pytest.mark.parametrize("text", ["", "ä", "x" * 10_000, "a.b", "AA=="])
def test_text_that_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        Given().grants.read(text)


def test_token_of_another_gateway_is_refused() -> None:
    given = Given()
    other = Grants(Keyring([new_key()]), given.directory, given.clock)
    with pytest.raises(Unauthenticated):
        other.read(given.token())


def calls_of(read: Callable[[], object]) -> list[str]:
    """The functions that a refused read calls, also those that are not written in Python, but no finalizers of what
    other tests have left."""
    calls: list[str] = []

    def called(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)
        elif event == "c_call":
            calls.append(argument.__qualname__)

    before = sys.getprofile()
    gc.disable()
    sys.setprofile(called)
    try:
        with pytest.raises((Unauthenticated, PermissionDenied)):
            read()
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls[calls.index("read") : calls.index("__exit__")]


def refused_tokens(given: Given) -> dict[str, str]:
    """Tokens that are refused for different reasons. What has to be looked up is in ``given`` afterwards."""
    token, expired, revoked = given.token(ttl=600), given.token(ttl=1), given.token(TEAM, ttl=600)
    given.clock.time += 1
    given.directory.note(Revocation(runtime_id="p.r", principal="team", generation=7))
    sealed = bytes_from_b64url(token)
    changed = {
        f"byte {place} is changed": b64url_bytes(sealed[:place] + bytes((sealed[place] ^ 0x40,)) + sealed[place + 1 :])
        for place in range(len(sealed))
    }
    cut = {f"only {size} characters": token[:size] for size in range(len(token))}
    foreign = Grants(Keyring([new_key()]), given.directory, given.clock)
    of_another = foreign.token(foreign.make("p.r", "i1", "cdp", SHOP, 600))
    of_other_format = b64url_bytes(b"\x02" + sealed[1:])
    other = {"foreign": of_another, "expired": expired, "revoked": revoked, "format": of_other_format, "no base64": "!"}
    return {**changed, **cut, **other}


def test_refused_tokens_cause_the_same_decryption_and_the_same_look_ups() -> None:
    given = Given()
    expected = {"decrypt": 1, "generation": 1, "still_calls": 1, "now": 1}
    for reason, token in refused_tokens(given).items():
        calls = Counter(name.rpartition(".")[2] for name in calls_of(lambda: given.grants.read(token)))  # noqa: B023 (called at once)
        assert {name: calls[name] for name in expected} == expected, reason


def test_tokens_that_were_changed_at_any_byte_cause_exactly_the_same_calls() -> None:
    given = Given()
    changed = {reason: token for reason, token in refused_tokens(given).items() if reason.startswith("byte")}
    calls = {reason: calls_of(lambda: given.grants.read(token)) for reason, token in changed.items()}  # noqa: B023 (called at once)
    assert len(set(map(tuple, calls.values()))) == 1


@pytest.mark.parametrize("whose", ["shop", ""])
def test_revocation_ends_earlier_tokens_only(whose: str) -> None:
    given = Given()
    before = given.token()
    given.directory.note(Revocation(runtime_id="p.r", principal=whose, generation=7))
    with pytest.raises(PermissionDenied):
        given.grants.read(before)
    assert given.grants.read(given.token()).generation == 7


TEAM = Principal("team", key_id="k1")


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": []},
        {"principals": []},
        {"principals": [StoredPrincipal(name="team", template="shop", disabled=True, created_at=0)]},
        {"principals": [StoredPrincipal(name="team", template="gone", disabled=False, created_at=0)]},
        {"epoch": "another store"},
    ],
)
def test_token_ends_with_its_key_its_principal_and_its_store(changes: dict[str, Any]) -> None:
    given = Given()
    token = given.token(TEAM)
    assert given.grants.read(token).principal == "team"
    given.load(**changes)
    with pytest.raises(PermissionDenied):
        given.grants.read(token)


def test_token_ends_when_its_principal_may_not_connect_any_longer() -> None:
    given = Given()
    token = given.token()
    given.directory.declare({b"x": Principal("shop", ALL_PERMISSIONS - {Permission.CONNECT})})
    with pytest.raises(PermissionDenied):
        given.grants.read(token)


def test_keys_of_the_settings_connect_without_the_store_and_others_for_a_minute() -> None:
    given = Given()
    declared, stored = given.token(ttl=600), given.token(TEAM, ttl=600)
    given.clock.time += 61
    assert given.grants.read(declared)
    with pytest.raises(StoreUnavailable):
        given.grants.read(stored)


def test_no_token_is_made_before_the_store_was_read() -> None:
    given = Given()
    fresh = Grants(RING, Directory(given.clock), given.clock)
    with pytest.raises(GatewayError):
        fresh.make("p.r", None, "cdp", SHOP, 60)
