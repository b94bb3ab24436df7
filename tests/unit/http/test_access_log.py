"""What is left of an error once it was told."""

import gc
import weakref

from gateway.domain.errors import NotFound, ProviderUnavailable
from gateway.http.access_log import Outcome


class Kept:
    """Something that the frame of a failed request held."""


def _failed() -> tuple[ProviderUnavailable, weakref.ref[Kept]]:
    def ask() -> None:
        kept.append(weakref.ref(held := Kept()))
        try:
            answer(held)
        except NotFound as cause:
            error = ProviderUnavailable("it failed")  # (its frame holds it, and it holds its frame)
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
    """They would be kept until a garbage collection, which makes everybody wait."""
    gc.disable()
    try:
        error, kept = _failed()
        Outcome().failed(error)
        assert error.__traceback__ is None
        assert isinstance(error.__cause__, NotFound)
        assert kept() is None
    finally:
        gc.enable()
