"""Request bodies: limits, media types, and clients that do not finish."""

import asyncio
from typing import Any

import pytest

from gateway.settings import HttpSettings

TOP = (
    b"POST /v1/runtimes HTTP/1.1\r\nHost: gateway\r\n"
    b"X-API-Key: a-key-of-a-shop-1234\r\nContent-Type: application/json\r\n"
)


async def test_a_declared_oversized_body_is_refused_unread(api: Any) -> None:
    connection = await api.connect()
    connection.send(TOP + b"Content-Length: 100000000\r\n\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (413, "payload_too_large")
    assert answer.headers["connection"] == "close"


async def test_an_undeclared_oversized_body_is_refused_before_its_end(api: Any) -> None:
    connection = await api.connect()
    connection.send(TOP + b"Transfer-Encoding: chunked\r\n\r\n" + (b"400\r\n" + b" " * 1024 + b"\r\n") * 3)
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (413, "payload_too_large")


async def test_a_body_that_does_not_arrive_in_time_is_408(serve: Any) -> None:
    api = await serve(http=HttpSettings(body_timeout=0.001))
    connection = await api.connect()
    connection.send(TOP + b"Content-Length: 10\r\n\r\n{")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (408, "request_timeout", "yes")
    assert answer.headers["connection"] == "close"


async def test_a_dripping_body_is_408_after_the_body_timeout(serve: Any) -> None:
    """Bytes that arrive do not extend the time."""
    api = await serve(http=HttpSettings(body_timeout=0.05))
    connection = await api.connect()
    connection.send(TOP + b"Content-Length: 1000000\r\n\r\n")
    response = asyncio.create_task(connection.answer())
    while not response.done():
        connection.send(b" ")
        await asyncio.sleep(0)
    assert (response.result().status, response.result().json["code"]) == (408, "request_timeout")


async def test_a_body_with_malformed_chunks_is_400(api: Any) -> None:
    connection = await api.connect()
    connection.send(TOP + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n")
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_a_client_that_disconnects_while_sending_is_logged_as_aborted_and_not_as_an_error(api: Any) -> None:
    connection = await api.connect()
    connection.send(TOP + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    await connection.reader.readuntil(b"100 Continue\r\n\r\n")
    connection.send(b"{")
    connection.writer.close()
    line = await api.logger.one("request")
    assert (line["status"], line["code"], line["source"]) == (499, "client_aborted", "client")
    assert line["client_aborted"] is True
    assert [(level, name) for level, name, _ in api.logger.events] == [("info", "audit"), ("info", "request")]
    assert api.counted(operation="createRuntime", status="499", code="client_aborted", source="client") == 1


async def test_100_continue_is_sent_when_the_head_is_valid(api: Any) -> None:
    connection = await api.connect()
    connection.send(TOP + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await connection.answer()).status == 100
    connection.send(b"{}")
    assert (await connection.answer()).status == 422


@pytest.mark.parametrize(
    ("top", "status"),
    [
        (TOP + b"Content-Length: 100000\r\n", 413),
        (TOP.replace(b"1234", b"9999") + b"Content-Length: 2\r\n", 401),
        (TOP.replace(b"/v1/runtimes", b"/v1/nope") + b"Content-Length: 2\r\n", 404),
        (TOP.replace(b"POST", b"PATCH") + b"Content-Length: 2\r\n", 405),
    ],
)
async def test_100_continue_is_not_sent_to_a_refused_request(api: Any, top: bytes, status: int) -> None:
    answer = await api.exchange(top + b"Expect: 100-continue\r\n\r\n")
    assert answer.status == status


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/x.y+json"],
)
async def test_json_media_types_are_accepted(api: Any, content_type: str) -> None:
    answer = await api.call("POST", "/v1/runtimes", b"{}", Content_Type=content_type)
    assert answer.status == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": ""},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data; boundary=x"},
        {"Content_Type": "application/json; charset=latin-1"},
        {"Content_Type": "application/jsonx"},
        {"Content_Encoding": "gzip"},
        {"Content_Encoding": "br, identity"},
    ],
)
async def test_other_media_types_and_encodings_are_refused(api: Any, headers: dict[str, str]) -> None:
    answer = await api.call("POST", "/v1/runtimes", b'{"kind": "durable"}', **headers)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")
    assert answer.json["errors"][0]["header"] in {"Content-Type", "Content-Encoding"}


async def test_a_body_without_a_content_type_is_refused(api: Any) -> None:
    answer = await api.exchange(
        TOP.replace(b"Content-Type: application/json\r\n", b"") + b"Content-Length: 2\r\n\r\n{}"
    )
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true"])
async def test_json_that_is_not_an_object_is_refused(api: Any, body: bytes) -> None:
    answer = await api.call("POST", "/v1/runtimes", body)
    assert (answer.status, answer.json["code"]) == (422, "validation_failed")
    assert answer.json["errors"][0]["pointer"] == "#"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"\x00", b"[" * 2000, b'{"a":1,"a":2}', b"{}{}", b"-", b'"\\ud800"'])
async def test_invalid_json_is_400(api: Any, body: bytes) -> None:
    answer = await api.call("POST", "/v1/runtimes", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_all_faults_of_a_body_are_reported_at_once(api: Any) -> None:
    answer = await api.call("POST", "/v1/runtimes", b'{"kind": "browser", "name": "-", "driver": "x", "nope": 1}')
    assert answer.status == 422
    assert {fault["pointer"] for fault in answer.json["errors"]} == {"#/name", "#/driver", "#/nope"}


@pytest.mark.parametrize("verb", ["pause", "resume", "reset", "start", "stop", "keepalive", "connections"])
@pytest.mark.parametrize("body", [None, b"", b"{}", b" {} "])
async def test_no_body_an_empty_body_and_an_empty_object_are_equivalent(
    api: Any, verb: str, body: bytes | None
) -> None:
    answer = await api.call("POST", f"/v1/runtimes/gone.x/{verb}", body)
    assert (answer.status, answer.json["code"]) == (421, "provider_not_configured")


@pytest.mark.parametrize("verb", ["pause", "resume", "reset"])
async def test_a_verb_without_options_refuses_options(api: Any, verb: str) -> None:
    answer = await api.call("POST", f"/v1/runtimes/gone.x/{verb}", b'{"force": true}')
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "#/force")
