"""What both APIs of an emulated account share: authentication, errors, idempotency, spaces, and pages of browsers."""

import base64
import hashlib
import hmac
import json
import secrets
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from adapters.bctrl_browsers.emulator.far_ends import FarEnds
from adapters.bctrl_browsers.emulator.world import DEFAULT_SPACE, Browser, Run, World
from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Refusal

Handle = Callable[[Call], Answer]
Responses = dict[str, tuple[str, Answer]]
"""The digest of the request and the response, by idempotency key."""

_CODES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("request.invalid", "invalid_input"),
    401: ("auth.invalid", "unauthorized"),
    402: ("billing.insufficient_credits", "capability_denied"),
    403: ("auth.forbidden", "capability_denied"),
    404: ("route.not_found", "not_found"),
    405: ("request.method_not_allowed", "invalid_input"),
    409: ("browser.name_conflict", "conflict"),
    429: ("rate_limit.exceeded", "rate_limited"),
    502: ("upstream.unavailable", "upstream"),
    503: ("upstream.unavailable", "upstream"),
    504: ("upstream.unavailable", "upstream"),
}
_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 100


class Account(Emulator, ABC):
    """The state and the checks that the routes of both APIs use. A subclass adds the routes."""

    def __init__(self, token: str, personality: Mapping[str, str], now: Callable[[], float]) -> None:
        super().__init__(now=now)
        self._credentials = f"Bearer {token}".encode()
        self._personality = personality
        self._responses: Responses = {}
        self.world = World()
        self.far_ends: FarEnds | None = None

    def authenticate(self, headers: Mapping[str, str]) -> str:
        given = headers.get("Authorization")
        if given is None:
            raise Refusal(self.failure(401, "There is no Authorization header.", "auth.required"))
        if not hmac.compare_digest(given.encode(errors="replace"), self._credentials):
            raise Refusal(self.failure(401, "This token is not valid.", "auth.invalid"))
        return "account"

    def failure(self, status: int, detail: str, code: str | None = None) -> Answer:
        server = ("internal.error", "server")
        default, reason = _CODES.get(status, server if status >= 500 else _CODES[400])
        error = {
            "code": code or default,
            "message": detail,
            "reasonClass": reason,
            "requestId": f"req_{secrets.token_hex(8)}",
        }
        if status < 500:
            error["hint"] = "Change the request, or wait."
        return Answer(status, {"error": error}, {"x-request-id": error["requestId"]})

    def bad_json(self, detail: str) -> Answer:
        return self.failure(400, f"The body is not JSON: {detail}", "request.invalid_json")

    def once(self, handle: Handle) -> Handle:
        """A write with idempotency: the same ``Idempotency-Key`` returns the first response. Refusals are not
        remembered."""

        def write(call: Call) -> Answer:
            key = call.headers.get("Idempotency-Key")
            if key is None or call.repeated or self._personality["keys"] == "forgotten":
                return handle(call)
            request = hashlib.sha256(repr((call.operation, *call.path.values(), call.raw)).encode()).hexdigest()
            before, answer = self._responses.get(key, (request, None))
            if before != request:
                raise self.refuse(409, "The key was used for another request.", "idempotency.mismatch")
            if answer is not None:
                return replace(answer, created=None)
            self._responses[key] = (request, answer := handle(call))
            return answer

        return write

    def space_of(self, call: Call, body: Mapping[str, Any] | None = None) -> str:
        """The id of the space that a call concerns."""
        named = (body or {}).get("spaceId") or call.parameter("spaceId") or call.headers.get("BCTRL-Space")
        return DEFAULT_SPACE if named in {None, "", "default"} else str(named)

    def check_name(self, space: str, name: str, call: Call) -> None:
        """Raise ``Refusal`` (409) for a name that is taken."""
        may_be_taken = call.repeated or self._personality["names"] == "free"
        if not may_be_taken and self.world.namesakes(space, name, self.now()):
            raise self.refuse(409, "A browser of this name exists.", "browser.name_conflict")

    def start(self, browser: Browser) -> Run:
        """Start a run, unless the browser has one. Raises ``Refusal`` (429) if as many run as the emulator allows."""
        now, ends = self.now(), self.far_ends
        if ends is not None and ends.executable is not None and browser.needs_run:
            running = sum(not other.needs_run for other in self.world.all(now))
            if running >= ends.limit:
                detail = f"{running} browsers are running, and the emulator runs no more at once (--max-browsers)."
                raise self.refuse(429, detail, "browser.concurrent_quota_exceeded")
        return browser.start(now)

    def browser(self, call: Call) -> Browser:
        """The browser that a call concerns, by id or name. Raises ``Refusal`` (404)."""
        found = self.world.find(self.space_of(call), call.path["id"], self.now())
        if found is None:
            raise self.refuse(404, "There is no browser of this id or name.", "browser.not_found")
        return found

    def page_of(self, call: Call, browsers: Sequence[Browser]) -> Answer:
        order = call.parameter("order") or "desc"
        if order not in {"asc", "desc"}:
            raise self.refuse(400, "order is asc or desc")
        page, cursor = self.slice_of(call, [b for b in browsers if _wanted(b, call)], order)
        shown = [browser.shown(self.now()) for browser in page]
        return Answer(200, {"data": shown, "hasMore": cursor is not None, "nextCursor": cursor})

    def slice_of(self, call: Call, browsers: Sequence[Browser], order: str) -> tuple[Sequence[Browser], str | None]:
        """The browsers after the call's cursor, up to its limit, and the cursor of the next page or None."""
        limit = call.parameter("limit") or str(_DEFAULT_LIMIT)
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= _MAX_LIMIT):
            raise self.refuse(400, f"limit is 1 to {_MAX_LIMIT}")
        left = sorted(browsers, key=_key, reverse=order == "desc")
        cursor = call.parameter("cursor")
        if cursor is not None:
            try:
                made_for, *after = json.loads(base64.urlsafe_b64decode(cursor.encode()))
                created, browser_id = after
                last = (float(created), str(browser_id))
            except (ValueError, TypeError) as exc:
                raise self.refuse(400, "This is not a cursor of a list.", "pagination.cursor_invalid") from exc
            if made_for != order:
                raise self.refuse(400, "This cursor is of a list in another order.", "pagination.cursor_invalid")
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
