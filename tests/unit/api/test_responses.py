"""Entity tags, request ids and trace contexts."""

import json
import uuid

import msgspec
import pytest

from gateway.api.conditions import if_match, matches, none_match
from gateway.api.responses import tagged
from gateway.domain.access import Principal
from gateway.domain.errors import InvalidRequest
from gateway.domain.runtime import FieldWarning, Runtime
from gateway.domain.values import State
from gateway.http.request_ids import new_uuid, request_id, trace_context

OPS = Principal("ops")
RUNTIME = Runtime(id="p.1", kind="durable", provider="p", scope="s", provider_id="1", state=State.IDLE)


def test_the_tag_is_in_the_body_and_depends_on_the_whole_body() -> None:
    body, tag = tagged(RUNTIME, OPS)
    assert json.loads(body)["etag"] == tag
    assert tagged(msgspec.structs.replace(RUNTIME, state=State.RUNNING), OPS)[1] != tag
    assert tagged(msgspec.structs.replace(RUNTIME, provider_data={"new": 1}), OPS)[1] != tag


def test_a_verbs_response_and_a_later_read_have_the_same_tag() -> None:
    warning = FieldWarning(pointer="#/config/x", detail="unknown")
    verb = msgspec.structs.replace(RUNTIME, created=True, changed=True, warnings=[warning])
    assert tagged(verb, OPS)[1] == tagged(RUNTIME, OPS)[1]
    assert json.loads(tagged(verb, OPS)[0])["created"] is True


@pytest.mark.parametrize("data", [{"etag": None}, {"deep": [{"etag": None}]}, {"text": '"etag":null'}])
def test_provider_members_called_etag_are_not_changed(data: dict[str, object]) -> None:
    body, tag = tagged(msgspec.structs.replace(RUNTIME, provider_data=data), OPS)
    assert json.loads(body)["etag"] == tag
    assert json.loads(body)["provider_data"] == data


@pytest.mark.parametrize("sent", ['"a"', 'W/"a"', '"b", "a"', '"b,c" ,W/"a"', "*", " * "])
def test_a_known_tag_does_not_need_the_full_response(sent: str) -> None:
    assert not none_match(sent, '"a"')


@pytest.mark.parametrize("sent", [None, '"b"', "a", '"a', '"b,"a"', "", '"b", *'])
def test_another_or_a_malformed_tag_gets_the_full_response(sent: str | None) -> None:
    assert none_match(sent, '"a"')


@pytest.mark.parametrize("sent", [None, "*", '"a"', '"a", "b"'])
def test_a_well_formed_if_match_is_accepted(sent: str | None) -> None:
    assert if_match(sent) == sent


@pytest.mark.parametrize("sent", ["", "a", '"a', "a, b", '"a" "b"', "**"])
def test_a_malformed_if_match_is_refused_rather_than_ignored(sent: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        if_match(sent)
    assert caught.value.errors[0].header == "If-Match"


def test_new_ids_are_uuids_of_version_4_and_differ() -> None:
    made = {new_uuid() for _ in range(200)}
    assert len(made) == 200
    assert all(str(uuid.UUID(text)) == text and uuid.UUID(text).version == 4 for text in made)
    assert all(uuid.UUID(text).variant == uuid.RFC_4122 for text in made)


@pytest.mark.parametrize("sent", ["a", "A.b_c-9", "x" * 128])
def test_a_callers_request_id_is_kept(sent: str) -> None:
    assert request_id(sent) == sent


@pytest.mark.parametrize("sent", [None, "", "x" * 129, "a b", "a\n", "é", "a/b"])
def test_an_invalid_request_id_is_replaced(sent: str | None) -> None:
    assert uuid.UUID(request_id(sent))


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        TRACE.upper(),
        TRACE + "-x",
        "ff" + TRACE[2:],
        TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        TRACE.replace("00f067aa0ba902b7", "0" * 16),
    ],
)
def test_an_invalid_trace_context_is_dropped(sent: str | None) -> None:
    assert trace_context(TRACE) == TRACE
    assert trace_context(sent) is None


@pytest.mark.parametrize(
    ("sent", "expected"), [('"a"', True), ('"b", "a"', True), (" * ", True), ('"b"', False), ('W/"a"', False)]
)
def test_a_change_needs_a_strong_tag_that_matches(sent: str, expected: bool) -> None:
    assert matches(sent, '"a"') is expected
