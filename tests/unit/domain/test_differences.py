"""How a create differs from the runtime that has its name: pointers to sent fields, never values."""

from typing import Any

import pytest

from gateway.domain.config import RuntimeConfig
from gateway.domain.differences import differing_fields, same_config
from gateway.domain.requests import CREATE_REQUESTS
from gateway.domain.runtime import BrowserPart, DurablePart, Launch, Project, Proxy, Runtime
from gateway.domain.validation import validate
from gateway.domain.values import State

PROJECT = "11111111-2ee2-4e00-89ec-32d5f69181c0"
PROFILE = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"


def _existing(kind: str, **fields: Any) -> Runtime:
    return Runtime(id="p.1", kind=kind, provider="p", scope="s", provider_id="1", state=State.RUNNING, **fields)


DURABLE = _existing(
    "durable", display_name="Agent", description=None, durable=DurablePart(project=Project(id=PROJECT, key="shop"))
)
CONFIG = {
    "version": "v2",
    "capabilities": [{"name": "a", "version": None, "enabled": True}],
    "metadata": {"labels": {"team": "shop"}},
    "resources": {"cpu_cores": 2, "memory_mb": 2048},
    "runtime_server": {"env": {"KEY": "old"}},
    "sandbox": {"exposed_ports": [80], "workspace_mount": True},
}


def _pointers(body: dict[str, Any], existing: Runtime, config: dict[str, Any] | None = None) -> list[str | None]:
    request = validate(CREATE_REQUESTS[body["kind"]], body)
    return sorted(fault.pointer or "" for fault in differing_fields(request, existing, config))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, []),
        ({"display_name": "Agent", "project": "shop"}, []),
        ({"project": PROJECT}, []),
        ({"project": None}, []),
        ({"display_name": "Other"}, ["#/display_name"]),
        ({"description": "new"}, ["#/description"]),
        ({"project": "blog"}, ["#/project"]),
        ({"config": {}}, []),
        ({"config": None}, []),
        ({"config": {"version": "v2", "resources": {"cpu_cores": 2}}}, []),
        ({"config": {"resources": {"cpu_cores": 4}}}, ["#/config/resources/cpu_cores"]),
        ({"config": {"capabilities": [{"name": "b"}]}}, ["#/config/capabilities/0/name"]),
        ({"config": {"capabilities": []}}, ["#/config/capabilities"]),
        ({"config": {"runtime_server": {"env": {"KEY": "new"}}}}, ["#/config/runtime_server/env/KEY"]),
        ({"config": {"runtime_server": {"env": {}}}}, ["#/config/runtime_server/env"]),
        ({"config": {"sandbox": {"exposed_ports": [81]}}}, ["#/config/sandbox/exposed_ports/0"]),
        ({"config": {"sandbox": {"egress": {"allow": []}}}}, ["#/config/sandbox/egress"]),
        ({"config": {"defaults": {}}}, []),
        ({"config": {"new": 1}}, ["#/config/new"]),
        ({"labels": {"team": "shop"}}, []),
        ({"labels": {"team": "blog"}}, ["#/labels"]),
    ],
    ids=str,
)
def test_only_sent_fields_of_a_durable_create_that_differ_are_listed(body: dict[str, Any], expected: list[str]) -> None:
    assert _pointers({"kind": "durable", **body}, DURABLE, CONFIG) == expected


def test_a_config_that_is_not_known_cannot_differ() -> None:
    body = {"kind": "durable", "config": {"resources": {"cpu_cores": 31}}, "labels": {"a": "b"}}
    assert _pointers(body, DURABLE) == []


BROWSER = _existing(
    "browser",
    browser=BrowserPart(
        driver="playwright",
        launch=Launch(
            mode="ephemeral",
            extension_ids=["a"],
            humanize=True,
            proxy=Proxy(type="http", host="h", port=1, username="u"),
        ),
    ),
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, []),
        ({"driver": "playwright"}, []),
        ({"driver": "selenium"}, ["#/driver"]),
        ({"launch": {"mode": "profile", "profile_id": PROFILE}}, ["#/launch/mode"]),
        ({"launch": {"mode": "ephemeral", "humanize": False}}, ["#/launch/humanize"]),
        ({"launch": {"mode": "ephemeral", "extension_ids": []}}, ["#/launch/extension_ids"]),
        ({"launch": {"mode": "ephemeral", "solve_captchas": True}}, []),
        ({"launch": {"mode": "ephemeral", "proxy": None}}, ["#/launch/proxy"]),
        (
            {"launch": {"mode": "ephemeral", "proxy": {"type": "socks5", "host": "x", "port": 2, "password": "s"}}},
            ["#/launch/proxy/host", "#/launch/proxy/port", "#/launch/proxy/type"],
        ),
        ({"launch": {"mode": "ephemeral", "proxy": {"type": "http", "host": "h", "port": 1}}}, []),
    ],
    ids=str,
)
def test_only_sent_fields_of_a_browser_create_that_differ_are_listed(body: dict[str, Any], expected: list[str]) -> None:
    assert _pointers({"kind": "browser", **body}, BROWSER) == expected


def test_profiles_are_compared_as_uuids() -> None:
    known = _existing("browser", browser=BrowserPart(launch=Launch(mode="profile", profile_id=PROFILE)))
    launch = {"mode": "profile", "profile_id": PROFILE.upper()}
    assert _pointers({"kind": "browser", "launch": launch}, known) == []
    other = {"mode": "profile", "profile_id": PROJECT}
    assert _pointers({"kind": "browser", "launch": other}, known) == ["#/launch/profile_id"]


def test_differences_contain_no_values() -> None:
    body = {"kind": "durable", "config": {"runtime_server": {"env": {"KEY": "hunter2"}}}}
    found = differing_fields(validate(CREATE_REQUESTS["durable"], body), DURABLE, CONFIG)
    assert found
    assert not any("hunter2" in str(fault) or "old" in str(fault) for fault in found)


def test_a_runtime_of_another_kind_differs_in_kind_only() -> None:
    """Other fields of a runtime of another kind are not compared."""
    desktop = _existing("desktop", browser=BrowserPart(driver="selenium"))
    assert _pointers({"kind": "browser", "driver": "playwright"}, desktop) == ["#/kind"]


def test_a_browser_whose_details_are_not_reported_cannot_differ() -> None:
    assert _pointers({"kind": "browser", "driver": "playwright"}, _existing("browser")) == []


@pytest.mark.parametrize("kind", ["durable", "browser"])
def test_labels_are_compared_where_they_are_known_without_a_config(kind: str) -> None:
    known = _existing(kind, labels={"team": "shop"})
    assert _pointers({"kind": kind, "labels": {"team": "bank"}}, known) == ["#/labels"]
    assert _pointers({"kind": kind, "labels": {"team": "shop"}}, known) == []
    assert _pointers({"kind": kind, "labels": {"team": "bank"}}, _existing(kind)) == []


@pytest.mark.parametrize(
    ("sent", "known", "expected"),
    [
        ({"version": "v2"}, {}, True),
        ({"resources": {"cpu_cores": 4}}, {"version": "v2", "resources": {"cpu_cores": 4, "memory_mb": 2048}}, True),
        ({"resources": {"cpu_cores": 4}}, {"version": "v2", "resources": {"cpu_cores": 2}}, False),
        ({"version": "v2"}, {"version": "v2", "resources": {"cpu_cores": 4}}, False),
        ({"unheard_of": 1}, {"unheard_of": 1}, True),
        ({"unheard_of": 1}, {}, False),
        ({}, {"unheard_of": 1}, False),
        ({"version": "v2"}, {"version": "v3"}, False),
        ({"capabilities": [{"name": "a"}]}, {"capabilities": [{"name": "a", "version": None, "enabled": True}]}, True),
    ],
    ids=str,
)
def test_configs_are_equal_if_they_are_with_defaults_filled_in(
    sent: dict[str, Any], known: dict[str, Any], expected: bool
) -> None:
    assert same_config(RuntimeConfig.model_validate(sent), known) is expected
