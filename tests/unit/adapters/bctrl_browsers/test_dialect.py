"""The dialect of the browser API in the current and the flat era: requests and error responses."""

import itertools
import json
from typing import Any

import pytest

from adapters.bctrl_browsers.dialect import BctrlBrowsersDialect
from adapters.bctrl_browsers.dialect.bodies import (
    NATIVE_CODE,
    check_update,
    made_up_name,
    native_create,
    native_member,
    read_object,
    read_query,
    space_named,
    wait_of,
)
from adapters.bctrl_browsers.dialect.errors import FLAT_FORMS, FORMS
from adapters.bctrl_browsers.dialect.flat_bodies import STATUSES, FlatCreate, FlatUpdate, connection, current_body
from adapters.bctrl_browsers.mapping import create_body
from adapters.bctrl_browsers.native import proxy_secrets
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from adapters.bctrl_browsers.wire import ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, InvalidRequest, ProviderFailure, ValidationFailed
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.dialect import HINTS, OURS, DialectRequest

ALL = list(errors.error_classes())
UNPROVEN = (errors.OutcomeUnknown, errors.InternalError, errors.ProviderBadResponse)
PATHS = {"flat": "/v1/runtimes/x", "current": "/v1/browsers/x"}


class NoGateway:
    """Errors need no gateway."""


DIALECT = BctrlBrowsersDialect(NoGateway())  # type: ignore[arg-type]


def said(error: GatewayError, era: str) -> tuple[int, dict[str, Any]]:
    """The response for an error: its status, and the members of its envelope with the message as ``message``."""
    answer = DIALECT.failure(error, PATHS[era], {}, "req-1")
    assert answer.body is not None
    body = json.loads(answer.body)
    assert isinstance(body["error"], str if era == "flat" else dict)
    return answer.status, {**body, "message": body["error"]} if era == "flat" else body["error"]


def request(query: list[tuple[str, str]] | None = None, body: bytes = b"", **headers: str) -> DialectRequest:
    """An inbound request."""
    return DialectRequest("POST", "/v1/browsers", {}, query or [], headers, body)


def test_every_error_class_has_a_form_in_both_eras():
    assert set(FORMS) == set(FLAT_FORMS) == set(ALL)
    assert set(HINTS) == set(errors.Retryable)
    assert len(ALL) == 37


def test_every_error_has_the_envelope_of_its_era():
    """It has the members that the clients require, and a hint for a 4xx."""
    for cls, era in itertools.product(ALL, PATHS):
        status, members = said(cls("A sentence."), era)
        assert 400 <= status < 600, (cls.code, era)
        assert (members["message"], members["requestId"]) == ("A sentence.", "req-1"), (cls.code, era)
        assert members["code"] == (FLAT_FORMS if era == "flat" else FORMS)[cls][1], (cls.code, era)
        assert members["reasonClass"] in set(ReasonClass), (cls.code, era)
        assert ("hint" in members) is (status < 500), (cls.code, era)


VERSIONED = {"BCTRL-Version": "2026-10-03"}


@pytest.mark.parametrize(
    ("path", "headers", "nested", "code"),
    [
        ("/v1/browsers/x", {}, True, "browser.name_conflict"),
        ("/v1/browsers/x", VERSIONED, True, "browser.name_conflict"),
        ("/v1/sandboxes", {}, True, "browser.name_conflict"),
        ("/v1/runtimes/x", {}, False, "runtime.name_conflict"),
        ("/v1/runtimes/x", VERSIONED, True, "runtime.name_conflict"),
        ("/v1/spaces", {}, False, "runtime.name_conflict"),
        ("/v1/spaces", VERSIONED, True, "browser.name_conflict"),
        ("", VERSIONED, True, "browser.name_conflict"),
    ],
)
def test_the_envelope_follows_the_version_and_the_codes_follow_the_path(
    path: str, headers: dict[str, str], nested: bool, code: str
):
    body = json.loads(DIALECT.failure(errors.AlreadyExists("There."), path, headers, "r").body or b"")
    members = body["error"] if nested else body
    assert members["code"] == code
    assert members["message" if nested else "error"] == "There."


def test_no_client_of_the_current_era_repeats_an_unclear_failure():
    """It decides by the reason, on paths of both eras."""
    for cls, path in itertools.product(UNPROVEN, PATHS.values()):
        answer = DIALECT.failure(cls("?"), path, VERSIONED, "r")
        error = json.loads(answer.body or b"")["error"]
        assert error["reasonClass"] in {"unknown", "outcome_unknown"}, (cls.code, path)


def test_no_client_of_the_flat_era_repeats_an_unknown_outcome():
    """It decides by the status: it repeats 408, 429 and every 5xx."""
    status, members = said(errors.OutcomeUnknown("?"), "flat")
    assert (status, members["reasonClass"]) == (409, "outcome_unknown")


def test_provider_message_passes_unchanged_unless_it_was_for_the_gateway():
    """Status, code and message."""
    failure = ProviderFailure("bb", status=418, code="teapot.short", detail="I am a teapot.")
    for cls, era in itertools.product(ALL, PATHS):
        status, members = said(cls("Ours.", failure=failure), era)
        forms = FLAT_FORMS if era == "flat" else FORMS
        result = (status, members["code"], members["message"])
        expected = (*forms[cls][:2], "Ours.") if cls in OURS else (418, "teapot.short", "I am a teapot.")
        assert result == expected, (cls.code, era)


def test_allowed_methods_and_retry_after_are_headers():
    refused = DIALECT.failure(errors.MethodNotAllowed("No.", allowed=["GET"]), PATHS["current"], {}, "r")
    assert refused.headers["Allow"] == "GET"
    limited = DIALECT.failure(errors.RateLimited("No.", retry_after=0.4), PATHS["flat"], {}, "r")
    assert limited.headers["Retry-After"] == "1"


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("60", 60), ("7", 7)])
def test_wait_is_a_number_of_seconds(text: str, seconds: int):
    assert wait_of({"wait": [text]}) == seconds
    assert wait_of({}) == 0


@pytest.mark.parametrize("values", [["61"], ["-1"], ["x"], [""], ["1.5"], ["٣"], ["1", "2"], ["9" * 5000]])
def test_invalid_wait_is_refused(values: list[str]):
    with pytest.raises(InvalidRequest) as caught:
        wait_of({"wait": values})
    assert caught.value.errors[0].parameter == "wait"


def test_wait_leaves_time_for_the_response():
    options = {"name": "bb", "api": "bctrl_browsers", "base_url": "http://b", "token": "t"}
    settings = BctrlBrowsersSettings.model_validate(options)
    assert settings.longest_wait(Operation.CREATE, 60) == 55
    assert settings.longest_wait(Operation.START, 60) == 60
    short = BctrlBrowsersSettings.model_validate({**options, "deadlines": {"create": 3}})
    assert short.longest_wait(Operation.CREATE, 60) == 0


def test_space_is_that_of_the_body_then_the_query_then_the_header():
    """An empty value counts as missing."""
    named = request([("spaceId", "q")], **{"BCTRL-Space": "h"})
    query = read_query(named, "spaceId")
    assert space_named(named, query, {"spaceId": "b"}) == "b"
    assert space_named(named, query, {"spaceId": ""}) == "q"
    assert space_named(named, {}) == "h"
    assert space_named(request(), {}) is None


def test_repeated_parameter_is_refused_unless_it_is_repeatable():
    for name in ("spaceId", "cursor", "wait"):
        with pytest.raises(InvalidRequest):
            read_query(request([(name, "a"), (name, "b")]), name)
    assert read_query(request([("status", "active"), ("status", "failed")]), "status") == {
        "status": ["active", "failed"]
    }


def test_body_is_a_json_object_or_empty():
    assert read_object(request(body=b" ")) == {}
    for raw in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidRequest) as caught:
            read_object(request(body=raw))
        assert caught.value.extra[NATIVE_CODE] == "request.invalid_json"
    with pytest.raises(ValidationFailed):
        read_object(request(body=b"[]"))


def test_create_is_sent_unchanged():
    """Every member is sent, also the password of the proxy, which is in no repr."""
    body = {
        "name": "My shop",
        "spaceId": "sp_1",
        "metadata": {"deep": [1, None]},
        "viewport": {"width": 800, "height": 600},
        "proxy": {"host": "h", "port": 1, "protocol": "http", "password": "hunter2"},
        "captcha": {"autoSolve": True},
    }
    create = native_create(body, wait=3, made_up_name="unused")
    assert json.loads(create_body(create, "sp_1")) == body
    assert "hunter2" not in repr(create)
    assert list(create.secret_values()) == ["hunter2"]


def test_null_proxy_is_sent_and_absent_proxy_is_not():
    assert json.loads(create_body(native_create({"proxy": None}, wait=0, made_up_name="n"), "s"))["proxy"] is None
    assert "proxy" not in json.loads(create_body(native_create({}, wait=0, made_up_name="n"), "s"))


@pytest.mark.parametrize(
    ("proxy", "secrets"),
    [
        ("http://u:p%40ss@h:1", ["p%40ss", "p@ss"]),
        ("http://u@h:1", []),
        ({"url": "socks5://u:one@h:1", "password": "two"}, ["two", "one", "one"]),
        ({"id": "px"}, []),
        (None, []),
    ],
)
def test_passwords_of_a_proxy_are_found_in_every_form(proxy: Any, secrets: list[str]):
    assert list(proxy_secrets(proxy)) == secrets


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"color": "red"}, "color"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"spaceId": 5}, "spaceId"),
        ({"headless": "yes"}, "headless"),
        ({"viewport": {"width": 1}}, "viewport.height"),
        ({"proxy": {"port": 1}}, "proxy"),
        ({"proxy": {"host": "h", "port": 0, "protocol": "http", "password": "hunter2"}}, "proxy.port"),
        ({"proxy": {"host": "h", "port": 1, "protocol": "http", "password": 5}}, "proxy.password"),
        ({"proxy": {"id": "px", "password": "hunter2"}}, "proxy.password"),
    ],
)
def test_invalid_create_is_refused_at_its_member(body: dict[str, Any], member: str):
    """The message does not contain the value."""
    with pytest.raises(ValidationFailed) as caught:
        native_create(body, wait=0, made_up_name="n")
    assert native_member(caught.value.errors[0]) == member
    assert "hunter2" not in str(caught.value)


def test_update_takes_the_members_of_a_create_except_space_and_copy():
    """Only a create sets these."""
    check_update({"name": "n", "headless": True, "proxy": "http://u:p@h:1"})
    for body in ({"spaceId": "s"}, {"persona": "same"}, {"fromBrowser": "b", "persona": "new"}):
        with pytest.raises(ValidationFailed):
            check_update(body)


def test_made_up_name_depends_on_the_key():
    """A repetition with the same key sends the same request."""
    assert made_up_name("browser", "k") == made_up_name("browser", "k") != made_up_name("browser", "l")
    assert made_up_name("browser", None) != made_up_name("browser", None)


def test_every_state_has_a_flat_status():
    assert set(STATUSES) == set(State)
    assert set(STATUSES.values()) == {"active", "stopped", "failed"}


def test_flat_body_is_validated_and_mapped():
    """Types are strict, and null metadata counts as missing."""
    assert current_body({"type": "browser", "metadata": None}, FlatCreate) == {}
    assert current_body({"config": {"extensionIds": ["e"]}, "profile": True}, FlatUpdate) == {"extensions": ["e"]}
    for body in ({"config": []}, {"metadata": []}, {"config": {"headless": 1}}, {"start": True}):
        with pytest.raises(ValidationFailed):
            current_body(body, FlatUpdate)


@pytest.mark.parametrize(
    ("state", "run"),
    [
        (State.STARTING, {"connections": {"cdpUrl": "wss://c"}}),
        (State.RUNNING, {"connections": {"cdpUrl": ""}}),
        (State.RUNNING, {"connections": None}),
        (State.RUNNING, None),
        (State.IDLE, None),
    ],
)
def test_connection_exists_only_while_an_active_run_has_one(state: State, run: Any):
    """Clients take its presence as readiness."""
    runtime = Runtime(id="bb.br_1", kind="browser", provider="bb", scope="s", provider_id="br_1", state=state)
    assert connection({"currentRun": run}, runtime) is None


def test_connection_without_webdriver_has_no_member_for_it():
    """The older client refuses any other value than a text."""
    runtime = Runtime(id="bb.br_1", kind="browser", provider="bb", scope="s", provider_id="br_1", state=State.RUNNING)
    urls = connection({"currentRun": {"id": "run_1", "connections": {"cdpUrl": "wss://c"}}}, runtime)
    assert urls == {"runId": "run_1", "protocol": "cdp", "connectUrl": "wss://c", "cdpUrl": "wss://c"}


def test_fault_of_an_option_names_the_native_member():
    """In the unified API it is a provider option."""
    assert native_member(FieldError("d", "c", pointer="#/provider_options/fromBrowser")) == "fromBrowser"
    assert native_member(FieldError("d", "c", header="BCTRL-Version")) == "BCTRL-Version"
