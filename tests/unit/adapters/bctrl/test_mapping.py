import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bctrl import wire
from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl.mapping import STATES, Reader, create_body
from gateway.domain.lifecycle import actions_of
from gateway.domain.requests import CreateBrowser
from gateway.domain.runtime import BrowserPart, Launch
from gateway.domain.validation import validate
from gateway.domain.values import State
from tests.unit.adapters.bctrl.fakes import UUID, WORKSPACE, row

READER = Reader("bc", BctrlAdapter.features, pinned=True)

_text = st.text(st.characters(exclude_categories=["Cs"]))
_members = {
    "extension_ids": st.lists(_text, max_size=3),
    "humanize": st.booleans(),
    "humanize_persona_id": st.integers(),
    "solve_captchas": st.booleans(),
    "proxy": st.none()
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["http", "socks5"]), "host": _text, "port": st.integers(1, 65535)},
        optional={"username": _text, "password": _text},
    ),
}
_launches = st.fixed_dictionaries({"mode": st.just("ephemeral")}, optional=_members) | st.fixed_dictionaries(
    {"mode": st.just("profile"), "profile_id": st.uuids().map(str)}
)
_creates = st.fixed_dictionaries(
    {"kind": st.just("browser"), "name": st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), fullmatch=True)},
    optional={"driver": st.sampled_from(list(wire.Driver)).map(str), "launch": _launches},
)


def _as_bctrl_writes_it(create: dict) -> dict:
    """The documented body of a create, written down independently of the adapter."""
    body = {"alias": create["name"], "kind": "browser"}
    if "driver" in create:
        body["driver"] = create["driver"]
    if "launch" in create:
        launch = create["launch"]
        body["launch"] = {"mode": launch["mode"]}
        if "profile_id" in launch:
            body["launch"]["profileId"] = launch["profile_id"]
        if "extension_ids" in launch:
            body["launch"]["extensionIds"] = launch["extension_ids"]
        names = {"humanize": "humanize", "humanize_persona_id": "humanizePersonaId", "solve_captchas": "solveCaptchas"}
        names["proxy"] = "proxy"
        if config := {names[key]: value for key, value in launch.items() if key in names}:
            body["launch"]["config"] = config
    return body


@given(_creates)
def test_every_combination_of_fields_is_sent_unchanged(create):
    """Absent, null and empty are distinct: no default is added, and no field is left out."""
    sent = msgspec.json.decode(create_body(validate(CreateBrowser, create)))
    assert sent == _as_bctrl_writes_it(create)


def test_absent_null_and_empty_are_sent_differently():
    def sent(**launch: object) -> object:
        request = {"kind": "browser", "name": "b", "launch": {"mode": "ephemeral", **launch}}
        return msgspec.json.decode(create_body(validate(CreateBrowser, request)))["launch"]

    assert sent() == {"mode": "ephemeral"}
    assert sent(proxy=None) == {"mode": "ephemeral", "config": {"proxy": None}}
    assert sent(extension_ids=[]) == {"mode": "ephemeral", "extensionIds": []}
    assert sent(humanize=False) == {"mode": "ephemeral", "config": {"humanize": False}}


def _read(**members: object):
    return READER.runtime(msgspec.json.encode(row(**members)), WORKSPACE)


def test_runtime_with_all_members_is_decoded():
    summary = {
        "browserRunning": True,
        "currentDriver": "playwright",
        "defaultContextId": "ctx",
        "defaultPageId": "page",
        "launchMode": "profile",
        "profileId": "f1d6b9a0-0000-4000-8000-000000000000",
        "storageWorkspace": "store",
    }
    runtime = _read(summary=summary)
    assert runtime.browser == BrowserPart(
        driver="playwright",
        launch=Launch(mode="profile", profile_id="f1d6b9a0-0000-4000-8000-000000000000"),
        running=True,
        current_driver="playwright",
        default_context_id="ctx",
        default_page_id="page",
        storage_workspace="store",
    )
    assert (runtime.provider_id, runtime.name, runtime.scope, runtime.kind) == (
        UUID,
        "checkout-bot",
        WORKSPACE,
        "browser",
    )
    assert (runtime.created_at, runtime.updated_at) == ("2026-03-01T10:00:00Z", "2026-03-01T10:00:05Z")
    assert (runtime.labels, runtime.cost, runtime.expires_at, runtime.durable) == (None, None, None, None)
    assert runtime.provider_state == {"status": "active"}
    assert runtime.provider_data == {}
    assert actions_of(runtime).keys() == {"stop"}
    assert actions_of(runtime)["stop"].allowed


def test_every_documented_status_has_its_own_state():
    assert STATES.keys() == set(wire.Status)
    assert [_read(status=status).state for status in wire.Status] == [State.RUNNING, State.STOPPED, State.FAILED]


def test_stopped_runtime_does_not_allow_stop():
    assert not actions_of(_read(status="stopped"))["stop"].allowed


def test_unknown_status_becomes_unknown_and_is_shown_unchanged():
    runtime = _read(status="hibernating")
    assert runtime.state is State.UNKNOWN
    assert runtime.provider_state == {"status": "hibernating"}
    assert actions_of(runtime)["stop"].allowed


@pytest.mark.parametrize("kind", [*wire.Kind, "television"])
def test_every_kind_is_decoded_including_new_ones(kind):
    runtime = _read(kind=kind)
    assert runtime.kind == kind
    assert runtime.browser is not None


def test_new_values_and_members_are_decoded_and_shown():
    runtime = _read(
        driver="telepathy", region="moon", summary={"launchMode": "dream", "profileId": None, "gpu": {"cores": 7}}
    )
    assert runtime.browser is not None
    assert runtime.browser.driver == "telepathy"
    assert runtime.browser.launch == Launch(mode="dream")
    assert runtime.provider_data == {"region": "moon", "summary": {"gpu": {"cores": 7}}}


def test_row_with_only_required_members_is_decoded():
    raw = {"id": UUID, "alias": "a", "kind": "browser", "status": "active"}
    runtime = READER.runtime(msgspec.json.encode(raw), WORKSPACE)
    assert runtime.browser == BrowserPart()
    assert runtime.created_at is None


def test_summary_without_launch_members_shows_no_launch():
    runtime = _read(summary={"browserRunning": False})
    assert runtime.browser is not None
    assert runtime.browser.launch is None
    assert runtime.browser.running is False


def test_scope_is_the_workspace_of_the_path_and_a_different_one_is_shown():
    runtime = _read(workspaceId="other")
    assert runtime.scope == WORKSPACE
    assert runtime.provider_data == {"workspaceId": "other"}


@pytest.mark.parametrize("missing", ["id", "alias", "kind", "status"])
def test_runtime_without_a_required_member_is_refused(missing):
    raw = row()
    del raw[missing]
    with pytest.raises(ValueError, match=missing):
        READER.runtime(msgspec.json.encode(raw), WORKSPACE)
