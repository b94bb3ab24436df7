"""The control routes of an emulator, for tests and the demo. They need no credentials.

=======================  =====================================================================================
``GET /__requests``      the latest requests (``?operation=`` filters): ``{"items": [...]}`` of ``recording.Received``
``GET /__stats``         counts: requests and commits per operation, what exists, faults fired, waiting calls
``GET /__runtimes``      the runtimes that exist (``?name=`` filters): ``{"items": [...]}`` of ``exchange.Made``
``POST /__reset``        deletes all runtimes, rules, records and counts
``POST /__faults``       adds a rule or a list of rules (``gateway.testing.faults``); GET lists and DELETE removes them;
                         both also list the names of all operations and all faults
``POST /__release``      continues held calls and shows what lags (``?operation=``: only its held calls)
=======================  =====================================================================================
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.testing.faults import STAGES, BadRule, Refuse, parse_rules
from gateway.testing.recording import parse_json

if TYPE_CHECKING:
    from gateway.testing.emulator import Emulator

PREFIX: Final = "/__"


def add_to(app: web.Application, emulator: "Emulator") -> None:
    controls = _Controls(emulator)
    app.router.add_get("/__requests", controls.show_requests)
    app.router.add_get("/__stats", controls.show_stats)
    app.router.add_get("/__runtimes", controls.show_runtimes)
    app.router.add_post("/__reset", controls.reset)
    app.router.add_post("/__release", controls.release)
    app.router.add_get("/__faults", controls.show_faults)
    app.router.add_post("/__faults", controls.add_faults)
    app.router.add_delete("/__faults", controls.end_faults)


class _Controls:
    def __init__(self, emulator: "Emulator") -> None:
        self._emulator = emulator
        self._operations = sorted(set(emulator.operations.values()))

    async def show_requests(self, request: web.Request) -> web.Response:
        entries = self._emulator.requests.received(request.query.get("operation"))
        return web.json_response({"items": [entry.shown() for entry in entries]})

    async def show_stats(self, _: web.Request) -> web.Response:
        return web.json_response(self._emulator.stats())

    async def show_runtimes(self, request: web.Request) -> web.Response:
        wanted = request.query.get("name")
        found = [asdict(made) for made in self._emulator.made() if wanted in {None, made.name}]
        return web.json_response({"items": found})

    async def reset(self, _: web.Request) -> web.Response:
        self._emulator.reset()
        await self._heed()
        return web.json_response(self._emulator.stats())

    async def release(self, request: web.Request) -> web.Response:
        operation = request.query.get("operation")
        if operation is not None and operation not in self._operations:
            return _bad("operation", f"unknown operation; known are {', '.join(self._operations)}")
        return web.json_response({"released": self._emulator.release(operation)})

    async def show_faults(self, _: web.Request) -> web.Response:
        return self._rules(200)

    async def add_faults(self, request: web.Request) -> web.Response:
        try:
            data: Any = parse_json(await request.read())
        except ValueError as exc:
            return _bad("body", str(exc))
        try:
            rules = parse_rules(data, self._operations)
        except BadRule as bad:
            return _bad(bad.field, bad.detail)
        if self._emulator.listener is None and any(isinstance(rule, Refuse) for rule in rules):
            return _bad(
                "fault", "only an emulator of the demo, with its controls at another address, can refuse connections"
            )
        self._emulator.faults.add(rules)
        await self._heed()
        return self._rules(201)

    async def end_faults(self, _: web.Request) -> web.Response:
        ended = self._emulator.faults.end_all()
        await self._heed()
        return web.json_response({"ended": ended})

    async def _heed(self) -> None:
        if self._emulator.listener is not None:
            await self._emulator.listener.heed()

    def _rules(self, status: int) -> web.Response:
        faults = self._emulator.faults
        body = {
            "items": faults.shown(),
            "fired": dict(faults.fired),
            "operations": self._operations,
            "faults": sorted(STAGES),
        }
        return web.json_response(body, status=status)


def _bad(field: str, detail: str) -> web.Response:
    return web.json_response({"error": f"{field}: {detail}", "field": field, "detail": detail}, status=400)
