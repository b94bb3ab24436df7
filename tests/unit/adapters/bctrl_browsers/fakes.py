"""The JSON of the browser API's responses."""

from typing import Any

from adapters.bctrl_browsers.adapter import BctrlBrowsersAdapter
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from gateway.domain.requests import CreateBrowser
from gateway.domain.validation import validate
from gateway.ports.transport import TransportFailure, UpstreamResponse
from tests.unit.adapters.fakes import FakeTransport

TOKEN = "browsers-token-4711"
SPACE = "sp_1"
ID = "br_4f1c2a9e"


def row(**members: Any) -> dict[str, Any]:
    """An idle browser with the members that the provider's client requires."""
    return {
        "object": "browser",
        "type": "browser",
        "id": ID,
        "name": "checkout-bot",
        "spaceId": SPACE,
        "status": "idle",
        "createdAt": "2026-10-04T10:00:00Z",
        "updatedAt": "2026-10-04T10:00:05Z",
        "lastUsedAt": "2026-10-04T10:00:05Z",
        "autoUpgrade": True,
        "expireAfterIdleDays": 7,
        "extensions": ["ext_1"],
        "forceOpenShadowRoots": False,
        "gpu": False,
        "headless": True,
        "location": "auto",
        "metadata": {"team": "shop"},
        "recording": False,
        "savedState": {"status": "none"},
        "standbyAfterSeconds": 0,
        "stealth": "normal",
        "timeoutSeconds": 3600,
        "viewport": {"width": 1920, "height": 1080},
        "webRtcProxyOnly": True,
        **members,
    }


def running(status: str = "active", **members: Any) -> dict[str, Any]:
    """A browser with a current run of the given status; ``members`` are those of the run."""
    run = {
        "object": "run",
        "id": "run_1",
        "resourceId": ID,
        "resourceType": "browser",
        "spaceId": SPACE,
        "status": status,
        "location": "us-east",
        "control": {"holder": "agent", "since": "2026-10-04T10:00:00Z"},
        "recording": {"enabled": False},
        **members,
    }
    return row(status="running", currentRun=run)


def create(**members: Any) -> CreateBrowser:
    """A parsed create."""
    return validate(CreateBrowser, {"kind": "browser", "name": "checkout-bot", **members})


def settings(**options: Any) -> BctrlBrowsersSettings:
    """The settings of a pinned provider called ``bb``."""
    known = {"name": "bb", "api": "bctrl_browsers", "base_url": "http://bctrl.test", "token": TOKEN, "scope": SPACE}
    return BctrlBrowsersSettings.model_validate({**known, **options})


def adapter(
    *answers: UpstreamResponse | TransportFailure, **options: Any
) -> tuple[BctrlBrowsersAdapter, FakeTransport]:
    """An adapter on a transport with the given responses."""
    transport = FakeTransport(*answers)
    return BctrlBrowsersAdapter(settings(**options), transport), transport
