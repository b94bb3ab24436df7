"""What browsers of the workspaces API do by themselves, and what a move of one cannot carry."""

from collections.abc import Iterable
from typing import Any

from gateway.domain.moves import Lost
from gateway.domain.runtime import Runtime
from gateway.ports.semantics import ProviderSemantics, Topic


class BctrlSemantics(ProviderSemantics):
    """A runtime is one launch of a browser. No read returns how it was launched, but for the mode and the profile."""

    rules = {
        Topic.CREATE: "A create launches the browser.",
        Topic.LIFETIME: "No end is documented: the browser runs until it is stopped.",
        Topic.PAUSE: "There is no pause.",
        Topic.STOP: "A stop ends the runtime for good.",
        Topic.RESTART: "An ended runtime cannot be started; a create of its name makes another one, with another id.",
        Topic.PERSISTENCE: "Without a profile nothing is kept when the browser ends.",
    }
    account = (
        "saved profiles, extensions and proxies",
        "webhooks, schedules and alerts",
        "spending caps and the balance of credits",
        "recordings and usage history",
    )
    unreported = (
        "#/launch/extension_ids",
        "#/launch/humanize",
        "#/launch/humanize_persona_id",
        "#/launch/solve_captchas",
        "#/launch/proxy",
    )

    def losses(self, runtime: Runtime) -> Iterable[Lost]:
        launch = runtime.browser.launch if runtime.browser else None
        yield Lost(what="sessions", why="Open pages and running scripts end with the browser.")
        if launch is not None and launch.profile_id is not None:
            yield Lost(what="logins", why=f"Logged-in sites are in the profile {launch.profile_id} of the source.")
        yield Lost(what="recordings", why="Recordings, if there are any, stay in the account of the source.")

    def start_from(self, saved: str) -> dict[str, Any]:
        return {"launch": {"mode": "profile", "profile_id": saved}}
