"""The declarations of an adapter class, and what is derived from them."""

from gateway.domain.requests import CREATE_REQUESTS
from gateway.domain.values import Kind
from tests.unit.services.fakes import BrowserLike, FakeAdapter


def test_a_class_with_kinds_only_creates_those_with_a_create_body() -> None:
    class Office(FakeAdapter):
        kinds = frozenset(Kind)

    assert Office.creates == set(CREATE_REQUESTS)


def test_a_class_that_declares_creates_keeps_it() -> None:
    class Office(FakeAdapter):
        kinds = frozenset(Kind)
        creates = frozenset({Kind.BROWSER})

    assert Office.creates == {Kind.BROWSER}


def test_a_subclass_with_other_kinds_derives_creates_again() -> None:
    class Desk(BrowserLike):
        kinds = frozenset({Kind.DESKTOP})

    class Lamp(BrowserLike):
        """Declares no kinds of its own."""

    assert Desk.creates == frozenset()
    assert Lamp.creates == BrowserLike.creates == {Kind.BROWSER}
