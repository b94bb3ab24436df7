"""The directory finds the principal of a key, from the settings and from its copy of the store."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from gateway.domain.access import Principal, Restrictions
from gateway.domain.errors import StoreUnavailable, Unauthenticated
from gateway.domain.values import Permission
from gateway.ports.principals import AccessData, OwnerAssignment, StoredKey, StoredPrincipal
from gateway.services.access.directory import MAX_AGE, Directory, WrongKey
from gateway.services.access.owners import Owners
from tests.unit.services.fakes import FakeClock

SHOP = Principal(
    "shop",
    permissions=frozenset({Permission.READ, Permission.CREATE}),
    restrictions=Restrictions(kinds=frozenset({"browser"})),
    own_only=True,
)
OPS = Principal("ops", group=None)
SETTINGS = {b"shop": SHOP, b"ops": OPS}


def stored_key(key_id: str, principal: str, **fields: Any) -> StoredKey:
    digest = key_id.encode()
    return StoredKey(id=key_id, digest=digest, prefix="rtgw_", principal=principal, created_at=0.0, **fields)


def stored_principal(name: str, template: str | None = "shop", *, disabled: bool = False) -> StoredPrincipal:
    return StoredPrincipal(name=name, template=template, disabled=disabled, created_at=0.0)


def data(
    *keys: StoredKey, principals: tuple[StoredPrincipal, ...] = (), owners: tuple[OwnerAssignment, ...] = ()
) -> AccessData:
    return AccessData(version="1", epoch="e", keys=keys, principals=principals, owners=owners, revocations=())


class RecordedOwners(Owners):
    """Records the owners."""

    def assign(self, assigned: Mapping[str, str]) -> None:
        self.assigned = dict(assigned)

    def declare(self, owners: Iterable[str]) -> None:
        self.declared = set(owners)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(clock: FakeClock) -> Directory:
    """With a current, empty copy."""
    made = Directory(clock)
    made.declare(SETTINGS)
    made.load(data())
    made.confirm(clock.time)
    return made


def test_key_of_the_store_has_the_rights_of_its_principal(directory: Directory) -> None:
    directory.load(data(stored_key("k", "shop"), stored_key("t", "team"), principals=(stored_principal("team"),)))
    assert directory.find(b"k") == SHOP
    assert directory.find(b"k").key_id == "k"
    team = directory.find(b"t")
    assert (team.name, team.owner, team.permissions) == ("team", "team", SHOP.permissions)
    assert (team.restrictions, team.own_only, team.key_id) == (SHOP.restrictions, True, "t")
    assert directory.find(b"shop").key_id is None
    with pytest.raises(WrongKey):
        directory.find(b"x")


def test_principal_with_a_template_of_a_group_belongs_to_the_group(directory: Directory) -> None:
    directory.declare({b"g": Principal("g", own_only=True, group="family")})
    directory.load(data(stored_key("t", "team"), principals=(stored_principal("team", "g"),)))
    assert directory.find(b"t").owner == "family"


def test_key_with_scopes_has_only_those_that_its_principal_has_too(directory: Directory) -> None:
    key, every = stored_key("k", "shop", scopes=("runtimes:read", "native")), stored_key("a", "shop", scopes=("admin",))
    directory.load(data(key, every))
    assert directory.find(b"k").permissions == {Permission.READ}
    assert directory.find(b"a").permissions == SHOP.permissions
    directory.declare({b"shop": Principal("shop", permissions=frozenset({Permission.CREATE}))})
    assert directory.find(b"k").permissions == frozenset()


def test_rights_follow_the_settings(directory: Directory) -> None:
    directory.load(data(stored_key("t", "team"), principals=(stored_principal("team"),)))
    directory.declare({b"shop": Principal("shop", permissions=frozenset({Permission.AUDIT}))})
    assert directory.find(b"t").permissions == {Permission.AUDIT}
    directory.declare({b"ops": OPS})
    with pytest.raises(Unauthenticated, match="rights"):
        directory.find(b"t")
    assert directory.principal("team") is None
    directory.declare({b"own": Principal("team", own_only=False)})
    assert directory.find(b"t").own_only is False


def test_key_ends_with_its_principal_and_at_its_own_end(directory: Directory, clock: FakeClock) -> None:
    directory.declare({b"shop": Principal("shop", expires=clock.time + 20)})
    directory.load(data(stored_key("k", "shop", expires_at=clock.time + 10), stored_key("l", "shop")))
    clock.time += 10
    with pytest.raises(Unauthenticated, match="expired"):
        directory.find(b"k")
    directory.find(b"l")
    clock.time += 10
    for digest in (b"l", b"shop"):
        with pytest.raises(Unauthenticated, match="expired"):
            directory.find(digest)


def test_all_keys_of_a_disabled_principal_are_refused(directory: Directory) -> None:
    """Those of the settings too. A principal that uses it as a template is not disabled."""
    keys = (stored_key("k", "shop"), stored_key("t", "team"))
    disabled = stored_principal("shop", None, disabled=True)
    directory.load(data(*keys, principals=(disabled, stored_principal("team"))))
    for digest in (b"k", b"shop"):
        with pytest.raises(Unauthenticated, match="disabled"):
            directory.find(digest)
    assert directory.find(b"t").name == "team"
    assert directory.is_disabled("shop")
    assert not directory.is_disabled("team")
    directory.load(data(*keys, principals=(stored_principal("team", disabled=True),)))
    assert directory.find(b"k") == directory.find(b"shop") == SHOP
    with pytest.raises(Unauthenticated, match="disabled"):
        directory.find(b"t")


def test_copy_is_used_for_60_seconds_without_the_store(directory: Directory, clock: FakeClock) -> None:
    """Then keys that the settings do not have cannot be checked. Disabled principals stay disabled."""
    disabled = stored_principal("ops", None, disabled=True)
    directory.load(data(stored_key("k", "shop"), principals=(disabled,)))
    assert MAX_AGE == 60
    clock.time += MAX_AGE
    assert directory.age == MAX_AGE
    assert directory.find(b"k") == SHOP
    clock.time += 0.1
    for digest in (b"k", b"x"):
        with pytest.raises(StoreUnavailable):
            directory.find(digest)
    assert directory.find(b"shop") == SHOP
    with pytest.raises(Unauthenticated, match="disabled"):
        directory.find(b"ops")
    directory.confirm(clock.time)
    assert directory.find(b"k") == SHOP


def test_without_a_copy_only_keys_of_the_settings_work(clock: FakeClock) -> None:
    directory = Directory(clock)
    directory.declare(SETTINGS)
    assert directory.find(b"shop") == SHOP
    with pytest.raises(StoreUnavailable):
        directory.find(b"x")
    clock.time += 5
    assert directory.age == 5


def test_used_keys_of_the_store_are_noted(directory: Directory) -> None:
    directory.load(data(stored_key("k", "shop"), stored_key("l", "shop", expires_at=1.0)))
    directory.find(b"shop")
    directory.find(b"k")
    with pytest.raises(Unauthenticated):
        directory.find(b"l")
    assert directory.used == {"k"}


def test_owners_are_those_of_limited_principals_and_of_assignments(clock: FakeClock) -> None:
    owners = RecordedOwners()
    directory = Directory(clock, owners)
    directory.declare({**SETTINGS, b"g": Principal("g", own_only=True, group="family")})
    assert owners.declared == {"shop", "family"}
    owner = OwnerAssignment(runtime_id="p.1", owner="team", assigned_by="ops", assigned_at=0.0)
    directory.load(data(principals=(stored_principal("team"), stored_principal("lost", "absent")), owners=(owner,)))
    assert owners.declared == {"shop", "family", "team"}
    assert owners.assigned == {"p.1": "team"}


def test_only_changed_principals_and_owners_are_reported(directory: Directory) -> None:
    assert directory.load(data(stored_key("k", "shop"))) is False
    assert directory.load(data(principals=(stored_principal("team"),))) is True
    assert directory.load(data(principals=(stored_principal("team"),))) is False
    owner = OwnerAssignment(runtime_id="p.1", owner="team", assigned_by="ops", assigned_at=0.0)
    assert directory.load(data(principals=(stored_principal("team"),), owners=(owner,))) is True


def test_load_reports_a_deleted_key_and_not_a_key_that_was_only_used(directory: Directory) -> None:
    """Connections that were opened with the key have to end."""
    key = stored_key("k", "shop")
    directory.load(data(key))
    assert not directory.load(data(msgspec.structs.replace(key, last_used_at=5.0)))
    assert directory.load(data())
    assert not directory.load(data())
