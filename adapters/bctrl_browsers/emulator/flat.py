"""The API of the flat era, ``/v1/runtimes``, with the same browsers, for the provider's clients 0.1.x and for
``bctrl.legacy`` of 0.3.0.

Its errors are flat (``{"error": "text", "code", …}``), its lists have no ``hasMore``, and a create starts a runtime
only if ``start`` is true. A start responds when the run is active.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import hdrs, web

from adapters.bctrl_browsers.emulator.account import Account
from adapters.bctrl_browsers.emulator.checks import FlatBody
from adapters.bctrl_browsers.emulator.world import Browser, Run
from gateway.testing.exchange import Answer, Call, Route, fault, timestamp

_PREFIX: Final = "/v1/runtimes"
_SAME: Final = ("autoUpgrade", "forceOpenShadowRoots", "headless", "networkTraffic", "proxy", "webRtcProxyOnly")
_RENAMED: Final = {"extensionIds": "extensions", "idleTimeoutSeconds": "timeoutSeconds"}


class FlatEra:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._world = account.world

    def routes(self) -> Iterable[Route]:
        """The operations have the names of the current era with the prefix ``flat_``."""
        one, once = _PREFIX + "/{id}", self._account.once
        yield Route("flat_create", "POST", _PREFIX, once(self._create))
        yield Route("flat_list", "GET", _PREFIX, self._list)
        yield Route("flat_get", "GET", one, self._get)
        yield Route("flat_update", "PATCH", one, once(self._update))
        yield Route("flat_delete", "DELETE", one, once(self._delete))
        yield Route("flat_start", "POST", f"{one}/start", once(self._start))
        yield Route("flat_stop", "POST", f"{one}/stop", once(self._stop))

    def _now(self) -> float:
        return self._account.now()

    def _body(self, call: Call) -> dict[str, Any]:
        body = {} if (sent := call.json()) is None else sent
        if found := fault(body, FlatBody):
            raise self._account.refuse(400, found)
        return dict(body)

    def _browser(self, call: Call) -> Browser:
        """The browser with the id, in any space: paths of the flat era name no space. Raises ``Refusal`` (404)."""
        for browser in self._world.all(self._now()):
            if browser.id == call.path["id"]:
                return browser
        raise self._account.refuse(404, "There is no runtime of this id.", "runtime.not_found")

    def _create(self, call: Call) -> Answer:
        body = self._body(call)
        if "type" not in body:
            raise self._account.refuse(400, "type is required")
        space = self._account.space_of(call, body)
        name = body.get("name") or f"runtime-{secrets.token_hex(4)}"
        self._account.check_name(space, name, call)
        browser = Browser(space, name, self._now())
        self._configure(browser, body)
        if not body.get("start"):
            self._world.add(browser)
            return Answer(201, self._detail(browser), created=browser.id)
        connection = self._connection(self._running(browser))
        self._world.add(browser)
        return Answer(201, {**self._detail(browser), "connection": connection}, created=browser.id)

    def _configure(self, browser: Browser, body: Mapping[str, Any]) -> None:
        browser.flat |= {key: body[key] for key in ("config", "profile", "metadata") if key in body}
        given = body.get("config", {})
        browser.config |= {key: given[key] for key in _SAME if key in given}
        browser.config |= {name: given[key] for key, name in _RENAMED.items() if key in given}
        if body.get("metadata") is not None:
            browser.config["metadata"] = body["metadata"]
        if "recording" in body:
            browser.config["recording"] = body["recording"]

    def _list(self, call: Call) -> Answer:
        hidden = call.unseen.in_list()
        statuses, q = call.parameters("status"), call.parameter("q")
        found = [
            browser
            for browser in self._world.of(self._account.space_of(call), self._now())
            if browser.id not in hidden
            and (not statuses or _status(browser) in statuses)
            and (q is None or q.lower() in browser.name.lower())
        ]
        page, cursor = self._account.slice_of(call, found, "desc")
        return Answer(200, {"data": [self._summary(browser) for browser in page], "nextCursor": cursor})

    def _get(self, call: Call) -> Answer:
        browser = self._browser(call)
        if call.unseen.in_get(browser.id):
            raise self._account.refuse(404, "There is no runtime of this id.", "runtime.not_found")
        shown = self._detail(browser)
        if call.parameter("include") == "connection" and browser.run is not None:
            shown["connection"] = self._connection(browser.run)
        return Answer(200, shown)

    def _update(self, call: Call) -> Answer:
        browser, body = self._browser(call), self._body(call)
        if body.get("name", browser.name) != browser.name:
            self._account.check_name(browser.space, body["name"], call)
            browser.name = body["name"]
        self._configure(browser, body)
        browser.updated = self._now()
        return Answer(200, self._detail(browser))

    def _delete(self, call: Call) -> Answer:
        browser = self._browser(call)
        if browser.run is not None and call.parameter("force") != "true":
            raise self._account.refuse(409, "Stop it first, or send force=true.", "runtime.not_stopped")
        self._world.remove(browser)
        return Answer(200, {"id": browser.id, "deleted": True})

    def _start(self, call: Call) -> Answer:
        browser = self._browser(call)
        started = browser.run is None
        connection = self._connection(self._running(browser))
        return Answer(200, {"runtimeId": browser.id, "started": started, "status": "active", **connection})

    def _stop(self, call: Call) -> Answer:
        browser, now = self._browser(call), self._now()
        run = browser.run
        browser.stop(now)
        browser.finish_transition(now)
        stopped = {"runtimeId": browser.id, "runId": run.id if run else None, "stopped": run is not None}
        return Answer(200, {**stopped, "status": "stopped"})

    def with_addresses(self, browser: Browser, body: Mapping[str, Any]) -> dict[str, Any]:
        """An answer about the browser with the addresses that its run has now."""
        if browser.run is None:
            return dict(body)
        connection = self._connection(browser.run)
        nested = {"connection": connection} if "connection" in body else {}
        return {**body, **{name: connection[name] for name in connection.keys() & body.keys()}, **nested}

    def _running(self, browser: Browser) -> Run:
        run = self._account.start(browser)
        browser.finish_transition(self._now())
        return run

    def _connection(self, run: Run) -> dict[str, Any]:
        urls = run.connections(self._now())
        return {
            "runId": run.id,
            "protocol": "cdp",
            "connectUrl": urls["cdpUrl"],
            "cdpUrl": urls["cdpUrl"],
            "webdriverUrl": urls["webdriverUrl"],
            "webDriverUrl": urls["webdriverUrl"],
            "recording": {"enabled": run.recording},
        }

    def _summary(self, browser: Browser) -> dict[str, Any]:
        return {
            "id": browser.id,
            "name": browser.name,
            "spaceId": browser.space,
            "type": "browser",
            "status": _status(browser),
            "activeRunId": browser.run.id if browser.run else None,
            "profile": browser.flat.get("profile", False),
            "createdAt": timestamp(browser.created),
            "updatedAt": timestamp(max(browser.updated, browser.created)),
            "lastActivityAt": timestamp(max(browser.used, browser.created)),
            "archivedAt": None,
            "needsInput": False,
        }

    def _detail(self, browser: Browser) -> dict[str, Any]:
        detail = {
            **self._summary(browser),
            "config": browser.flat.get("config", {}),
            "metadata": browser.flat.get("metadata"),
            "latestRun": None,
        }
        if browser.run is not None and browser.run.status(self._now()) == "active":
            connection = self._connection(browser.run)
            detail |= {key: connection[key] for key in ("connectUrl", "protocol", "webdriverUrl")}
        return detail


def _status(browser: Browser) -> str:
    return "stopped" if browser.run is None else "active"


@web.middleware
async def flat_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Rewrite errors of the flat era in its own envelope. A body that is not an envelope stays unchanged."""
    response = await handler(request)
    of_the_era = request.path == _PREFIX or request.path.startswith(f"{_PREFIX}/")
    if not of_the_era or response.status < 400 or not isinstance(response, web.Response):
        return response
    try:
        error = json.loads(response.text or "")["error"]
        flat = {"error": error["message"], **{name: error[name] for name in error if name != "message"}}
    except (ValueError, TypeError, KeyError):
        return response
    kept = {
        name: value for name, value in response.headers.items() if name not in {hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH}
    }
    return web.json_response(flat, status=response.status, headers=kept)
