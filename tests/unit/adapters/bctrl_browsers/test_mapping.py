from typing import get_args

import msgspec
import pytest

from adapters.bctrl_browsers import wire
from adapters.bctrl_browsers.adapter import BctrlBrowsersAdapter
from adapters.bctrl_browsers.mapping import DRIVERS, STATES, Reader, browser_id, connections, create_body, reference
from gateway.domain.errors import ValidationFailed
from gateway.domain.ids import RuntimeRef, b64url
from gateway.domain.lifecycle import actions_of
from gateway.domain.requests import CreateBrowser
from gateway.domain.runtime import ENCODER, BrowserPart, Launch, Proxy
from gateway.domain.values import State
from tests.unit.adapters.bctrl_browsers.fakes import ID, SPACE, create, row, running
from tests.unit.adapters.fakes import CALL

READER = Reader("bb", BctrlBrowsersAdapter.features, pinned=True)
UUID = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"


def _sent(**members: object) -> dict:
    return msgspec.json.decode(create_body(create(**members), SPACE))


def _read(body: object = None, **members: object):
    return READER.runtime(msgspec.json.encode(row(**members) if body is None else body), SPACE)


def test_create_sends_exactly_the_callers_fields():
    assert _sent() == {"name": "checkout-bot", "spaceId": SPACE}
    assert _sent(launch={"mode": "ephemeral"}) == {"name": "checkout-bot", "spaceId": SPACE}


def test_every_launch_field_is_mapped():
    proxy = {"type": "socks5", "host": "p.test", "port": 1080, "username": "u", "password": "hunter2"}
    launch = {"mode": "ephemeral", "extension_ids": ["a", "b"], "solve_captchas": False, "proxy": proxy}
    assert _sent(labels={"team": "shop"}, launch=launch, provider_options={"gpu": True, "standbyAfterSeconds": 0}) == {
        "name": "checkout-bot",
        "spaceId": SPACE,
        "metadata": {"team": "shop"},
        "extensions": ["a", "b"],
        "captcha": {"autoSolve": False},
        "proxy": {
            "type": "custom",
            "protocol": "socks5",
            "host": "p.test",
            "port": 1080,
            "username": "u",
            "password": "hunter2",
        },
        "gpu": True,
        "standbyAfterSeconds": 0,
    }


@pytest.mark.parametrize("driver", get_args(CreateBrowser.model_fields["driver"].annotation))
def test_every_driver_is_a_feature_and_none_is_sent(driver):
    assert f"driver_{driver}" in BctrlBrowsersAdapter.features
    assert _sent(driver=driver) == _sent()


def test_run_has_every_connection_that_a_driver_needs():
    urls = {"cdpUrl": "wss://c", "webdriverUrl": "https://w", "liveViewUrl": "https://v"}
    found = connections(msgspec.json.encode(running(connections=urls)))
    assert DRIVERS.keys() <= {each.protocol for each in found}


def test_absent_null_and_empty_are_sent_differently():
    assert _sent(launch={"mode": "ephemeral", "proxy": None})["proxy"] is None
    assert _sent(launch={"mode": "ephemeral", "extension_ids": []})["extensions"] == []
    assert _sent(labels={})["metadata"] == {}
    proxy = {"type": "http", "host": "p", "port": 1}
    assert _sent(launch={"mode": "ephemeral", "proxy": proxy})["proxy"].keys() == {"type", "protocol", "host", "port"}


@pytest.mark.parametrize("metadata", [{"a": "\ud800"}, {"a": None}])
def test_value_that_json_cannot_represent_is_refused(metadata):
    if metadata["a"] is None:
        nested: list = []
        for _ in range(100_000):
            nested = [nested]
        metadata = {"a": nested}
    request = create().model_copy(update={"provider_options": {"metadata": metadata}})
    with pytest.raises(ValidationFailed, match=r"nested too deeply|not Unicode"):
        create_body(request, SPACE)


@pytest.mark.parametrize("provider_id", [ID, UUID, "my-bot", "Ym90", "br", "a b/ü", "BR_1", "br_" + "x" * 200])
@pytest.mark.parametrize("pinned", [True, False])
def test_every_id_is_parsed_from_its_reference(provider_id, pinned):
    made = reference(RuntimeRef(SPACE, provider_id), pinned=pinned)
    rest = made if pinned else made.removeprefix(f"{b64url(SPACE)}~")
    assert browser_id(rest) == provider_id
    assert (rest == provider_id) is (provider_id in {ID, UUID})


@pytest.mark.parametrize("rest", ["", "~", "my-bot", "Ym90", "BR_1", "_x", "br_", "~" + b64url(ID), "~" + b64url(UUID)])
def test_name_or_second_form_of_an_id_is_not_a_reference(rest):
    with pytest.raises(ValueError, match="id"):
        browser_id(rest)


@pytest.mark.parametrize("decoded", ["", ".", ".."])
def test_id_that_changes_the_path_is_not_a_reference(decoded):
    with pytest.raises(ValueError, match="not encoded"):
        browser_id("~" + b64url(decoded))


def test_every_status_has_a_state():
    assert STATES.keys() == {*wire.Status, *wire.RunStatus}


@pytest.mark.parametrize(
    ("status", "run", "expected"),
    [
        ("idle", None, State.IDLE),
        ("idle", "failed", State.IDLE),
        ("running", None, State.RUNNING),
        ("running", "starting", State.STARTING),
        ("running", "active", State.RUNNING),
        ("running", "standby", State.PAUSED),
        ("running", "stopping", State.STOPPING),
        ("running", "ended", State.IDLE),
        ("running", "failed", State.FAILED),
        ("running", "dancing", State.UNKNOWN),
        ("hovering", "active", State.UNKNOWN),
        ("active", None, State.UNKNOWN),
    ],
)
def test_state_of_a_running_browser_is_that_of_its_run(status, run, expected):
    runtime = _read(status=status, currentRun=None if run is None else {"status": run})
    assert runtime.state is expected
    assert runtime.provider_state == {"status": status, "run": run}


def test_failed_run_shows_its_reason():
    assert _read(running("failed", endReason="out of memory")).state_reason == "out of memory"
    assert _read(running("active", endReason=None)).state_reason is None


def test_browser_with_all_members_is_decoded():
    proxy = {"type": "custom", "protocol": "http", "host": "p", "port": 80, "username": "u", "hasPassword": True}
    runtime = _read(captcha={"autoSolve": True}, proxy=proxy)
    assert (runtime.id, runtime.provider_id, runtime.name, runtime.scope) == (f"bb.{ID}", ID, "checkout-bot", SPACE)
    assert runtime.browser == BrowserPart(
        launch=Launch(
            extension_ids=["ext_1"], solve_captchas=True, proxy=Proxy(type="http", host="p", port=80, username="u")
        ),
        running=False,
    )
    assert runtime.labels == {"team": "shop"}
    assert (runtime.created_at, runtime.updated_at) == ("2026-10-04T10:00:00Z", "2026-10-04T10:00:05Z")
    assert (runtime.cost, runtime.expires_at, runtime.durable) == (None, None, None)
    assert {name for name, action in actions_of(runtime).items() if action.allowed} == {"start", "delete"}
    assert runtime.provider_data["stealth"] == "normal"
    assert not runtime.provider_data.keys() & {"id", "name", "spaceId", "proxy", "metadata", "captcha", "currentRun"}


def test_browser_with_only_required_members_is_decoded():
    runtime = _read({"id": ID, "name": "n", "status": "running"})
    assert runtime.labels is None
    assert runtime.browser == BrowserPart(launch=Launch(), running=True)
    assert runtime.provider_data == {}


@pytest.mark.parametrize("missing", ["id", "name", "status"])
def test_browser_without_a_required_member_is_refused(missing):
    body = row()
    del body[missing]
    with pytest.raises(ValueError, match=missing):
        _read(body)


def test_labels_are_the_text_members_of_metadata_without_reserved_names():
    runtime = _read(metadata={"team": "shop", "shards": 3, "rgw_mark": "x"})
    assert runtime.labels == {"team": "shop"}
    assert runtime.provider_data["metadata"] == {"shards": 3, "rgw_mark": "x"}


def test_space_that_differs_from_the_scope_is_shown():
    assert _read(spaceId="sp_9").provider_data["spaceId"] == "sp_9"


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://u:hunter2@p.test:80/x", "http://p.test:80/x"),
        ({"id": "px_1"}, {"id": "px_1"}),
        ({"url": "http://u:hunter2@p.test", "password": "hunter2"}, {"url": "http://p.test"}),
        (
            {"type": "managed-rotating", "pool": "pool1", "token": "hunter2"},
            {"type": "managed-rotating", "pool": "pool1"},
        ),
    ],
)
def test_native_forms_of_a_proxy_are_shown_without_credentials(proxy, shown):
    runtime = _read(proxy=proxy)
    assert runtime.browser is not None
    assert runtime.browser.launch is not None
    assert runtime.browser.launch.proxy is None
    assert runtime.provider_data["proxy"] == shown


def test_no_secret_of_a_running_browser_is_shown():
    """Connections, URLs of the run, members with names of secrets, and users in URLs. Numbers and flags may have such
    names."""
    urls = {"cdpUrl": "wss://hunter2/", "webdriverUrl": "https://hunter2/", "expiresAt": "2026-10-04T11:00:00Z"}
    body = running(
        connections=urls, viewerUrl="https://hunter2", usage={"aiTokensTotal": 7}, note={"apiKey": "hunter2", "n": 1}
    )
    body |= {
        "accessToken": "hunter2",
        "callback": "see https://u:hunter2@x.test/y",
        "nested": [{"password": "hunter2"}],
    }
    body["proxy"] = {"host": "x", "password": "hunter2", "protocol": 3, "port": True, "username": None}
    runtime = _read(body)
    assert "hunter2" not in ENCODER.encode(runtime).decode()
    assert runtime.provider_data["callback"] == "see https://x.test/y"
    run = runtime.provider_data["currentRun"]
    assert run["usage"] == {"aiTokensTotal": 7}
    assert run["note"] == {"n": 1}
    assert run["id"] == "run_1"
    assert "status" not in run


def test_unknown_member_is_shown():
    assert _read(altitude={"metres": 3}).provider_data["altitude"] == {"metres": 3}


def test_connections_are_in_order():
    urls = {
        "cdpUrl": "wss://c",
        "webdriverUrl": "https://w",
        "liveViewUrl": "https://v",
        "liveViewReadOnlyUrl": "https://r",
        "expiresAt": "2026-10-04T11:00:00Z",
    }
    found = connections(msgspec.json.encode(running(connections=urls)))
    assert [(each.protocol, each.url) for each in found] == [
        ("cdp", "wss://c"),
        ("webdriver", "https://w"),
        ("live_view", "https://v"),
        ("live_view", "https://r"),
    ]
    assert {(each.token, each.expires_at) for each in found} == {(None, "2026-10-04T11:00:00Z")}


@pytest.mark.parametrize("body", [row(), running("active"), running("stopping", connections={"cdpUrl": "wss://c"})])
def test_no_connections_without_an_active_run_that_has_them(body):
    assert connections(msgspec.json.encode(body)) == []


@pytest.mark.parametrize(
    ("page", "cursor"),
    [
        ({"hasMore": True, "nextCursor": "c"}, "c"),
        ({"nextCursor": "c"}, "c"),
        ({"hasMore": False, "nextCursor": "c"}, None),
        ({}, None),
    ],
)
def test_page_has_the_cursor_of_the_next_page(page, cursor):
    read = READER.page(msgspec.json.encode({"data": [row()], **page}), SPACE, CALL)
    assert [item.runtime.provider_id for item in read.items] == [ID]
    assert read.frame == cursor


@pytest.mark.parametrize("page", [{"hasMore": True, "nextCursor": ""}, {"hasMore": True}])
def test_page_that_continues_without_a_cursor_is_refused(page):
    with pytest.raises(ValueError, match="no cursor"):
        READER.page(msgspec.json.encode({"data": [row()], **page}), SPACE, CALL)
