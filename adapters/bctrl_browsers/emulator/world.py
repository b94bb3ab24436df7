"""The browsers of an emulated account, and their runs."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from adapters.bctrl_browsers.emulator import checks
from gateway.testing.exchange import timestamp

DEFAULT_SPACE: Final = "sp_demo"
"""The id of the account's default space."""

STARTUP: Final = 1.0
"""The seconds that a run takes to start."""

SHUTDOWN: Final = 1.0
"""The seconds that a run takes to stop."""

CONNECTIONS_LAST: Final = 3600

DEFAULTS: Final = checks.Update().model_dump(
    by_alias=True, exclude={"name", "audit", "captcha", "network_traffic", "proxy"}
)
"""The members that a browser shows, whether or not they were set."""


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


class FarEnd(Protocol):
    """The browser of a run, where the emulator runs any (``far_ends.py``). ``address`` is that of its WebSocket, once
    it listens; ``failure`` says why it ended although it was not stopped."""

    address: str | None
    failure: str | None
    task: asyncio.Task[None] | None

    def urls(self, credential: str) -> dict[str, str]:
        """The members of ``connections`` that lead to it."""


@dataclass(slots=True)
class Run:
    """One run of a browser. ``active_at`` and ``ended_at`` are the times at which it is active and ended, in seconds
    since the epoch."""

    requested_at: float
    active_at: float
    recording: bool
    ended_at: float | None = None
    discard: bool = False
    id: str = field(default_factory=lambda: new_id("run"))
    credential: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    far_end: FarEnd | None = None

    @property
    def failure(self) -> str | None:
        """Why the run's browser ended although it was not stopped."""
        return None if self.far_end is None else self.far_end.failure

    def status(self, now: float) -> str:
        """``starting``, ``active``, ``stopping``, ``ended`` or ``failed``."""
        if self.ended_at is not None:
            return "stopping" if now < self.ended_at else "ended"
        if self.failure is not None:
            return "failed"
        listens = self.far_end is None or self.far_end.address is not None
        return "active" if listens and now >= self.active_at else "starting"

    def connections(self, now: float) -> dict[str, str]:
        """The connections. Every URL is a credential."""
        host, key = f"{self.id.replace('_', '-')}.browsers.invalid", f"key={self.credential}"
        return {
            "cdpUrl": f"wss://{host}/cdp?{key}",
            "webdriverUrl": f"https://{host}/webdriver?{key}",
            "liveViewUrl": f"https://{host}/view?{key}",
            "liveViewReadOnlyUrl": f"https://{host}/view?{key}&readOnly=1",
            "expiresAt": timestamp(now + CONNECTIONS_LAST),
            **({} if self.far_end is None else self.far_end.urls(self.credential)),
        }


@dataclass(slots=True)
class Browser:
    """A browser of a space. ``config`` are the members that were set, ``run`` is the current run or the one that just
    ended, ``key`` the idempotency key of the create."""

    space: str
    name: str
    created: float
    config: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id("br"))
    updated: float = 0.0
    used: float = 0.0
    run: Run | None = None
    saved: bool = False
    copied_from: dict[str, Any] | None = None
    flat: dict[str, Any] = field(default_factory=dict)
    key: str | None = None

    def drop_ended_run(self, now: float) -> None:
        """Remove a run that has ended, and save its state unless it is discarded."""
        if self.run is not None and self.run.status(now) == "ended":
            self.saved = not self.run.discard
            self.run = None

    @property
    def needs_run(self) -> bool:
        return self.run is None or self.run.ended_at is not None or self.run.failure is not None

    def start(self, now: float) -> Run:
        """Request a run. A current run is kept; one that is stopping is ended first, and one that failed replaced."""
        if self.run is not None and not self.needs_run:
            return self.run
        self.finish_transition(now)
        self.saved = self.saved or self.run is not None  # what a failed run had stored is kept
        recording = {**DEFAULTS, **self.config}["recording"]
        self.run = Run(now, now + STARTUP, recording)
        self.used = now
        return self.run

    def stop(self, now: float, *, discard: bool = False) -> None:
        """Request the run to stop. A browser that is stopping or idle does not change."""
        if discard:
            self.saved = False
        if self.run is not None:
            self.run.discard = self.run.discard or discard
            if self.run.ended_at is None:
                self.run.ended_at = now + SHUTDOWN

    def finish_transition(self, now: float) -> None:
        """Complete a start or a stop that is in progress."""
        if self.run is not None:
            self.run.active_at = min(self.run.active_at, now)
            if self.run.ended_at is not None:
                self.run.ended_at = min(self.run.ended_at, now)
        self.drop_ended_run(now)

    def shown(self, now: float) -> dict[str, Any]:
        """The JSON of the browser, with all members that the provider's client requires."""
        return {
            "object": "browser",
            "type": "browser",
            "id": self.id,
            "name": self.name,
            "spaceId": self.space,
            "status": "idle" if self.run is None else "running",
            "createdAt": timestamp(self.created),
            "updatedAt": timestamp(max(self.updated, self.created)),
            "lastUsedAt": timestamp(max(self.used, self.created)),
            **DEFAULTS,
            **self.config,
            **({"proxy": shown_proxy(self.config["proxy"])} if "proxy" in self.config else {}),
            "savedState": {"status": "saved", "sizeBytes": 4096} if self.saved else {"status": "none"},
            **({"copiedFrom": self.copied_from} if self.copied_from else {}),
            "currentRun": None if self.run is None else self._shown_run(self.run, now),
        }

    def _shown_run(self, run: Run, now: float) -> dict[str, Any]:
        status = run.status(now)
        active = status == "active"
        since = timestamp(run.active_at if active else run.requested_at)
        return {
            "object": "run",
            "id": run.id,
            "resourceId": self.id,
            "resourceType": "browser",
            "spaceId": self.space,
            "status": status,
            "createdAt": timestamp(run.requested_at),
            "updatedAt": since,
            "startedAt": since if active else None,
            "endedAt": None,
            "endReason": run.failure,
            "location": "us-east",
            "control": {"holder": "agent" if active else "none", "since": since},
            "recording": {"enabled": run.recording},
            **({"connections": run.connections(now)} if active else {}),
        }


def shown_proxy(proxy: Any) -> Any:
    """A proxy as responses show it: without its password."""
    if isinstance(proxy, str):
        proxy = {"url": proxy}
    if isinstance(proxy, dict) and "url" in proxy:
        parts = urlsplit(proxy["url"])
        rest = {name: value for name, value in proxy.items() if name != "url"}
        userinfo = {"username": parts.username, "password": parts.password}
        given = {name: value for name, value in userinfo.items() if value is not None}
        proxy = {"protocol": parts.scheme, "host": parts.hostname, "port": parts.port, **given, **rest}
    if isinstance(proxy, dict) and "host" in proxy:
        shown = {name: value for name, value in proxy.items() if name != "password"}
        return {**shown, "type": "custom", "hasPassword": "password" in proxy}
    return proxy


class World:
    """All browsers of the account by id, in the order of their creation."""

    def __init__(self) -> None:
        self.browsers: dict[str, Browser] = {}

    def clear(self) -> None:
        self.browsers.clear()

    def all(self, now: float) -> Iterator[Browser]:
        for browser in self.browsers.values():
            browser.drop_ended_run(now)
            yield browser

    def by_id(self, browser_id: str) -> Browser | None:
        """The browser with the id, in any space."""
        return self.browsers.get(browser_id)

    def add(self, browser: Browser) -> None:
        self.browsers[browser.id] = browser

    def remove(self, browser: Browser) -> None:
        del self.browsers[browser.id]

    def of(self, space: str, now: float) -> list[Browser]:
        return [browser for browser in self.all(now) if browser.space == space]

    def namesakes(self, space: str, name: str, now: float) -> list[Browser]:
        """The browsers with the name, oldest first."""
        return [browser for browser in self.of(space, now) if browser.name == name]

    def find(self, space: str, id_or_name: str, now: float) -> Browser | None:
        """The browser with the id, else the newest with the name, else None."""
        browsers = self.of(space, now)
        by_id = [browser for browser in browsers if browser.id == id_or_name]
        by_name = [browser for browser in browsers if browser.name == id_or_name]
        return (by_name + by_id)[-1] if by_name or by_id else None
