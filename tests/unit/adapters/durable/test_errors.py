"""How failures of the durable API are classified."""

import msgspec
import pytest

from adapters.durable.errors import ERROR_TYPES, failed
from adapters.durable.wire import ERROR_CODES
from gateway.domain import errors
from gateway.domain.errors import FieldError
from gateway.domain.values import Operation
from tests.unit.adapters.durable.fakes import failure
from tests.unit.adapters.fakes import answer

MEANINGS = {
    ("already_exists_error", 409): errors.StateConflict,
    ("app_error", 400): errors.InvalidRequest,
    ("authentication_error", 401): errors.ProviderCredentialsRejected,
    ("conflict_error", 409): errors.StateConflict,
    ("aws_error", 500): errors.ProviderError,
    ("configuration_error", 500): errors.ProviderError,
    ("database_error", 500): errors.ProviderError,
    ("dynamodb_error", 500): errors.ProviderError,
    ("e2b_error", 502): errors.ProviderError,
    ("e2b_rate_limit_error", 429): errors.RateLimited,
    ("expired_signature_error", 401): errors.ProviderCredentialsRejected,
    ("expired_token_error", 401): errors.ProviderCredentialsRejected,
    ("forbidden_error", 403): errors.PermissionDenied,
    ("group_error", 403): errors.PermissionDenied,
    ("invalid_error", 400): errors.InvalidRequest,
    ("invalid_flag_error", 400): errors.InvalidRequest,
    ("invalid_username_error", 400): errors.InvalidRequest,
    ("mail_error", 500): errors.ProviderError,
    ("member_exists_error", 409): errors.StateConflict,
    ("member_limit_exceeded_error", 403): errors.QuotaExceeded,
    ("migration_lock_timeout_error", 500): errors.ProviderUnavailable,
    ("not_found_error", 404): errors.NotFound,
    ("oauth_config_error", 500): errors.ProviderError,
    ("org_sandbox_capacity_exceeded_error", 429): errors.QuotaExceeded,
    ("bad_gateway_error", 502): errors.ProviderUnavailable,
    ("gateway_timeout_error", 504): errors.ProviderTimeout,
    ("s3_error", 500): errors.ProviderError,
    ("server_error", 500): errors.ProviderError,
    ("task_error", 400): errors.InvalidRequest,
    ("stripe_error", 500): errors.ProviderError,
    ("token_error", 401): errors.ProviderCredentialsRejected,
    ("upgrade_required_error", 426): errors.ProviderUpgradeRequired,
    ("usage_limit_exceeded_error", 429): errors.QuotaExceeded,
    ("user_verification_error", 403): errors.PermissionDenied,
    ("validation_error", 422): errors.ValidationFailed,
}

STATUSES = {
    400: errors.InvalidRequest,
    401: errors.ProviderCredentialsRejected,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.StateConflict,
    422: errors.ValidationFailed,
    426: errors.ProviderUpgradeRequired,
    429: errors.RateLimited,
    500: errors.ProviderError,
    502: errors.ProviderUnavailable,
    504: errors.ProviderTimeout,
}


def test_tables_cover_every_documented_type_and_code():
    assert len(MEANINGS) == 35
    assert {kind for kind, _ in MEANINGS} == ERROR_TYPES
    assert list(STATUSES) == list(ERROR_CODES)


def test_each_type_at_its_status_is_classified():
    for (kind, status), expected in MEANINGS.items():
        error = failed("dn", Operation.GET, failure(status, kind))
        assert type(error) is expected, (kind, status)
        assert error.failure == errors.ProviderFailure("dn", status, kind, "the provider's words", own_envelope=True)
        assert error.source is errors.Source.PROVIDER


@pytest.mark.parametrize("kind", [None, "brand_new_error", "not_found_error!"])
def test_unknown_type_is_classified_by_its_status(kind):
    for status, expected in STATUSES.items():
        assert type(failed("dn", Operation.GET, failure(status, kind))) is expected, status


def test_status_takes_precedence_over_the_body_code():
    for status, expected in STATUSES.items():
        for code in STATUSES:
            assert type(failed("dn", Operation.GET, failure(status, code=code))) is expected, (status, code)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (500, "not_found_error", errors.ProviderError),
        (502, "authentication_error", errors.ProviderUnavailable),
        (404, "server_error", errors.NotFound),
        (402, "usage_limit_exceeded_error", errors.InsufficientCredits),
        (503, "server_error", errors.ProviderUnavailable),
        (418, "app_error", errors.ProviderBadResponse),
        (599, "server_error", errors.ProviderError),
        (403, "usage_limit_exceeded_error", errors.QuotaExceeded),
        (409, "member_limit_exceeded_error", errors.QuotaExceeded),
    ],
)
def test_status_decides_and_type_refines(status, kind, expected):
    assert type(failed("dn", Operation.GET, failure(status, kind))) is expected


@pytest.mark.parametrize("kind", [None, "already_exists_error", "conflict_error"])
def test_409_of_a_create_is_already_exists_and_of_others_a_state_conflict(kind):
    assert type(failed("dn", Operation.CREATE, failure(409, kind))) is errors.AlreadyExists
    for operation in (Operation.PAUSE, Operation.REPLACE_CONFIG, Operation.UPDATE_CAPABILITY):
        assert type(failed("dn", operation, failure(409, kind))) is errors.StateConflict


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("already_exists_error", errors.AlreadyExists),
        ("conflict_error", errors.StateConflict),
        (None, errors.StateConflict),
    ],
)
def test_409_of_an_install_depends_on_its_type(kind, expected):
    error = failed("dn", Operation.INSTALL_CAPABILITY, failure(409, kind))
    assert type(error) is expected
    assert ("installed" in error.detail) is (expected is errors.AlreadyExists)


def test_the_word_credit_in_the_detail_has_no_effect():
    for status, expected in ((429, errors.RateLimited), (400, errors.InvalidRequest)):
        response = answer(status, {"code": status, "detail": "no credits left", "type": "new_error"})
        assert type(failed("dn", Operation.START, response)) is expected


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_of_a_create_is_outcome_unknown(status):
    for kind in (None, "server_error", "e2b_error", "migration_lock_timeout_error"):
        assert type(failed("dn", Operation.CREATE, failure(status, kind))) is errors.OutcomeUnknown


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>bad gateway</html>",
        b'["detail"]',
        b'"detail"',
        b'{"detail": "Not Found"}',
        b'{"code": 404, "type": "not_found_error"}',
        b'{"code": "404", "detail": "x"}',
        b'{"detail": ["x"], "type": "not_found_error"}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_body_without_the_envelope_is_classified_by_its_status(body):
    assert type(failed("dn", Operation.GET, answer(404, body))) is errors.ProviderBadResponse
    assert type(failed("dn", Operation.GET, answer(503, body))) is errors.ProviderUnavailable
    assert type(failed("dn", Operation.CREATE, answer(307, body))) is errors.OutcomeUnknown


def test_any_401_means_rejected_credentials():
    for body in (b"", b"<html>", b'{"detail": "Not authenticated"}'):
        assert type(failed("dn", Operation.LIST, answer(401, body))) is errors.ProviderCredentialsRejected


def test_401_without_the_envelope_is_not_marked_as_the_providers_own():
    error = failed("dn", Operation.CREATE, answer(401, b"<html>"))
    assert type(error) is errors.ProviderCredentialsRejected
    assert error.failure == errors.ProviderFailure("dn", 401)


@pytest.mark.parametrize("kind", ["already_exists_error", "conflict_error"])
def test_409_of_a_create_keeps_the_providers_failure(kind):
    error = failed("dn", Operation.CREATE, failure(409, kind))
    assert type(error) is errors.AlreadyExists
    assert error.failure == errors.ProviderFailure("dn", 409, kind, "the provider's words", own_envelope=True)


def test_retry_after_and_request_id_are_kept():
    body = {"code": 429, "detail": "slow down", "type": "e2b_rate_limit_error"}
    error = failed("dn", Operation.GET, answer(429, body, retry_after="7", x_request_id="r-1"))
    assert error.retry_after == 7
    assert error.failure == errors.ProviderFailure("dn", 429, "e2b_rate_limit_error", "slow down", "r-1", True)


def _fields(operation: Operation, *items: object, status: int = 422) -> list[FieldError]:
    return list(failed("dn", operation, failure(status, "validation_error", errors=list(items))).errors)


def _item(*loc: object, kind: str = "missing") -> dict[str, object]:
    return {"loc": list(loc), "msg": "hunter2 is not allowed", "type": kind}


def test_create_fields_get_the_gateways_names():
    fields = _fields(
        Operation.CREATE,
        _item("body", "config", "version", kind="literal_error"),
        _item("body", "key"),
        _item("body", "name"),
        _item("body", "requested_runtime_limit_seconds", kind="greater_than_equal"),
        _item("body", "config", "capabilities", 0, "name"),
        _item("body", "config", "runtime_server", "env", "A/B~C"),
        _item("body"),
    )
    assert [field.pointer for field in fields] == [
        "#/config/version",
        "#/name",
        "#/display_name",
        "#/runtime_limit_seconds",
        "#/config/capabilities/0/name",
        "#/config/runtime_server/env/A~1B~0C",
        "#",
    ]
    assert [field.code for field in fields[:4]] == ["literal_error", "missing", "missing", "greater_than_equal"]


def test_capability_fields_keep_their_names():
    assert [field.pointer for field in _fields(Operation.INSTALL_CAPABILITY, _item("body", "name"))] == ["#/name"]


def test_422_of_a_list_is_an_invalid_request_with_the_gateways_parameter():
    error = failed(
        "dn",
        Operation.LIST,
        failure(422, "validation_error", errors=[_item("query", "project_id"), _item("query", "state", 0)]),
    )
    assert type(error) is errors.InvalidRequest
    assert [field.parameter for field in error.errors] == ["project", "state"]


def test_values_quoted_by_the_provider_are_not_in_field_errors():
    fields = _fields(Operation.CREATE, *(_item("body", "key", kind=kind) for kind in ("missing", "value_error", "a b")))
    assert [field.code for field in fields] == ["missing", "value_error", "invalid"]
    assert "hunter2" not in str(fields)


def test_malformed_error_items_are_ignored():
    items = [
        None,
        3,
        "x",
        {},
        {"loc": "body"},
        _item(),
        _item("path", "runtime_id"),
        _item("query"),
        _item("body", None),
    ]
    assert [field.pointer for field in _fields(Operation.CREATE, *items)] == ["#"]
    body = msgspec.json.encode({"code": 422, "detail": "x", "type": "validation_error", "errors": {"a": 1}})
    assert failed("dn", Operation.CREATE, answer(422, body)).errors == ()
