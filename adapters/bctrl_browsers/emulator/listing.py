"""Pages of browsers: filtered by the query, ordered by creation and id, continued after the key in a cursor."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from adapters.bctrl_browsers.emulator.world import Browser
from gateway.testing.exchange import Answer, Call, Refusal

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 100


class Account(Protocol):
    """What this module needs of the emulator."""

    now: Callable[[], float]

    def refuse(self, status: int, detail: str, code: str | None = None) -> Refusal:
        """A refusal in the provider's envelope, to be raised."""


def page_of(emulator: Account, call: Call, browsers: Sequence[Browser]) -> Answer:
    """The page of browsers that a call requests."""
    order = call.parameter("order") or "desc"
    if order not in {"asc", "desc"}:
        raise emulator.refuse(400, "order is asc or desc")
    page, cursor = slice_of(emulator, call, [b for b in browsers if _wanted(b, call)], order)
    shown = [browser.shown(emulator.now()) for browser in page]
    return Answer(200, {"data": shown, "hasMore": cursor is not None, "nextCursor": cursor})


def slice_of(
    emulator: Account, call: Call, browsers: Sequence[Browser], order: str
) -> tuple[Sequence[Browser], str | None]:
    """The browsers after the call's cursor, up to its limit, and the cursor of the next page or None."""
    limit = call.parameter("limit") or str(_DEFAULT_LIMIT)
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= _MAX_LIMIT):
        raise emulator.refuse(400, f"limit is 1 to {_MAX_LIMIT}")
    left = sorted(browsers, key=_key, reverse=order == "desc")
    cursor = call.parameter("cursor")
    if cursor is not None:
        try:
            made_for, *after = json.loads(base64.urlsafe_b64decode(cursor.encode()))
            created, browser_id = after
            last = (float(created), str(browser_id))
        except (ValueError, TypeError) as exc:
            raise emulator.refuse(400, "This is not a cursor of a list.", "pagination.cursor_invalid") from exc
        if made_for != order:
            raise emulator.refuse(400, "This cursor is of a list in another order.", "pagination.cursor_invalid")
        left = [b for b in left if (_key(b) < last if order == "desc" else _key(b) > last)]
    page = left[: int(limit)]
    more = len(left) > len(page)
    return page, _cursor([order, *_key(page[-1])]) if more else None


def _wanted(browser: Browser, call: Call) -> bool:
    statuses, q = call.parameters("status"), call.parameter("q")
    status = "idle" if browser.run is None else "running"
    return (
        call.parameter("name") in {None, browser.name}
        and call.parameter("location") in {None, browser.config.get("location", "auto")}
        and (not statuses or status in statuses)
        and (q is None or q.lower() in browser.name.lower())
    )


def _key(browser: Browser) -> tuple[float, str]:
    return browser.created, browser.id


def _cursor(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
