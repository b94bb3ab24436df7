"""The tree of errors: the diagram is complete, and each class has its own code."""

import re

import pytest

from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure, Retryable, Source, error_classes, pointer

CLASSES = list(error_classes())


def _drawn() -> list[tuple[str, str]]:
    drawing = errors.__doc__ or ""
    return re.findall(r"[├└]── (\w+) +\d{3} (\w+)", drawing)


def test_the_diagram_shows_every_class_with_its_code_in_order() -> None:
    assert _drawn() == [(cls.__name__, cls.code) for cls in CLASSES]


def test_every_code_is_used_once_and_is_a_word() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes)) == 37
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_every_class_without_a_code_is_only_a_base() -> None:
    def below(cls: type[GatewayError]) -> set[type[GatewayError]]:
        return {cls, *(deeper for child in cls.__subclasses__() for deeper in below(child))}

    assert below(GatewayError) - set(CLASSES) == {GatewayError, errors.ClientError}


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_with_a_provider_failure_has_the_source_provider(cls: type[GatewayError]) -> None:
    error = cls("Sentence.", failure=ProviderFailure("durable-demo", status=500))
    assert (error.source, error.provider) == (Source.PROVIDER, "durable-demo")
    assert str(error) == error.detail == "Sentence."


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_without_a_provider_failure_has_the_source_of_its_class(cls: type[GatewayError]) -> None:
    assert cls("x").source is cls.default_source
    assert cls("x").retryable is cls.default_retryable


def test_an_unknown_outcome_is_retried_only_as_the_same_request() -> None:
    assert errors.OutcomeUnknown("x").retryable is Retryable.SAME_REQUEST
    assert errors.ProviderTimeout("x").retryable is Retryable.YES


def test_pointers_are_escaped() -> None:
    assert pointer("config", "a/b", 0, "c~d") == "#/config/a~1b/0/c~0d"
    assert pointer() == "#"
    fault = errors.ValidationFailed.at("#/name", "Bad.", code="required").errors
    assert fault == (FieldError("Bad.", "required", pointer="#/name"),)
