import pytest

from adapters.bctrl.errors import TABLE, error_of, read_envelope, reason_key
from adapters.bctrl.wire import CODES, ReasonClass
from gateway.domain import errors
from gateway.domain.operations import Operation
from tests.unit.adapters.fakes import answer


def _error(operation: Operation, status: int, body: object, **headers: str) -> errors.GatewayError:
    return error_of("bc", operation, answer(status, body, headers))


def _flat(code: str | None = None, reason: str | None = None) -> dict:
    body = {"error": "Something failed", "requestId": "req-1"}
    return body | ({"code": code} if code else {}) | ({"reasonClass": reason} if reason else {})


def _keys(code: str) -> list[tuple[Operation | None, int, str | None]]:
    return [key for key in TABLE if key[2] == code]


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_documented_code_has_a_rule(code):
    assert _keys(code)
    for operation, status, _ in _keys(code):
        error = _error(operation or Operation.GET, status, _flat(code))
        assert type(error) is TABLE[operation, status, code]
        assert error.failure is not None
        assert error.failure.code == code


@pytest.mark.parametrize("reason", sorted(ReasonClass))
def test_every_reason_class_has_a_rule_for_unknown_codes(reason):
    assert _keys(reason_key(reason))
    for operation, status, _ in _keys(reason_key(reason)):
        error = _error(operation or Operation.GET, status, _flat("something.new", reason))
        assert type(error) is TABLE[operation, status, reason_key(reason)]
        assert error.failure is not None
        assert error.failure.code == "something.new"


def test_a_known_code_wins_over_the_reason_class():
    body = _flat("rate_limit.exceeded", "capability_limit_exceeded")
    assert type(_error(Operation.GET, 429, body)) is errors.RateLimited


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "runtime.not_found", errors.StateConflict),
        (404, "auth.invalid", errors.NotFound),
        (403, "billing.insufficient_credits", errors.PermissionDenied),
        (500, "rate_limit.exceeded", errors.ProviderError),
    ],
)
def test_a_code_that_disagrees_with_the_status_loses(status, code, expected):
    assert type(_error(Operation.GET, status, _flat(code))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, None, errors.InvalidRequest),
        (401, None, errors.ProviderCredentialsRejected),
        (402, None, errors.InsufficientCredits),
        (403, None, errors.PermissionDenied),
        (404, None, errors.NotFound),
        (409, None, errors.AlreadyExists),
        (409, "runtime.name_conflict", errors.AlreadyExists),
        (422, None, errors.ValidationFailed),
        (429, None, errors.RateLimited),
        (429, "browser.concurrent_quota_exceeded", errors.QuotaExceeded),
        (404, "browser_profile.not_found", errors.ValidationFailed),
        (408, None, errors.OutcomeUnknown),
        (500, None, errors.OutcomeUnknown),
        (502, "upstream.unavailable", errors.OutcomeUnknown),
        (503, "runtime.capacity_unavailable", errors.OutcomeUnknown),
        (504, None, errors.OutcomeUnknown),
        (418, None, errors.ProviderBadResponse),
    ],
)
def test_what_a_failed_create_means(status, code, expected):
    assert type(_error(Operation.CREATE, status, _flat(code))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "auth.invalid", errors.ProviderCredentialsRejected),
        (404, "runtime.not_found", errors.NotFound),
        (404, "route.not_found", errors.ProviderBadResponse),
        (409, None, errors.StateConflict),
        (410, None, errors.NotFound),
        (426, None, errors.ProviderUpgradeRequired),
        (500, None, errors.ProviderError),
        (502, None, errors.ProviderUnavailable),
        (503, "runtime.capacity_unavailable", errors.CapacityExceeded),
        (504, None, errors.ProviderTimeout),
    ],
)
def test_what_a_failed_read_means(status, code, expected):
    assert type(_error(Operation.GET, status, _flat(code))) is expected


@pytest.mark.parametrize(
    "body",
    [
        {"error": "No such runtime", "code": "runtime.not_found", "requestId": "r-9", "reasonClass": "not_found"},
        {
            "error": {
                "message": "No such runtime",
                "code": "runtime.not_found",
                "requestId": "r-9",
                "reasonClass": "not_found",
            }
        },
        {"message": "No such runtime", "code": "runtime.not_found", "requestId": "r-9"},
        {"detail": "No such runtime", "code": "runtime.not_found", "requestId": "r-9"},
    ],
)
def test_the_envelopes_of_all_eras_are_read(body):
    error = _error(Operation.GET, 404, body)
    assert error.failure == errors.ProviderFailure("bc", 404, "runtime.not_found", "No such runtime", "r-9", True)
    assert "No such runtime" not in error.detail


@pytest.mark.parametrize("body", [b"<html>Not Found</html>", b"", b"[]", b'"gone"', b"{}", b'{"error": 4}', b"\xff"])
def test_a_404_in_a_foreign_form_is_no_evidence_that_something_is_missing(body):
    assert read_envelope(body) is None
    assert type(_error(Operation.GET, 404, body)) is errors.ProviderBadResponse


@pytest.mark.parametrize("body", [{}, {"error": 4}, {"why": "no"}])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 426])
def test_a_refused_create_is_the_providers_own_with_any_json_object(status, body):
    """The form of the era's errors is not known; a page, an array or no body at all is somebody else's."""
    error = _error(Operation.CREATE, status, body)
    assert error.failure == errors.ProviderFailure("bc", status, own_envelope=True)
    assert type(error) is not errors.ProviderBadResponse
    for foreign in (b"<html>", b"", b"[]", b'"no"'):
        error = _error(Operation.CREATE, status, foreign)
        assert error.failure == errors.ProviderFailure("bc", status)


@pytest.mark.parametrize(
    ("operation", "status"), [(Operation.CREATE, 500), (Operation.GET, 404), (Operation.STOP, 409)]
)
def test_any_json_object_is_enough_for_a_refused_create_only(operation, status):
    error = _error(operation, status, {"why": "no"})
    assert error.failure == errors.ProviderFailure("bc", status)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("runtime.name_conflict", errors.AlreadyExists),
        ("browser.name_conflict", errors.AlreadyExists),
        (None, errors.AlreadyExists),
        ("idempotency_key_in_progress", errors.OutcomeUnknown),
        ("idempotency.mismatch", errors.ProviderBadResponse),
    ],
)
def test_only_a_taken_alias_is_a_conflict_of_a_create(code, expected):
    """No key is ever sent, so that an answer about one tells nothing about the create."""
    error = _error(Operation.CREATE, 409, _flat(code))
    assert type(error) is expected
    assert error.failure is not None
    assert (error.failure.status, error.failure.code, error.failure.own_envelope) == (409, code, True)


def test_members_of_other_types_than_text_are_ignored():
    error = _error(Operation.GET, 404, {"error": "x", "code": 7, "requestId": {}, "reasonClass": []})
    assert error.failure == errors.ProviderFailure("bc", 404, None, "x", None, own_envelope=True)


def test_the_request_id_of_the_header_stands_in():
    error = _error(Operation.GET, 500, {"error": "x"}, **{"x-request-id": "from-header"})
    assert error.failure is not None
    assert error.failure.request_id == "from-header"


def test_the_time_to_come_back_is_kept():
    assert _error(Operation.GET, 429, _flat(), **{"Retry-After": "7"}).retry_after == 7


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.LIST])
def test_a_404_where_no_runtime_was_named_is_about_the_workspace(operation):
    error = _error(operation, 404, _flat())
    assert type(error) is errors.NotFound
    assert "workspace" in error.detail


@pytest.mark.parametrize(
    ("status", "code", "pointer"),
    [
        (404, "browser_profile.not_found", "#/launch/profile_id"),
        (404, "browser_extension.not_found", "#/launch/extension_ids"),
        (400, "proxy.protocol_invalid", "#/launch/proxy/type"),
    ],
)
def test_a_code_that_is_about_one_field_points_to_it(status, code, pointer):
    error = _error(Operation.CREATE, status, _flat(code))
    assert type(error) is errors.ValidationFailed
    assert [fault.pointer for fault in error.errors] == [pointer]
