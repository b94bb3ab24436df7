"""What limited principals may ask for."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.access import Principal
from gateway.domain.config import RuntimeConfig
from gateway.domain.constraint_rules import refuse, require_allowed, start_with_bounds, with_bounds
from gateway.domain.constraints import Allowance, Reference, ReferenceKind
from gateway.domain.errors import PermissionDenied
from gateway.domain.requests import CreateBrowser, CreateDurable, CreateRequest, StartRequest
from gateway.settings.allow import AllowSettings

SECRET: Final = "6F1B5A52-5a0e-4b6b-9a57-0d3d3f5c2b11"
OTHER: Final = "00000000-5a0e-4b6b-9a57-0d3d3f5c2b11"
EVERYTHING: Final = {
    "profile_ids": [OTHER],
    "extension_ids": ["ext-1"],
    "secret_ids": [SECRET],
    "projects": ["research"],
    "proxy": {"hosts": ["Proxy.Example"]},
    "build_sources": ["git/acme-*"],
    "drivers": ["selenium", "playwright"],
    "resources": {"cpu_cores": 4, "memory_mb": 4096},
    "max_lifetime": "2h",
}


def limited(**allow: Any) -> Principal:
    return Principal("shop", allow=AllowSettings.model_validate(allow).allowance)


def pointers(principal: Principal, request: CreateRequest | StartRequest | RuntimeConfig) -> list[str | None]:
    try:
        require_allowed(principal, request)
    except PermissionDenied as refused:
        return [error.pointer for error in refused.errors]
    return []


def durable(**fields: Any) -> CreateDurable:
    return CreateDurable.model_validate({"kind": "durable", **fields})


def browser(**fields: Any) -> CreateBrowser:
    return CreateBrowser.model_validate({"kind": "browser", **fields})


REFERENCES: Final[list[tuple[CreateRequest | StartRequest, list[str]]]] = [
    (durable(project="research"), ["#/project"]),
    (durable(config={"secrets": {"secret_ids": [SECRET.lower()]}}), ["#/config/secrets/secret_ids/0"]),
    (durable(config={"build": {"source": {"kind": "git", "ref": "acme-x"}}}), ["#/config/build/source"]),
    (browser(launch={"mode": "profile", "profile_id": OTHER}), ["#/launch/profile_id"]),
    (browser(launch={"mode": "ephemeral", "extension_ids": ["ext-1"]}), ["#/launch/extension_ids/0"]),
    (
        browser(launch={"mode": "ephemeral", "proxy": {"type": "http", "host": "PROXY.example.", "port": 1}}),
        ["#/launch/proxy/host"],
    ),
    (StartRequest(secret_ids=[SECRET]), ["#/secret_ids/0"]),
]


@pytest.mark.parametrize(("request_", "places"), REFERENCES)
def test_reference_is_denied_unless_it_is_listed(request_: CreateRequest | StartRequest, places: list[str]) -> None:
    assert pointers(Principal("shop", own_only=True), request_) == places
    assert pointers(limited(), request_) == places
    assert pointers(limited(**EVERYTHING), request_) == []
    assert pointers(Principal("any"), request_) == []


def test_all_violations_are_reported_and_their_number_is_bounded() -> None:
    config = {"build": {"source": {"kind": "x"}}, "secrets": {"secret_ids": [OTHER] * 3000}, "resources": {}}
    found = pointers(limited(resources={"cpu_cores": 1}), durable(project="p", config=config))
    assert found[:2] == ["#/project", "#/config/build/source"]
    assert len(found) == 100
    few = pointers(limited(resources={"cpu_cores": 1}), durable(project="p", config={}))
    assert few == ["#/project", "#/config/resources/cpu_cores"]


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ({}, True),
        ({"kind": "builtin", "ref": "any/thing"}, True),
        ({"kind": "builtin/x", "ref": "runtime"}, False),
        ({"kind": "git", "ref": "acme-1"}, True),
        ({"kind": "git", "ref": "other"}, False),
        ({"kind": "git/acme-1", "ref": "x"}, False),
        ({"kind": "gitx", "ref": "acme-1"}, False),
    ],
)
def test_parts_of_a_build_source_are_matched_separately(source: dict[str, str], allowed: bool) -> None:
    config = RuntimeConfig.model_validate({"build": {"source": source}})
    assert (pointers(limited(build_sources=["git/acme-*"]), config) == []) is allowed


def test_unknown_members_are_refused_where_they_could_refer_to_something() -> None:
    config = RuntimeConfig.model_validate(
        {"new": 1, "build": {"source": {"url": "x"}}, "secrets": {"names": ["a"]}, "resources": {"gpus": 8}}
    )
    known = ["#/config/build/source/url", "#/config/secrets/names"]
    assert pointers(limited(), config) == known
    assert pointers(limited(resources={"memory_mb": 4096}), config) == [*known, "#/config/resources/gpus"]


@given(
    cores=st.none() | st.integers(1, 32),
    memory=st.none() | st.integers(1, 100_000),
    most_cores=st.none() | st.integers(1, 32),
    most_memory=st.none() | st.integers(1, 100_000),
)
def test_resources_are_allowed_exactly_up_to_their_bounds(
    cores: int | None, memory: int | None, most_cores: int | None, most_memory: int | None
) -> None:
    """A config without a value has the default."""
    sent = {name: value for name, value in (("cpu_cores", cores), ("memory_mb", memory)) if value is not None}
    allowance = Allowance(cpu_cores=most_cores, memory_mb=most_memory)
    found = pointers(Principal("shop", allow=allowance), RuntimeConfig.model_validate({"resources": sent}))
    expected = []
    if most_cores is not None and (cores or 2) > most_cores:
        expected.append("#/config/resources/cpu_cores")
    if most_memory is not None and (memory or 2048) > most_memory:
        expected.append("#/config/resources/memory_mb")
    assert found == expected
    if not sent:
        assert pointers(Principal("shop", allow=allowance), durable()) == expected


def test_driver_is_restricted_only_where_drivers_are_given_and_filled_in_where_none_was_sent() -> None:
    principal = limited(drivers=["selenium", "playwright"])
    assert pointers(principal, browser(driver="puppeteer")) == ["#/driver"]
    assert pointers(limited(), browser(driver="puppeteer")) == []
    assert with_bounds(principal, browser(driver="selenium"), limits=True).driver == "selenium"
    filled = with_bounds(principal, browser(), limits=True)
    assert (filled.driver, filled.sent("driver")) == ("playwright", True)
    assert not with_bounds(limited(), browser(), limits=True).sent("driver")


def test_time_limit_is_filled_in_where_none_was_sent_and_refused_where_it_is_longer() -> None:
    principal = limited(max_lifetime="2h")
    assert with_bounds(principal, durable(), limits=True).runtime_limit_seconds == 7200
    assert not with_bounds(principal, durable(), limits=False).sent("runtime_limit_seconds")
    assert with_bounds(principal, durable(runtime_limit_seconds=60), limits=True).runtime_limit_seconds == 60
    assert pointers(principal, durable(runtime_limit_seconds=7200)) == []
    assert pointers(principal, durable(runtime_limit_seconds=7201)) == ["#/runtime_limit_seconds"]
    assert pointers(principal, durable(config={"sandbox": {"timeout_seconds": 7201}})) == [
        "#/config/sandbox/timeout_seconds"
    ]
    assert pointers(principal, StartRequest(runtime_limit_seconds=7201)) == ["#/runtime_limit_seconds"]
    assert start_with_bounds(principal, StartRequest()).runtime_limit_seconds == 7200
    assert start_with_bounds(principal, StartRequest(runtime_limit_seconds=90)).runtime_limit_seconds == 90
    assert start_with_bounds(Principal("any"), StartRequest()).runtime_limit_seconds is None
    assert start_with_bounds(limited(max_lifetime=5), StartRequest()).runtime_limit_seconds == 60


def test_one_pointer_has_one_fault() -> None:
    faults = Allowance().refused([Reference(ReferenceKind.EXTENSION, each, "#/x") for each in "ab"])
    with pytest.raises(PermissionDenied) as refused:
        refuse(faults)
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("#/x", "not_allowed")]


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("90m", 5400), ("2h", 7200), ("7d", 604800), (45, 45)])
def test_duration_is_a_number_of_seconds_or_has_a_unit(text: Any, seconds: int) -> None:
    assert AllowSettings.model_validate({"max_lifetime": text}).max_lifetime == seconds


@pytest.mark.parametrize(
    "allow",
    [
        {"max_lifetime": 0},
        {"max_lifetime": "2 hours"},
        {"max_lifetime": "-2h"},
        {"max_lifetime": "999999999d"},
        {"drivers": []},
        {"build_sources": ["git"]},
        {"build_sources": ["/x"]},
        {"secret_ids": ["x"]},
        {"proxies": []},
    ],
)
def test_malformed_constraint_is_a_settings_fault(allow: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="AllowSettings"):
        AllowSettings.model_validate(allow)
