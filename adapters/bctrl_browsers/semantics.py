"""What browsers of the browser API do by themselves, and what a move of one cannot carry."""

from collections.abc import Iterable
from typing import Any, Final

from adapters.bctrl_browsers.options import Options
from gateway.domain.errors import NotFound
from gateway.domain.ids import RuntimeRef
from gateway.domain.moves import Lost
from gateway.domain.runtime import Runtime
from gateway.ports.semantics import ProviderSemantics, ReferenceKind, Topic
from gateway.ports.transport import Call

_OPTIONS: Final = frozenset(str(field.alias) for field in Options.model_fields.values())


class BrowserSemantics(ProviderSemantics):
    """A browser outlives its runs, and keeps what a run has saved."""

    rules = {
        Topic.CREATE: "A create launches the browser.",
        Topic.LIFETIME: "A run has a timeout, 3600 s unless set; a browser expires when idle for 7 days unless set.",
        Topic.PAUSE: "There is no pause.",
        Topic.STOP: "A stop ends the run, and keeps the browser with its saved state.",
        Topic.RESTART: "A start makes another run with other addresses; the browser keeps its id.",
        Topic.PERSISTENCE: "The state is saved when a run ends.",
    }
    account = (
        "saved proxies and extensions",
        "webhooks, schedules and alerts",
        "spending caps and the balance of credits",
        "run history",
    )
    unreported = ("#/driver",)

    def losses(self, runtime: Runtime) -> Iterable[Lost]:
        data = runtime.provider_data
        if runtime.browser is not None and runtime.browser.running:
            yield Lost(what="sessions", why="Open pages and running scripts end with the run.")
        saved = data.get("savedState")
        if data.get("currentRun") is not None or (isinstance(saved, dict) and saved.get("status") != "none"):
            yield Lost(what="logins", why="Logged-in sites are in the saved state, which stays at the source.")
        if data.get("recording") is not False:
            yield Lost(what="recordings", why="Recordings of earlier runs stay in the account of the source.")

    def members(self, runtime: Runtime) -> dict[str, Any]:
        options = {name: value for name, value in runtime.provider_data.items() if name in _OPTIONS}
        if "metadata" in options:
            options["metadata"] = {**(runtime.labels or {}), **options["metadata"]}
            return {"provider_options": options, "labels": None}
        return {"provider_options": options}

    def saved_state(self, runtime: Runtime, *, ended: bool) -> str | None:
        data = runtime.provider_data
        saved = data.get("savedState")
        status = saved.get("status") if isinstance(saved, dict) else None
        will_be = ended and (status == "saving" or data.get("currentRun") is not None)
        return runtime.provider_id if status == "saved" or will_be else None

    def start_from(self, saved: str) -> dict[str, Any]:
        return {"provider_options": {"fromBrowser": saved, "persona": "same"}}

    async def has_reference(self, adapter: Any, kind: ReferenceKind, value: str, scope: str, call: Call) -> bool | None:
        if kind != "profile_ids":
            return None
        try:
            await adapter.get(RuntimeRef(scope, value), call)
        except NotFound:
            return False
        return True
