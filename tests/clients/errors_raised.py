"""Makes one read and one write for each code of the gateway through one of the providers' own clients, and prints what
its user gets: ``{code: {"read": …, "write": …}}``.

Run by the interpreter that has the client. ``url`` with a code as its first segment is a server that answers all with
the error of that code. ``{"client": "bctrl" | "bctrl.legacy" | "dreadnode", "today": …, "url": …, "codes": […]}``.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

OPTIONS = json.loads(sys.argv[1])


def raised(call: Callable[[], Any]) -> Any:
    """What a call raises: the class, and the fields that are the same in all clients."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 (whatever the client makes of an answer is what is asked for)
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        if OPTIONS["today"]:
            code = envelope(error.body)["code"]
        return {"raised": type(error).__name__, "status": status, "code": code, "text": str(error)}
    return None


def envelope(body: Any) -> dict[str, Any]:
    """What an error of today's client says; the client parses some of them."""
    return body["error"] if isinstance(body, dict) else {"code": body.error.code}


def calls(url: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A read and a write, the latter under a key where the client has such."""
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


# The waits before a client sends again are its own affair; that it does is not.
time.sleep = lambda _seconds: None
found = {}
for code in OPTIONS["codes"]:
    read, write = calls(f"{OPTIONS['url']}/{code}")
    found[code] = {"read": raised(read), "write": raised(write)}
sys.stdout.write(json.dumps(found))
