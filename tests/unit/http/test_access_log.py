"""A recorded error keeps no references to the frames of its request."""

import gc
import weakref

from gateway.domain.errors import NotFound, ProviderUnavailable
from gateway.http.access_log import Outcome


class Kept:
    """An object that is referenced by a frame of the failed request."""


def _failed() -> tuple[ProviderUnavailable, weakref.ref[Kept]]:
    def ask() -> None:
        kept.append(weakref.ref(held := Kept()))
        try:
            answer(held)
        except NotFound as cause:
            error = ProviderUnavailable("it failed")  # (the error and its frame reference each other)
            raise error from cause

    def answer(held: Kept) -> None:
        raise NotFound(f"nothing of {held}")

    kept: list[weakref.ref[Kept]] = []
    try:
        ask()
    except ProviderUnavailable as error:
        return error, kept[0]
    raise AssertionError


def test_a_recorded_error_keeps_no_frames() -> None:
    """They would be kept until a garbage collection, which blocks all other requests."""
    gc.disable()
    try:
        error, kept = _failed()
        Outcome().failed(error)
        assert error.__traceback__ is None
        assert isinstance(error.__cause__, NotFound)
        assert kept() is None
    finally:
        gc.enable()
