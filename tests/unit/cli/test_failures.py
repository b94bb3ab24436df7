"""Errors of fields: with the names of the command's options, and printed once."""

from typing import Any

import pytest

from .conftest import ID, Run, ScriptedGateway

REQUEST = "  request id: r-1"


def refuse(gateway: ScriptedGateway, detail: str, *errors: dict[str, Any], status: int = 422) -> None:
    gateway.refuses(status, "validation_failed", detail=detail, errors=list(errors))


def test_member_that_a_flag_sets_has_the_name_of_the_flag(gateway: ScriptedGateway, run: Run) -> None:
    detail = "Stopping this runtime discards its state: send discard_state: true, or pause it."
    refuse(gateway, detail, {"pointer": "#/discard_state", "detail": "This has to be true."}, status=409)
    assert run("runtimes", "stop", ID).stderr.splitlines() == [
        "error: validation_failed: Stopping this runtime discards its state: give --discard-state, or pause it.",
        REQUEST,
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "shown"),
    [
        (("create", "--kind", "x"), {"pointer": "#/kind"}, "--kind"),
        (("create", "--kind", "x", "--label", "a=b"), {"pointer": "#/labels/a"}, "--label"),
        (("start", ID, "--runtime-limit", "60"), {"pointer": "#/runtime_limit_seconds"}, "--runtime-limit"),
        (("keepalive", ID), {"pointer": "#/extend_seconds"}, "--extend"),
        (("list",), {"parameter": "state"}, "--state"),
        (("reset", ID, "--if-match", "x"), {"header": "If-Match"}, "--if-match"),
        (("create", "--kind", "x", "--set", "config.a.b=1"), {"pointer": "#/config/a/b"}, "--set config.a.b"),
        (("create", "--kind", "x", "--set", "config.a.c=1"), {"pointer": "#/config/a/b"}, "#/config/a/b"),
        (("create", "--kind", "x"), {"pointer": "#/config/a/b"}, "#/config/a/b"),
        (("create", "--kind", "x"), {"pointer": "#/provider_options/a"}, "#/provider_options/a"),
        (("start", ID, "--secret-id", "x"), {"pointer": "#/secret_ids/0"}, "--secret-id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_error_of_one_field_is_printed_once_with_the_name_of_its_option(
    gateway: ScriptedGateway, run: Run, arguments: tuple[str, ...], error: dict[str, Any], shown: str
) -> None:
    where = next(iter(error.values()))
    refuse(gateway, f"{where}: It is wrong.", {**error, "detail": "It is wrong."})
    result = run("runtimes", *arguments)
    assert result.stderr.splitlines() == [f"error: validation_failed: {shown}: It is wrong.", REQUEST]


@pytest.mark.parametrize(
    ("pointer", "shown"), [("#/kind", "--kind: "), ("#/config/a", "#/config/a: "), (None, "")], ids=str
)
def test_detail_without_the_field_is_printed_after_its_name(
    gateway: ScriptedGateway, run: Run, pointer: str | None, shown: str
) -> None:
    refuse(gateway, "It is unknown.", {"pointer": pointer, "detail": "It is unknown."})
    result = run("runtimes", "create", "--kind", "x")
    assert result.stderr.splitlines() == [f"error: validation_failed: {shown}It is unknown.", REQUEST]


def test_errors_of_several_fields_have_a_line_each(gateway: ScriptedGateway, run: Run) -> None:
    errors = [{"pointer": "#/name", "detail": "It is taken."}, {"pointer": "#/config", "detail": "It is too long."}]
    refuse(gateway, "2 fields are wrong.", *errors)
    assert run("runtimes", "create", "--kind", "durable").stderr.splitlines() == [
        "error: validation_failed: 2 fields are wrong.",
        "  --name: It is taken.",
        "  #/config: It is too long.",
        REQUEST,
    ]
