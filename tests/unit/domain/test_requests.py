"""Request bodies of the unified API: strict, faults with pointers, absent, null and empty distinguished."""

from typing import Any

import pytest
from pydantic import BaseModel

from gateway.domain.errors import ValidationFailed
from gateway.domain.requests import (
    ConnectRequest,
    CreateBrowser,
    CreateDurable,
    EphemeralLaunch,
    InstallCapability,
    KeepaliveRequest,
    NoOptions,
    ProfileLaunch,
    ReplaceConfig,
    StartRequest,
    StopRequest,
    UpdateCapability,
)
from gateway.domain.validation import validate
from gateway.domain.values import CreateFeature, Feature

UUID = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"
PROXY = {"type": "http", "host": "proxy.test", "port": 1080}


def _browser(**fields: Any) -> dict[str, Any]:
    return {"kind": "browser", **fields}


def _durable(**fields: Any) -> dict[str, Any]:
    return {"kind": "durable", **fields}


def _ephemeral(**fields: Any) -> dict[str, Any]:
    return _browser(launch={"mode": "ephemeral", **fields})


REFUSED: list[tuple[type[BaseModel], dict[str, Any], str]] = [
    (CreateDurable, _durable(nmae="x"), "#/nmae"),
    (CreateDurable, _durable(key="x"), "#/key"),
    (CreateDurable, _durable(launch={"mode": "ephemeral"}), "#/launch"),
    (CreateDurable, _durable(name=""), "#/name"),
    (CreateDurable, _durable(name="-x"), "#/name"),
    (CreateDurable, _durable(name="a/b"), "#/name"),
    (CreateDurable, _durable(name="a\n"), "#/name"),
    (CreateDurable, _durable(name="a" * 101), "#/name"),
    (CreateDurable, _durable(name=None), "#/name"),
    (CreateDurable, _durable(provider="UPPER"), "#/provider"),
    (CreateDurable, _durable(scope=""), "#/scope"),
    (CreateDurable, _durable(display_name=""), "#/display_name"),
    (CreateDurable, _durable(display_name="a" * 101), "#/display_name"),
    (CreateDurable, _durable(display_name=None), "#/display_name"),
    (CreateDurable, _durable(description="a" * 501), "#/description"),
    (CreateDurable, _durable(description=None), "#/description"),
    (CreateDurable, _durable(runtime_limit_seconds=59), "#/runtime_limit_seconds"),
    (CreateDurable, _durable(runtime_limit_seconds=None), "#/runtime_limit_seconds"),
    (CreateDurable, _durable(labels={"a": 1}), "#/labels/a"),
    (CreateDurable, _durable(labels=None), "#/labels"),
    (CreateDurable, _durable(start="true"), "#/start"),
    (CreateDurable, _durable(if_exists="replace"), "#/if_exists"),
    (CreateDurable, _durable(provider_options=None), "#/provider_options"),
    (CreateDurable, _durable(config=[]), "#/config"),
    (CreateDurable, _durable(config={"resources": {"cpu_cores": 0}}), "#/config/resources/cpu_cores"),
    (CreateDurable, _durable(labels={"a": "1"}, config={"metadata": {"labels": {"a": "2"}}}), "#/config"),
    (CreateBrowser, _browser(driver="firefox"), "#/driver"),
    (CreateBrowser, _browser(driver=None), "#/driver"),
    (CreateBrowser, _browser(launch=None), "#/launch"),
    (CreateBrowser, _browser(launch={}), "#/launch/mode"),
    (CreateBrowser, _browser(launch={"mode": "remote"}), "#/launch/mode"),
    (CreateBrowser, _browser(launch={"mode": "profile"}), "#/launch/profile_id"),
    (CreateBrowser, _browser(launch={"mode": "profile", "profile_id": "x"}), "#/launch/profile_id"),
    (CreateBrowser, _browser(launch={"mode": "profile", "profile_id": UUID, "humanize": True}), "#/launch/humanize"),
    (CreateBrowser, _ephemeral(profile_id=UUID), "#/launch/profile_id"),
    (CreateBrowser, _ephemeral(config={}), "#/launch/config"),
    (CreateBrowser, _ephemeral(extension_ids="a"), "#/launch/extension_ids"),
    (CreateBrowser, _ephemeral(extension_ids=["a", 1]), "#/launch/extension_ids/1"),
    (CreateBrowser, _ephemeral(humanize=1), "#/launch/humanize"),
    (CreateBrowser, _ephemeral(humanize_persona_id=1.5), "#/launch/humanize_persona_id"),
    (CreateBrowser, _ephemeral(solve_captchas=None), "#/launch/solve_captchas"),
    (CreateBrowser, _ephemeral(proxy={"type": "http", "host": "h"}), "#/launch/proxy/port"),
    (CreateBrowser, _ephemeral(proxy={**PROXY, "type": "https"}), "#/launch/proxy/type"),
    (CreateBrowser, _ephemeral(proxy={**PROXY, "port": 0}), "#/launch/proxy/port"),
    (CreateBrowser, _ephemeral(proxy={**PROXY, "port": 65536}), "#/launch/proxy/port"),
    (CreateBrowser, _ephemeral(proxy={**PROXY, "username": None}), "#/launch/proxy/username"),
    (CreateBrowser, _ephemeral(proxy={**PROXY, "password": 1}), "#/launch/proxy/password"),
    (CreateBrowser, _ephemeral(proxy={**PROXY, "url": "x"}), "#/launch/proxy/url"),
    (ReplaceConfig, {}, "#/config"),
    (ReplaceConfig, {"config": None}, "#/config"),
    (InstallCapability, {}, "#/name"),
    (InstallCapability, {"name": "a", "version": None}, "#/version"),
    (UpdateCapability, {"flags": {"a": "on"}}, "#/flags/a"),
    (UpdateCapability, {}, "#"),
    (UpdateCapability, {"enabled": True, "version": "1"}, "#"),
    (StartRequest, {"runtime_limit_seconds": 59}, "#/runtime_limit_seconds"),
    (StartRequest, {"secret_ids": ["x"]}, "#/secret_ids/0"),
    (StopRequest, {"discard_state": None}, "#/discard_state"),
    (KeepaliveRequest, {"extend_seconds": 59}, "#/extend_seconds"),
    (KeepaliveRequest, {"extend_seconds": 3601}, "#/extend_seconds"),
    (ConnectRequest, {"protocol": "ssh"}, "#/protocol"),
    (NoOptions, {"force": True}, "#/force"),
]


@pytest.mark.parametrize(("model", "body", "where"), REFUSED, ids=lambda value: str(value)[:70])
def test_a_bad_field_is_refused_at_its_pointer(model: type[BaseModel], body: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        validate(model, body)
    assert [fault.pointer for fault in caught.value.errors] == [where]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (CreateDurable, _durable(runtime_limit_seconds=60.0, project=None, config=None, description="")),
        (CreateDurable, _durable(name="a" * 100, display_name="a" * 100, description="a" * 500, labels={})),
        (CreateDurable, _durable(labels={"a": "1"}, config={"metadata": {"labels": {"a": "1"}}})),
        (CreateDurable, _durable(labels={"a": "1"}, config={"metadata": {}})),
        (CreateBrowser, _ephemeral(proxy={**PROXY, "port": 65535}, extension_ids=[], humanize_persona_id=-1)),
        (CreateBrowser, _ephemeral(proxy=None)),
        (KeepaliveRequest, {"extend_seconds": 60}),
        (KeepaliveRequest, {"extend_seconds": 3600}),
        (UpdateCapability, {"flags": {"a": None}}),
        (StartRequest, {"secret_ids": None, "runtime_limit_seconds": None}),
    ],
    ids=lambda value: str(value)[:70],
)
def test_limit_values_are_accepted(model: type[BaseModel], body: dict[str, Any]) -> None:
    validate(model, body)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ReplaceConfig, {"config": None}),
        (ReplaceConfig, {"config": {"resources": "many"}}),
        (CreateBrowser, {"kind": "browser", "launch": None}),
        (CreateBrowser, _ephemeral(proxy="http://proxy.test:1080")),
        (CreateDurable, _durable(labels=["a"])),
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_missing_object_is_reported_in_json_terms(model: type[BaseModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        validate(model, body)
    assert [(fault.code, fault.detail) for fault in caught.value.errors] == [
        ("object_type", "Input should be an object.")
    ]


def test_absent_null_and_empty_are_distinguished() -> None:
    assert not validate(CreateDurable, _durable()).sent("project")
    null = validate(CreateDurable, _durable(project=None, config=None))
    assert null.sent("project")
    assert null.config is None
    empty = validate(CreateDurable, _durable(config={}))
    assert empty.config is not None
    assert empty.config.document == {}


def test_mode_selects_the_kind_of_launch() -> None:
    assert isinstance(
        validate(CreateBrowser, _browser(launch={"mode": "profile", "profile_id": UUID})).launch, ProfileLaunch
    )
    launch = validate(CreateBrowser, _ephemeral(proxy=None)).launch
    assert isinstance(launch, EphemeralLaunch)
    assert launch.sent("proxy")
    assert not launch.sent("humanize")


def _needed(model: type[CreateDurable | CreateBrowser], body: dict[str, Any]) -> dict[str, frozenset[str]]:
    return {need.pointer: need.any_of for need in validate(model, body).requirements()}


def test_each_sent_field_requires_its_feature_and_no_other() -> None:
    assert _needed(CreateDurable, _durable(name="a", scope="b")) == {}
    everything = _durable(
        start=True, labels={}, display_name="a", description="", project=None, runtime_limit_seconds=60, config=None
    )
    assert _needed(CreateDurable, everything) == {
        "#/start": {CreateFeature.LAUNCH_ON_CREATE, Feature.START},
        "#/labels": {CreateFeature.LABELS},
        "#/display_name": {CreateFeature.DISPLAY_NAME},
        "#/description": {CreateFeature.DESCRIPTION},
        "#/project": {CreateFeature.PROJECT},
        "#/runtime_limit_seconds": {CreateFeature.RUNTIME_LIMIT},
        "#/config": {CreateFeature.CONFIG_V2},
    }
    launch = {
        "mode": "ephemeral",
        "extension_ids": [],
        "humanize": False,
        "humanize_persona_id": 0,
        "solve_captchas": False,
        "proxy": {**PROXY, "type": "socks5"},
    }
    assert _needed(CreateBrowser, _browser(start=False, driver="selenium", launch=launch)) == {
        "#/start": {CreateFeature.CREATE_IDLE},
        "#/driver": {CreateFeature.DRIVER_SELENIUM},
        "#/launch/mode": {CreateFeature.LAUNCH_EPHEMERAL},
        "#/launch/extension_ids": {CreateFeature.EXTENSIONS},
        "#/launch/humanize": {CreateFeature.HUMANIZE},
        "#/launch/humanize_persona_id": {CreateFeature.HUMANIZE_PERSONA},
        "#/launch/solve_captchas": {CreateFeature.SOLVE_CAPTCHAS},
        "#/launch/proxy/type": {CreateFeature.PROXY_SOCKS5},
    }
    assert _needed(CreateBrowser, _browser(launch={"mode": "profile", "profile_id": UUID})) == {
        "#/launch/mode": {CreateFeature.LAUNCH_PROFILE}
    }
    assert _needed(CreateBrowser, _ephemeral(proxy=None))["#/launch/proxy"] == {
        CreateFeature.PROXY_HTTP,
        CreateFeature.PROXY_SOCKS5,
    }


def test_secrets_of_a_create_are_listed_and_are_not_in_the_repr() -> None:
    request = validate(CreateBrowser, _ephemeral(proxy={**PROXY, "password": "hunter2"}))
    assert list(request.secret_values()) == ["hunter2"]
    assert "hunter2" not in repr(request)
    durable = validate(CreateDurable, _durable(config={"runtime_server": {"env": {"A": "hunter2"}}}))
    assert list(durable.secret_values()) == ["hunter2"]
    assert "hunter2" not in repr(durable)


@pytest.mark.parametrize(
    ("launch", "detail"), [({"mode": "hunter2"}, "one of 'profile', 'ephemeral'"), ({}, "required")]
)
def test_an_invalid_mode_is_reported_without_its_value(launch: dict[str, Any], detail: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        validate(CreateBrowser, {"kind": "browser", "launch": launch})
    (fault,) = raised.value.errors
    assert fault.pointer == "#/launch/mode"
    assert detail in fault.detail
    assert "hunter2" not in fault.detail
