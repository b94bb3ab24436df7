"""The bounds of a problem's errors."""

from gateway.domain.config import RuntimeConfig, unknown_keys
from gateway.domain.differences import differing_fields
from gateway.domain.errors import AlreadyExists, FieldError, ValidationFailed
from gateway.domain.field_errors import MAX_DETAIL, MAX_ERROR_BYTES, MAX_POINTER, bounded, pointer
from gateway.domain.requests import CreateDurable
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import State


def faults(count: int, size: int = 10) -> list[FieldError]:
    return [FieldError("d" * size, "invalid", pointer=pointer("a", i)) for i in range(count)]


def test_errors_beyond_100_are_counted_in_the_last_one() -> None:
    assert ValidationFailed("x", errors=faults(100)).errors == tuple(faults(100))
    errors = ValidationFailed("x", errors=faults(101)).errors
    assert errors[:99] == tuple(faults(99))
    assert errors[99] == FieldError("2 more faults are not listed.", "more_errors", pointer="#")


def test_bounded_errors_stay_the_same_when_bounded_again() -> None:
    for errors in (faults(500), faults(100, 1900)):
        once = bounded(errors)
        assert bounded(once) == once


def test_errors_beyond_the_size_are_left_out() -> None:
    errors = bounded(faults(90, 1900))
    assert sum(len(error.detail) for error in errors) <= MAX_ERROR_BYTES
    assert errors[-1].detail == f"{90 - len(errors) + 1} more faults are not listed."


def test_a_long_detail_is_cut() -> None:
    error = ValidationFailed.at("#", "d" * 1_000_000)
    assert len(error.detail) == len(error.errors[0].detail) == MAX_DETAIL


def test_a_pointer_that_is_too_long_names_an_enclosing_value() -> None:
    assert pointer("config", "a/b~", 0) == "#/config/a~1b~0/0"
    assert pointer("config", "x" * MAX_POINTER, "y") == "#/config"
    assert pointer("config", "\x01" * (MAX_POINTER // 2)) == "#/config"
    assert pointer("x" * 1_000_000) == "#"


def test_differing_fields_are_bounded() -> None:
    config = {"runtime_server": {"env": {f"e{i}": "new" for i in range(5000)}}}
    request = validate(CreateDurable, {"kind": "durable", "config": config})
    existing = Runtime(id="p.1", kind="durable", provider="p", scope="s", provider_id="1", state=State.RUNNING)
    differing = AlreadyExists("x", errors=differing_fields(request, existing, {"runtime_server": {"env": {}}})).errors
    assert len(differing) == 100
    assert differing[-1].detail == "4901 more faults are not listed."


def test_warnings_of_unknown_keys_are_bounded() -> None:
    config = RuntimeConfig.model_validate({f"k{i}": 1 for i in range(5000)})
    warnings = unknown_keys(config)
    assert len(warnings) == 100
    assert warnings[-1].detail == "The gateway does not know 4901 other keys; they were passed on unchanged."
