"""Errors as problem documents."""

import json
import uuid

import pytest

from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure, error_classes
from gateway.http.problems import STATUS, internal_error, problem_document, problem_response

REQUEST_ID = "5f1d7a52-3f0e-4c6b-9a5e-1f2f3a4b5c6d"


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.code)
def test_every_error_class_has_a_status_and_all_required_members(cls: type[GatewayError]) -> None:
    document = problem_document(cls("What happened."), REQUEST_ID)
    assert document["status"] == STATUS[cls]
    assert document["type"] == f"/docs/errors/{cls.code}"
    assert document.keys() == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "source",
        "retryable",
        "request_id",
    }


def test_the_status_table_contains_only_error_classes() -> None:
    assert set(STATUS) == set(error_classes())


def test_the_instance_is_the_request_id_if_that_is_a_uuid() -> None:
    assert problem_document(errors.NotFound("No."), REQUEST_ID)["instance"] == f"urn:uuid:{REQUEST_ID}"


def test_the_instance_is_a_new_uuid_if_the_request_id_is_not_one() -> None:
    first, second = (problem_document(errors.NotFound("No."), "my-id.1")["instance"] for _ in range(2))
    assert uuid.UUID(first.removeprefix("urn:uuid:")).version == 4
    assert first != second


def test_provider_members_are_null_where_the_provider_gave_none() -> None:
    error = errors.ProviderError("The provider failed.", failure=ProviderFailure("p", status=500, code="oops"))
    document = problem_document(error, REQUEST_ID)
    assert document["provider"] == "p"
    assert [document[f"provider_{name}"] for name in ("status", "code", "detail", "request_id")] == [
        500,
        "oops",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("seconds", "shown", "header"), [(2, 2, "2"), (2.0, 2, "2"), (0.2504, 0.25, "1"), (-3, 0, "0")]
)
def test_retry_after_is_in_seconds_and_rounded_up_in_the_header(seconds: float, shown: float, header: str) -> None:
    response = problem_response(errors.RateLimited("Slow down.", retry_after=seconds), REQUEST_ID)
    assert json.loads(response.body)["retry_after"] == shown
    assert response.headers["Retry-After"] == header


def test_field_errors_contain_only_their_location() -> None:
    error = errors.ValidationFailed("No.", errors=[FieldError("Bad.", "invalid", pointer="#/name")])
    assert problem_document(error, REQUEST_ID)["errors"] == [{"detail": "Bad.", "code": "invalid", "pointer": "#/name"}]


def test_extra_members_never_replace_standard_ones() -> None:
    document = problem_document(errors.NotFound("No.", extra={"code": "other", "state": "idle"}), REQUEST_ID)
    assert (document["code"], document["state"]) == ("not_found", "idle")


def test_the_failures_of_a_list_are_nested_problems() -> None:
    inner = errors.ProviderTimeout("Too slow.", provider="p")
    error = errors.ProviderUnavailable("Incomplete.", extra={"incomplete": [("p", inner)]})
    (failure,) = problem_document(error, REQUEST_ID)["incomplete"]
    assert (failure["provider"], failure["problem"]["code"]) == ("p", "provider_timeout")


def test_an_unauthenticated_response_names_the_scheme() -> None:
    assert problem_response(errors.Unauthenticated("No."), REQUEST_ID).headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_method_is_answered_with_allow() -> None:
    response = problem_response(errors.MethodNotAllowed("No.", allowed=["GET", "HEAD"]), REQUEST_ID)
    assert response.headers["Allow"] == "GET, HEAD"


def test_provider_headers_that_are_not_utf8_do_not_break_the_response() -> None:
    error = errors.ProviderError("Failed.", failure=ProviderFailure("p", status=500, request_id="id-\udcff"))
    response = problem_response(error, REQUEST_ID)
    assert json.loads(response.body)["provider_request_id"] == "id-?"


def test_an_internal_error_reveals_no_cause() -> None:
    document = problem_document(internal_error(), REQUEST_ID)
    assert (document["source"], document["request_id"]) == ("gateway", REQUEST_ID)
