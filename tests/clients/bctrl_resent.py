"""Creates through the provider's own clients while the response is lost. Prints what the client returned or raised for
the create and for its repetition with the same key, ``once``. ``python bctrl_resent.py '{"module": "bctrl", "fault":
{…}, "once": …}'``."""

import json
import sys
from importlib import import_module
from typing import Any
from urllib.request import Request, urlopen

OPTIONS = json.loads(sys.argv[1])
SDK = import_module(OPTIONS["module"])
TODAY = OPTIONS["today"]


def control(path: str, body: Any = None) -> Any:
    """Call the emulator's control routes."""
    raw = None if body is None else json.dumps(body).encode()
    with urlopen(Request(OPTIONS["control"] + path, data=raw)) as answer:  # noqa: S310 (loopback)
        return json.loads(answer.read())


def create(key: str) -> Any:
    """Create with a key. Returns the id, or what was raised."""
    try:
        if TODAY:
            return {"id": api.browsers.create(name=key, idempotency_key=key).id}
        return {"id": api.runtimes.create(type="browser", name=key, start=True, idempotency_key=key)["id"]}
    except SDK.BctrlError as error:
        error_body = error.body["error"] if TODAY else error.body
        return {"raised": type(error).__name__, "status": error.status_code, "reason": error_body["reasonClass"]}


secret = {"token" if TODAY else "api_key": OPTIONS["key"]}
api = SDK.Bctrl(**secret, base_url=OPTIONS["url"])
control("/__faults", {"operation": "create", "times": 1, **OPTIONS["fault"]})
first = create(OPTIONS["once"])
sent = control("/__stats")["requests"]["create"]
second = create(OPTIONS["once"])
stats = control("/__stats")
sys.stdout.write(json.dumps({"first": first, "sent": sent, "second": second, "made": stats["creates_committed"]}))
