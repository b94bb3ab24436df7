"""Makes one read and one write for each error code of the gateway through one of the providers' own clients, and prints
what the client raises: ``{code: {"read": …, "write": …}}``.

The interpreter of the client's environment runs this script. Its only argument is JSON:
``{"client": "bctrl" | "bctrl.legacy" | "dreadnode", "today": …, "url": …, "codes": […]}``. The server at ``url``
responds to every request under ``/{code}`` with the error of that code.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

OPTIONS = json.loads(sys.argv[1])


def raised(call: Callable[[], Any]) -> Any:
    """Return what a call raises: the class, and the fields that all clients have. None if it raises nothing."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 (the test is about whatever the client raises)
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        if OPTIONS["today"]:
            code = envelope(error.body)["code"]
        return {"raised": type(error).__name__, "status": status, "code": code, "text": str(error)}
    return None


def envelope(body: Any) -> dict[str, Any]:
    """Return the error in the body of an exception of today's client, which parses some bodies and not others."""
    return body["error"] if isinstance(body, dict) else {"code": body.error.code}


def calls(url: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return a read and a write; the write has an idempotency key if the client supports one."""
    if OPTIONS["client"] == "dreadnode":
        api = import_module("dreadnode.app.api.client").ApiClient(url, api_key="any")
        where = ("acme", "research")
        return lambda: api.get_runtime(*where, "any"), lambda: api.create_runtime(*where, key="any", name="Any")
    sdk = import_module(OPTIONS["client"])
    if OPTIONS["today"]:
        browsers = sdk.Bctrl(token="any", base_url=url).browsers
        return lambda: browsers.get("any"), lambda: browsers.create(name="any", idempotency_key="any")
    runtimes = sdk.Bctrl(api_key="any", base_url=url).runtimes
    return lambda: runtimes.get("any"), lambda: runtimes.start("any", idempotency_key="any")


# The test checks whether a client retries, not how long it waits before that.
time.sleep = lambda _seconds: None
found = {}
for code in OPTIONS["codes"]:
    read, write = calls(f"{OPTIONS['url']}/{code}")
    found[code] = {"read": raised(read), "write": raised(write)}
sys.stdout.write(json.dumps(found))
