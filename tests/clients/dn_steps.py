"""Runs commands of the real ``dn`` and calls of its ``ApiClient`` in one process, because each start takes seconds.

Runs in the client's own environment; reads JSON from stdin and writes JSON to stdout.

In:  ``{"server", "key", "emulator", "steps": [{"dn": [...]} | {"api": name, "with": {...}} | {"fault": {...}}, ...]}``.
     The ``workspace`` of a command is ``research`` by default. ``keep`` stores the result's ``id``, or its member
     ``of``, under a name; later steps refer to it as ``{name}``.
Out: ``[{"exit", "out", "err"}, ...]``: for a command its exit code and output; for a call 0 and the JSON of the result,
     or 1 and the exception.
"""

import contextlib
import io
import json
import sys
import urllib.request
from typing import Any

from dreadnode.app.api.client import ApiClient
from dreadnode.app.cli import run


def main() -> None:
    job = json.load(sys.stdin)
    api = ApiClient(job["server"], api_key=job["key"])
    kept: dict[str, str] = {}
    results = []
    for step in job["steps"]:
        filled = json.loads(_filled(json.dumps(step), kept))
        if "fault" in filled:
            _fault(job["emulator"], filled["fault"])
            continue
        result = _command(job, filled) if "dn" in filled else _call(api, filled["api"], filled.get("with", {}))
        results.append(result)
        if "keep" in filled:
            value = json.loads(result["out"])
            for name in filled.get("of", "id").split("."):
                value = value[name]
            kept[filled["keep"]] = value
    json.dump(results, sys.stdout)


def _filled(text: str, kept: dict[str, str]) -> str:
    for name, value in kept.items():
        text = text.replace("{" + name + "}", value)
    return text


def _command(job: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    scope = ["--organization", "acme", "--workspace", step.get("workspace", "research")]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run([*step["dn"], "--server", job["server"], "--api-key", job["key"], *scope])
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return {"exit": code, "out": out.getvalue(), "err": err.getvalue()}


def _call(api: ApiClient, name: str, options: dict[str, Any]) -> dict[str, Any]:
    arguments = options.pop("*", [])
    try:
        answer = getattr(api, name)(*arguments, **options)
    except Exception as exc:  # noqa: BLE001 - any exception of the client is a result to compare
        return {"exit": 1, "out": "", "err": f"{type(exc).__name__}: {exc}"}
    return {"exit": 0, "out": json.dumps(answer, default=_plain), "err": ""}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json")


def _fault(emulator: str, rule: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{emulator}/__faults", json.dumps(rule).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status < 300


if __name__ == "__main__":
    main()
