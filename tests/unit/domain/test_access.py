"""Permissions and restrictions of principals."""

import pytest

from gateway.api.access_routes import ACCESS_ROUTES
from gateway.api.routes import V1_ROUTES
from gateway.app import plugins
from gateway.domain.access import (
    ALL_PERMISSIONS,
    DEFAULT_PERMISSIONS,
    Principal,
    Restrictions,
    refuse_outside,
    with_implied,
)
from gateway.domain.errors import PermissionDenied
from gateway.domain.values import TRAITS, Permission
from gateway.ports.dialect import DialectRoute


def test_admin_implies_every_permission_and_others_imply_none() -> None:
    assert with_implied([Permission.ADMIN]) == ALL_PERMISSIONS
    assert with_implied([Permission.READ]) == {Permission.READ}
    assert {Permission.ADMIN, Permission.AUDIT} == ALL_PERMISSIONS - DEFAULT_PERMISSIONS


def test_restrictions_admit_only_their_values_and_none_admits_any() -> None:
    only = Restrictions(providers=frozenset({"a"}), kinds=frozenset({"browser"}), scopes=frozenset({"s"}))
    principal = Principal("shop", restrictions=only)
    assert principal.sees("a")
    assert principal.sees("a", "s", "browser")
    assert not principal.sees("b", "s", "browser")
    assert not principal.sees("a", "t", "browser")
    assert not principal.sees("a", "s", "durable")
    assert Principal("any").sees("b", "t", "durable")
    assert not Principal("none", restrictions=Restrictions(kinds=frozenset())).sees("a", "s", "durable")


@pytest.mark.parametrize("value", ["b", ""])
def test_value_that_is_not_allowed_is_refused_with_its_place(value: str) -> None:
    with pytest.raises(PermissionDenied) as refused:
        refuse_outside([value], frozenset({"a"}), "providers", parameter="provider")
    assert [error.parameter for error in refused.value.errors] == ["provider"]
    refuse_outside([value], None, "providers", parameter="provider")
    refuse_outside(["a"], frozenset({"a"}), "providers", parameter="provider")


def test_every_route_but_that_of_the_caller_itself_needs_a_permission() -> None:
    assert [route.path for route in V1_ROUTES if route.secured and route.permission is None] == ["/v1/me"]
    assert {route.permission for route in ACCESS_ROUTES} == {Permission.ADMIN}
    dialects = [plugin.dialect for plugin in plugins().values() if plugin.dialect is not None]
    assert all(isinstance(route.permission, Permission) for dialect in dialects for route in dialect.routes)


def test_only_operations_without_effect_need_no_more_than_to_read() -> None:
    for operation, traits in TRAITS.items():
        assert (traits.permission is Permission.READ) is not traits.mutates, operation


def test_dialect_route_that_writes_has_to_name_its_permission() -> None:
    async def handler(*_: object) -> None: ...

    with pytest.raises(TypeError, match="needs a permission"):
        DialectRoute("POST", "/things", "create_thing", handler)  # type: ignore[arg-type]
