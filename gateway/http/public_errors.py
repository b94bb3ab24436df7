"""Errors as callers with ``view: public`` see them."""

from copy import copy
from dataclasses import replace
from typing import Final

from gateway.domain.access import OF_ACCOUNT, Principal
from gateway.domain.errors import GatewayError, NotFound

_EXTRA: Final = frozenset({"feature", "held_by", "idempotency_key", "intent", "limit", "name", "scope", "state"})
"""Members of problems that are shown. ``scope`` is a permission."""


def shown_error(error: GatewayError, caller: Principal) -> GatewayError:
    """An error as the caller sees it. With ``view: public`` it names no provider, and says nothing of the provider's
    own error: its sentences are then general ones."""
    view = caller.view
    if view is None:
        return error
    shown = copy(error)
    general = error.failure is not None or isinstance(error, NotFound)
    shown.detail = error.title if general else view.text(error.detail, error.title)
    if error.failure is not None:
        faults = [replace(fault, detail=error.title, code="refused") for fault in error.errors]
    else:
        faults = [replace(fault, detail=view.text(fault.detail, error.title)) for fault in error.errors]
    shown.errors = tuple(dict.fromkeys(faults))
    shown.extra = {name: value for name, value in error.extra.items() if name in _EXTRA}
    if "held_by" in shown.extra:
        shown.extra["held_by"] = list(map(view.seal, shown.extra["held_by"]))
    if shown.extra.get("limit", {}).get("name") == OF_ACCOUNT:
        del shown.extra["limit"]
    if "incomplete" in error.extra:
        shown.extra["incomplete"] = [(None, shown_error(each, caller)) for _, each in error.extra["incomplete"]]
    shown.provider = shown.failure = None
    return shown
