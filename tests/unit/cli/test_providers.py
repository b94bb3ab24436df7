"""``providers list`` and ``providers get``: what they print."""

from typing import Any

from .conftest import Run, ScriptedGateway


def test_providers_are_listed_and_shown_by_name(gateway: ScriptedGateway, run: Run) -> None:
    provider = {"name": "p", "api": "bctrl", "kinds": ["browser", "desktop"], "creates": ["browser"], "scope": None}
    provider["health"] = {"status": "ok"}
    gateway.answers({"object": "list", "items": [provider]})
    header, row = run("providers", "list").stdout.splitlines()
    assert header.split() == ["NAME", "API", "CREATES", "HEALTH", "TROUBLE"]
    assert row.split() == ["p", "bctrl", "browser", "ok", "-"]
    gateway.answers(provider)
    shown = dict(line.split(maxsplit=1) for line in run("providers", "get", "p").stdout.splitlines())
    assert (shown["kinds"], shown["creates"], shown["health.status"]) == ("browser, desktop", "browser", "ok")
    gateway.answers(provider)
    assert run("providers", "get", "p", "-o", "name").stdout == "p\n"
    assert [seen.path for seen in gateway.seen] == ["/v1/providers", "/v1/providers/p", "/v1/providers/p"]


def test_list_of_providers_shows_rejected_credentials_and_open_breakers(gateway: ScriptedGateway, run: Run) -> None:
    breakers = {"read": "closed", "create": "open", "start": "half_open", "release": "closed"}
    policies = {work: {"in_flight": 0, "max_in_flight": 8, "breaker": state} for work, state in breakers.items()}
    provider: dict[str, Any] = {"name": "p", "api": "durable", "kinds": ["durable"], "scope": None}
    provider |= {"health": {"status": "failing", "credentials_ok": False}, "policies": policies}
    gateway.answers({"object": "list", "items": [provider]})
    header, row = run("providers", "list").stdout.splitlines()
    assert header.endswith("TROUBLE")
    assert row.endswith("failing  credentials rejected, create open, start half-open")
    gateway.answers(provider)
    rows = dict(line.split(maxsplit=1) for line in run("providers", "get", "p").stdout.splitlines())
    assert (rows["policies.create.breaker"], rows["health.credentials_ok"]) == ("open", "false")
    assert rows["policies.create.max_in_flight"] == "8"
