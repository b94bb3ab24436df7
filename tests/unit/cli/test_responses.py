"""How a command handles every response: exit code, message, and whether a create is repeated."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
from aioresponses import aioresponses

from gateway.domain.errors import GatewayError
from gateway.http.problems import CONTENT_TYPE, STATUS, problem_response

from .conftest import ALL, CREATE, CREATES, DELETE, GET, RUNTIME, SERVER, Run, SteppedClock, runtime, sends

# The exit codes of the gateway's problems, 1 where a code is not here; and the codes after which a create is repeated.
EXIT_CODES: Final = {"unauthenticated": 4, "permission_denied": 4, "outcome_unknown": 5}
SENT_AGAIN: Final = {"outcome_unknown", "idempotency_in_progress", "store_unavailable"}

STATUSES: Final = sorted({*STATUS.values(), 200, 201, 202, 302, 304, 307})
FOREIGN: Final = {
    "a page": ("text/html", "<html>"),
    "text": ("text/plain", "upstream connect error"),
    "nothing": ("application/octet-stream", ""),
    "a list": ("application/json", "[1]"),
    "cut JSON": ("application/json", '{"id": "b'),
    "JSON that is nested too deeply": ("application/json", "[" * 100_000),
}
"""Bodies that the gateway never sends, with their type."""

FOREIGN_ERRORS: Final = {
    "another API's error": ("application/json", '{"code": "bad_gateway", "message": "Bad gateway"}'),
    "another API's problem": (CONTENT_TYPE, '{"title": "Bad gateway"}'),
}
"""Bodies that the gateway never sends with a status of 300 or more; below 300 it may send any JSON object."""


def problem(error: type[GatewayError], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the response that the gateway itself sends for an error."""
    answer = problem_response(error("The detail."), "r-1")
    assert isinstance(answer.body, bytes)
    return {
        "status": answer.status,
        "body": answer.body,
        "content_type": CONTENT_TYPE,
        "headers": {"X-Request-ID": "r-1", **(headers or {})},
    }


def shown(code: str) -> list[str]:
    """Return the lines that a command prints for a problem."""
    return [f"error: {code}: The detail.", "  request id: r-1"]


def test_problem_response_ends_a_read_with_its_detail_and_request_id(answers: aioresponses, ask: Run) -> None:
    for error in STATUS:
        answers.get(RUNTIME, **problem(error, {"Retry-After": "7"}))
        result = ask(*GET)
        assert (result.exit_code, result.stdout) == (EXIT_CODES.get(error.code, 1), ""), error.code
        assert result.stderr.splitlines() == shown(error.code)
        looked_up = error.code in {"not_found", "provider_not_configured"}  # it could be a name in the form of an id
        assert len(sends(answers)) == 1 + looked_up, error.code


def test_create_is_repeated_only_after_codes_that_allow_it(
    answers: aioresponses, ask: Run, clock: SteppedClock
) -> None:
    for error in STATUS:
        answers.clear()
        answers.post(CREATES, **problem(error, {"Retry-After": "7"}))
        answers.post(CREATES, status=201, payload=runtime())
        result = ask(*CREATE)
        if error.code in SENT_AGAIN:
            assert (result.exit_code, clock.slept) == (0, [7.0]), error.code
            assert result.stderr == f"retrying: {error.code}: the same create is sent again in 7 s\n"
            first, second = sends(answers)
            assert first == second, error.code
            assert first.kwargs["headers"]["Idempotency-Key"] == "k-1"
        else:
            assert (result.exit_code, clock.slept) == (EXIT_CODES.get(error.code, 1), []), error.code
            assert result.stderr.splitlines() == shown(error.code)
            assert len(sends(answers)) == 1, error.code


@pytest.mark.parametrize("header", [None, "7", "0", "-7", "1.5", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "٣"])
@pytest.mark.parametrize("foreign", [False, True])
def test_create_is_repeated_after_retry_after_in_whole_seconds_and_at_least_one_second(
    answers: aioresponses, ask: Run, clock: SteppedClock, header: str | None, foreign: bool
) -> None:
    headers = {} if header is None else {"Retry-After": header}
    (unknown,) = (error for error in STATUS if error.code == "outcome_unknown")
    page = {"status": 503, "body": "<html>", "content_type": "text/html", "headers": headers}
    answers.post(CREATES, **(page if foreign else problem(unknown, headers)))
    answers.post(CREATES, status=201, payload=runtime())
    assert ask(*CREATE).exit_code == 0
    assert clock.slept == [7.0 if header == "7" else 1.0]


@pytest.mark.parametrize("body", [*FOREIGN, *FOREIGN_ERRORS])
def test_foreign_response_is_reported_as_such_for_every_status(answers: aioresponses, ask: Run, body: str) -> None:
    """A read fails; the outcome of a write is unknown if the gateway's own response may have been lost."""
    content_type, text = (FOREIGN | FOREIGN_ERRORS)[body]
    for status in STATUSES:
        if body in FOREIGN_ERRORS and status < 300:
            continue
        answer = {"status": status, "body": text, "content_type": content_type, "headers": {"X-Request-ID": "proxy-1"}}
        said = f"{SERVER} answered with status {status} and {content_type}, which is not this API"
        lost = status >= 500 or (status < 300 and content_type == "application/json")
        for command, method, target in ALL:
            answers.add(target, method, **answer)
            result = ask(*command, *(("--retry-for", "0") if command is CREATE else ()))
            first, *rest = result.stderr.splitlines()
            where = (status, command)
            if lost and command is not GET:
                assert (result.exit_code, len(sends(answers))) == (5, 1), where
                assert first.startswith(f"error: outcome_unknown: {said}; it may have happened"), where
                assert ("to continue: " in first) == (command is CREATE), where
            else:
                assert (result.exit_code, len(sends(answers))) == (4 if status in {401, 403} else 1, 1), where
                assert first == f"error: not_a_gateway: {said}", where
            assert rest == ["  request id: proxy-1"], where


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_create_is_repeated_when_a_proxy_replaces_the_response(answers: aioresponses, ask: Run, status: int) -> None:
    answers.post(CREATES, status=status, body="<html>", content_type="text/html")
    answers.post(CREATES, status=201, payload=runtime())
    result = ask(*CREATE)
    assert (result.exit_code, result.stderr) == (0, "retrying: outcome_unknown: the same create is sent again in 1 s\n")
    first, second = sends(answers)
    assert first == second


def test_204_without_a_body_is_a_success(answers: aioresponses, ask: Run) -> None:
    answers.delete(RUNTIME, status=204)
    assert ask(*DELETE).exit_code == 0
