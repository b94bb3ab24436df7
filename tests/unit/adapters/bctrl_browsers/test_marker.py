"""The marker of a create: sent, returned by a look-up, and shown nowhere else."""

from typing import Any

import msgspec
import pytest

from adapters.bctrl_browsers.dialect.bodies import check_update, native_create, native_member
from adapters.bctrl_browsers.dialect.flat_bodies import FlatCreate, FlatUpdate, current_body
from adapters.bctrl_browsers.native import marked, marks_in, unmarked
from adapters.bctrl_browsers.wire import MARKER
from gateway.domain.errors import ValidationFailed
from gateway.domain.requests import CreateBrowser
from gateway.domain.runtime import ENCODER
from gateway.domain.values import Operation
from tests.unit.adapters.bctrl_browsers.fakes import ID, SPACE, adapter, create, row, running
from tests.unit.adapters.fakes import CALL, answer

MARKED = {MARKER: "m-1", "team": "shop"}


def _metadata(request: CreateBrowser, marker: str | None = "m-1") -> Any:
    browsers, _ = adapter()
    sent = msgspec.json.decode(browsers.wire_create(request, SPACE, marker=marker).body)
    return sent.get("metadata")


@pytest.mark.parametrize(
    ("request_", "beside"),
    [
        (create(), {}),
        (create(labels={"team": "shop"}), {"team": "shop"}),
        (create(labels={}), {}),
        (create(provider_options={"metadata": {"deep": [1, None]}}), {"deep": [1, None]}),
        (native_create({"metadata": {"a": 1}}, wait=0, made_up_name="n"), {"a": 1}),
        (native_create({}, wait=0, made_up_name="n"), {}),
    ],
)
def test_marker_is_sent_with_the_callers_metadata(request_, beside):
    assert _metadata(request_) == {**beside, MARKER: "m-1"}


def test_metadata_without_a_marker_is_sent_unchanged():
    assert _metadata(create(), None) is None
    assert _metadata(create(labels={}), None) == {}


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        (create(labels={MARKER: "mine"}), f"#/labels/{MARKER}"),
        (create(provider_options={"metadata": {MARKER: None}}), f"#/provider_options/metadata/{MARKER}"),
        (
            native_create({"metadata": {MARKER: "mine"}}, wait=0, made_up_name="n"),
            f"#/provider_options/metadata/{MARKER}",
        ),
    ],
)
def test_marker_of_a_caller_is_refused(request_, pointer):
    browsers, _ = adapter()
    for refuse in (browsers.check_create, lambda r: browsers.wire_create(r, SPACE, marker="m-1")):
        with pytest.raises(ValidationFailed) as caught:
            refuse(request_)
        assert [(fault.pointer, fault.code) for fault in caught.value.errors] == [(pointer, "reserved")]
        assert native_member(caught.value.errors[0]) in {f"metadata.{MARKER}", f"labels.{MARKER}"}


@pytest.mark.parametrize(
    ("request_", "pointers"),
    [
        (create(labels={"team": "shop", "rgw_a": "1", "rgw_b": "2"}), ["#/labels/rgw_a", "#/labels/rgw_b"]),
        (create(provider_options={"metadata": {"rgw_a/b": [1]}}), ["#/provider_options/metadata/rgw_a~1b"]),
        (native_create({"metadata": {"rgw_": ""}}, wait=0, made_up_name="n"), ["#/provider_options/metadata/rgw_"]),
    ],
)
def test_reserved_name_is_refused_at_its_pointer(request_, pointers):
    browsers, _ = adapter()
    for refuse in (browsers.check_create, lambda r: browsers.wire_create(r, SPACE)):
        with pytest.raises(ValidationFailed) as caught:
            refuse(request_)
        assert [(fault.pointer, fault.code) for fault in caught.value.errors] == [(p, "reserved") for p in pointers]
    browsers.check_create(create(labels={"rgw": "1", "x_rgw_": "2", "RGW_a": "3"}))


@pytest.mark.parametrize("name", [MARKER, "rgw_team"])
@pytest.mark.parametrize(
    "refuse",
    [
        check_update,
        lambda body: current_body({"type": "browser", **body}, FlatCreate),
        lambda body: current_body(body, FlatUpdate),
    ],
)
def test_reserved_name_in_a_native_body_is_refused(refuse, name):
    with pytest.raises(ValidationFailed) as caught:
        refuse({"metadata": {"team": "shop", name: "mine"}})
    assert native_member(caught.value.errors[0]) == f"metadata.{name}"


async def test_look_up_returns_the_marker_of_each_browser():
    rows = [row(metadata=MARKED), row(id="br_2"), row(id="br_3", metadata={MARKER: 7}), row(id="br_4", metadata=None)]
    browsers, _ = adapter(answer(200, {"data": rows, "hasMore": False}))
    seen = await browsers.find_with_markers(SPACE, "checkout-bot", CALL)
    assert {found.runtime.provider_id: found.marker for found in seen} == {
        ID: "m-1",
        "br_2": None,
        "br_3": None,
        "br_4": None,
    }


@pytest.mark.parametrize("marker", ["m-1", 7, None, {"deep": "m-1"}])
async def test_runtime_does_not_show_the_marker(marker):
    browsers, _ = adapter(answer(200, row(metadata={MARKER: marker, "team": "shop", "n": 1})))
    runtime = await browsers.get(browsers.parse_reference(ID), CALL)
    assert (runtime.labels, runtime.provider_data["metadata"]) == ({"team": "shop"}, {"n": 1})
    assert MARKER not in ENCODER.encode(runtime).decode()


async def test_native_response_has_no_marker_and_keeps_empty_metadata():
    single, page = running() | {"metadata": MARKED}, {"data": [row(metadata={MARKER: "m-1"}), row()], "hasMore": False}
    browsers, _ = adapter(answer(201, single), answer(200, single), answer(200, page))
    made = await browsers.create(create(), SPACE, CALL)
    assert made.native is not None
    assert msgspec.json.decode(made.native) == running() | {"metadata": {"team": "shop"}}
    started = await browsers.native(Operation.START, SPACE, CALL, method="POST", below=f"/{ID}/start")
    assert msgspec.json.decode(started.body) == running() | {"metadata": {"team": "shop"}}
    assert marks_in(started.raw) == {MARKER: "m-1"}
    listed = await browsers.native(Operation.LIST, SPACE, CALL)
    assert msgspec.json.decode(listed.body) == {"data": [row(metadata={}), row()], "hasMore": False}


@pytest.mark.parametrize(
    "body",
    [
        b'{ "id": "br_1", "metadata": {"team": "shop"}, "n": 1.0e2 }',
        b'{"data": [ {"id": "br_1"} ], "hasMore": false}',
        b'{ "name": "rgw_intent", "metadata": {} }',
    ],
)
def test_body_without_a_marker_is_unchanged(body):
    assert unmarked(body) is body


def test_only_a_marked_row_is_encoded_again():
    plain = b'{ "id":"br_2",  "n": 1.0e2, "big": 123456789012345678901234567890 }'
    body = b'{"data": [' + plain + b', {"id": "br_1", "n": 1.0e2, "metadata": {"rgw_intent": "m", "x": 1E1}}]}'
    assert unmarked(body) == b'{"data":[' + plain + b',{"id":"br_1","n":1.0e2,"metadata":{"x":1E1}}]}'


def test_update_without_a_marker_is_sent_unchanged():
    assert marked({"metadata": {"a": 1}}, {MARKER: None}) == {"metadata": {"a": 1}}
    assert marked({"metadata": {"a": 1}}, {MARKER: "m"}) == {"metadata": {"a": 1, MARKER: "m"}}
