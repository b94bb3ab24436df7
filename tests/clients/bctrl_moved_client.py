"""Uses the provider's own client of the flat era on all browsers that it finds, and prints the results by their names.

Run by the interpreter that has the client: ``python bctrl_moved_client.py '{"url": …, "key": …}'``.
"""

import json
import sys
from typing import Any

from bctrl import Bctrl

OPTIONS = json.loads(sys.argv[1])
api = Bctrl(api_key=OPTIONS["key"], base_url=OPTIONS["url"])


def started(runtime_id: str) -> list[Any]:
    found = api.runtimes.start(runtime_id)
    return [found["runtimeId"], found["started"], found["status"]]


def steps(runtime_id: str) -> dict[str, Any]:
    """What the client sees of a runtime, and what its verbs return."""
    seen = api.runtimes.get(runtime_id)
    results: dict[str, Any] = {"get": [seen["id"], seen["name"], seen["status"]], "start": started(runtime_id)}
    stopped = api.runtimes.stop(runtime_id)
    results["stop"] = [stopped["runtimeId"], stopped["stopped"], stopped["status"]]
    results["then"] = api.runtimes.get(runtime_id)["status"]
    return {**results, "start again": started(runtime_id)}


listed = list(api.runtimes.iter(limit=2))
sys.stdout.write(json.dumps({row["name"]: steps(row["id"]) for row in listed}))
