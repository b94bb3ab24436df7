"""A real HTTP server that behaves like bctrl's browser API, version 2026-10-03, as far as it is known (README.md)."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from adapters.bctrl_browsers.emulator import checks
from adapters.bctrl_browsers.emulator.account import Account, Handle, Responses
from adapters.bctrl_browsers.emulator.chromium import find
from adapters.bctrl_browsers.emulator.far_ends import Chromium, FarEnds
from adapters.bctrl_browsers.emulator.flat import FlatEra, flat_errors
from adapters.bctrl_browsers.emulator.world import DEFAULT_SPACE, Browser, new_id
from gateway.testing.exchange import Answer, Call, Made, Route, fault, personality_of, timestamp
from gateway.testing.state_file import StateFile

PERSONALITIES: Final[Mapping[str, tuple[str, ...]]] = {"names": ("unique", "free"), "keys": ("remembered", "forgotten")}

_FLAT_WAIT: Final = 30
"""Seconds for which calls of the flat era wait for a browser."""
_VERSION: Final = "2026-10-03"
_MARKER: Final = "rgw_intent"  # the member of metadata with the gateway's marker, reported to tests
_CREATE_ONLY: Final = frozenset({"name", "spaceId", "fromBrowser", "persona"})


@dataclass(frozen=True, slots=True)
class State:
    """Everything that calls created: the browsers by id, and the responses to idempotency keys."""

    browsers: dict[str, Browser]
    responses: Responses


class BrowsersEmulator(Account):
    members = {"id": "id", "name": "name", "scope": "spaceId"}

    def routes(self) -> Iterable[Route]:
        one = "/v1/browsers/{id}"
        yield Route("create", "POST", "/v1/browsers", self._write(self._create))
        yield Route("list", "GET", "/v1/browsers", self._read(self._list))
        yield Route("get", "GET", one, self._read(self._get))
        yield Route("update", "PATCH", one, self._write(self._update))
        yield Route("delete", "DELETE", one, self._write(self._delete))
        yield Route("start", "POST", f"{one}/start", self._write(self._start))
        yield Route("stop", "POST", f"{one}/stop", self._write(self._stop_run))
        yield Route("revoke", "POST", f"{one}/connections/revoke", self._write(self._revoke))
        yield Route("whoami", "GET", "/v1/auth/whoami", self._read(self._whoami))
        self._flat = FlatEra(self)
        yield from self._flat.routes()

    def clear(self) -> None:
        self.world.clear()
        self._responses.clear()
        self._follow()

    def counts(self) -> Mapping[str, int]:
        browsers = list(self.world.all(self.now()))
        return {"runtimes": len(browsers), "live_runtimes": sum(browser.run is not None for browser in browsers)}

    def made(self) -> Iterable[Made]:
        for browser in self.world.all(self.now()):
            marker = browser.config.get("metadata", {}).get(_MARKER)
            yield Made(browser.id, browser.name, browser.space, live=True, marker=marker, key=browser.key)

    def state(self) -> State:
        return State(self.world.browsers, self._responses)

    def restore(self, state: State) -> None:
        self.world.browsers, self._responses = state.browsers, state.responses

    async def resume(self, _app: web.Application) -> None:
        """Start the browsers of the runs that a kept state has."""
        self._follow()

    def commit_once(self, route: Route, call: Call) -> Answer:
        answer = super().commit_once(route, call)
        self._follow()
        return answer

    def _follow(self) -> None:
        if self.far_ends is not None:
            self.far_ends.follow(self.world.all(self.now()))

    async def settle(self, call: Call, answer: Answer) -> Answer:
        if self.far_ends is None or answer.status >= 400:
            return answer
        flat = call.operation.startswith("flat_")
        waited = _FLAT_WAIT if flat else int(call.parameter("wait") or 0)
        browser = self.world.by_id(answer.body.get("id") or answer.body.get("runtimeId") or "")
        if browser is None or not waited:
            return answer
        await self.far_ends.settled(browser.id, waited)
        shown = self._flat.with_addresses(browser, answer.body) if flat else browser.shown(self.now())
        return replace(answer, body=shown)

    def application(self, *, max_body: int = 1 << 20) -> web.Application:
        app = super().application(max_body=max_body)
        app.middlewares.insert(0, flat_errors)
        return app

    def _read(self, handle: Handle) -> Handle:
        def read(call: Call) -> Answer:
            if call.headers.get("BCTRL-Version", _VERSION) != _VERSION:
                raise self.refuse(400, f"The only version is {_VERSION}.", "request.version_unsupported")
            return handle(call)

        return read

    def _write(self, handle: Handle) -> Handle:
        return self._read(self.once(handle))

    def _body(self, call: Call, model: type[checks.Body]) -> dict[str, Any]:
        body = {} if (sent := call.json()) is None else sent
        if found := fault(body, model):
            raise self.refuse(400, found)
        return dict(body)

    def _waited(self, call: Call, browser: Browser) -> Browser:
        wait = call.parameter("wait") or "0"
        if not (wait.isascii() and wait.isdigit() and int(wait) <= 60):
            raise self.refuse(400, "wait is a number of seconds, 0 to 60")
        if int(wait) > 0:
            browser.finish_transition(self.now())
        return browser

    def _create(self, call: Call) -> Answer:
        body = self._body(call, checks.Create)
        now, space = self.now(), self.space_of(call, body)
        name = body.get("name") or f"browser-{secrets.token_hex(4)}"
        self.check_name(space, name, call)
        config = {key: value for key, value in body.items() if key not in _CREATE_ONLY}
        fresh = Browser(space, name, now, config, key=call.headers.get("Idempotency-Key"))
        browser = self._copied(fresh, body)
        self.start(browser)
        self._waited(call, browser)
        self.world.add(browser)
        return Answer(201, browser.shown(self.now()), created=browser.id)

    def _copied(self, browser: Browser, body: Mapping[str, Any]) -> Browser:
        if "fromBrowser" not in body:
            return browser
        if "persona" not in body:
            raise self.refuse(400, "fromBrowser needs persona.", "browser.persona_required")
        source = self.world.by_id(body["fromBrowser"]) or self.world.find(
            browser.space, body["fromBrowser"], self.now()
        )
        if source is None:
            raise self.refuse(404, "There is no such browser to copy.", "browser.not_found")
        source.drop_ended_run(self.now())
        if not source.saved:
            raise self.refuse(409, "The browser to copy has no saved state.", "browser.no_saved_state")
        at = timestamp(max(source.updated, source.used, source.created))
        browser.copied_from = {"browserId": source.id, "persona": body["persona"], "savedStateAt": at}
        browser.saved = True
        return browser

    def _list(self, call: Call) -> Answer:
        hidden = call.unseen.in_list()
        browsers = [b for b in self.world.of(self.space_of(call), self.now()) if b.id not in hidden]
        return self.page_of(call, browsers)

    def _get(self, call: Call) -> Answer:
        browser = self.browser(call)
        if call.unseen.in_get(browser.id):
            raise self.refuse(404, "There is no browser of this id or name.", "browser.not_found")
        return self._shown(self._waited(call, browser))

    def _update(self, call: Call) -> Answer:
        browser, body = self.browser(call), self._body(call, checks.Update)
        fixed = body.keys() & {"stealth", "viewport"}
        if fixed and (browser.run is not None or browser.saved):
            detail = f"{' and '.join(sorted(fixed))} can change while the browser is idle and has no saved state."
            raise self.refuse(409, detail, "runtime.not_stopped")
        if body.get("name", browser.name) != browser.name:
            self.check_name(browser.space, body["name"], call)
            browser.name = body["name"]
        browser.config |= {key: value for key, value in body.items() if key != "name"}
        browser.updated = self.now()
        return self._shown(browser)

    def _delete(self, call: Call) -> Answer:
        browser = self.browser(call)
        self.world.remove(browser)
        return Answer(200, {"id": browser.id, "deleted": True})

    def _start(self, call: Call) -> Answer:
        browser = self.browser(call)
        self._body(call, checks.Start)
        self.start(browser)
        return self._shown(self._waited(call, browser))

    def _stop_run(self, call: Call) -> Answer:
        browser, body = self.browser(call), self._body(call, checks.Stop)
        browser.stop(self.now(), discard=body.get("discardState", False))
        return self._shown(self._waited(call, browser))

    def _revoke(self, call: Call) -> Answer:
        browser = self.browser(call)
        if browser.run is None or browser.run.status(self.now()) != "active":
            raise self.refuse(409, "The browser is not running.", "browser.not_running")
        browser.run.credential = new_id("key")
        return self._shown(browser)

    def _whoami(self, _: Call) -> Answer:
        where = {"organizationId": "org_demo", "defaultSpaceId": DEFAULT_SPACE, "scope": "organization"}
        body = {"object": "identity", "keyId": "key_demo", "plan": "developer", **where, "effectiveScope": where}
        return Answer(200, body)

    def _shown(self, browser: Browser) -> Answer:
        return Answer(200, browser.shown(self.now()))


def create_emulator(
    *,
    token: str,
    personality: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
    browser: str | None = None,
    max_browsers: int = 8,
    state: Path | None = None,
) -> web.Application:
    """The emulator as an application. ``browser`` is ``auto``, ``none`` or the path of a Chromium, of which at most
    ``max_browsers`` run at once; None: its addresses lead nowhere. ``state`` is the file in which its state is kept.
    Raises ``ValueError`` for an unknown personality or an unknown value of one, and ``OSError`` for a file that cannot
    be used."""
    emulator = BrowsersEmulator(token, personality_of(PERSONALITIES, personality), now)
    if state is not None:
        emulator.keep_in(StateFile(state, State, transient=Chromium))
    if browser is None:
        return emulator.application()
    emulator.far_ends = far_ends = FarEnds(emulator.world, find(browser), max_browsers)
    app = emulator.application()
    app.cleanup_ctx.append(far_ends.running)
    app.on_startup.append(emulator.resume)
    return app
