"""How a command fails: one line on stderr, and an exit code for each kind of failure."""

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import click

_ENDINGS: Final = ("", "s", "_seconds")
"""What members of a request are called beyond the parameter: ``labels`` and ``runtime_limit_seconds``."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class ExitCode(IntEnum):
    """The exit codes. click itself also uses 2 for a command line that it cannot parse."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3  # the list may lack runtimes of a provider that failed
    AUTH = 4
    OUTCOME_UNKNOWN = 5  # it may have happened
    SETTINGS = 78  # EX_CONFIG of sysexits.h


def one_line(text: object) -> str:
    """Return ``text`` on one line, with spaces for characters that could control a terminal or cannot be printed."""
    return _CONTROL.sub(" ", str(text))


class Failure(click.ClickException):
    """Ends the command with ``error: code: detail`` and further lines.

    ``retry_after`` is the number of seconds that the response asks to wait, None when it does not ask.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        exit_code: ExitCode = ExitCode.FAILED,
        lines: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.exit_code = exit_code  # type: ignore[misc] # click reads it from the instance
        self.lines = lines
        self.retry_after = retry_after
        self.subject: str | None = None  # which of several runtimes

    def show(self, file: Any = None) -> None:  # noqa: ARG002 (click's signature; errors go to stderr)
        words = (self.subject, self.code, self.message)
        click.echo(": ".join(["error", *(one_line(word) for word in words if word is not None)]), err=True)
        for line in self.lines:
            click.echo(f"  {one_line(line)}", err=True)


class Unreachable(Failure):
    """There is no connection to the gateway, so nothing was sent."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(
            "unreachable",
            f"cannot connect to {server}: {reason} (is the gateway running there? see --server and RTGW_SERVER)",
        )


class Refused(Failure):
    """The gateway answered with a problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        detail = str(problem.get("detail") or problem.get("title") or f"the gateway answered with status {status}")
        detail, lines = _with_flags(detail, problem)
        super().__init__(
            str(problem.get("code") or status),
            detail,
            exit_code=_exit_code(status, problem),
            lines=tuple(lines),
            retry_after=retry_after,
        )
        self.status = status
        self.problem = problem

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.problem.get("retryable") in {"yes", "same_request"}


def _exit_code(status: int, problem: Mapping[str, Any]) -> ExitCode:
    if problem.get("code") == "outcome_unknown":
        return ExitCode.OUTCOME_UNKNOWN
    return ExitCode.AUTH if status in {401, 403} else ExitCode.FAILED


def _flag(where: str) -> str:
    """Return the option of the running command that sets what a pointer, parameter or header names, else ``where``."""
    context = click.get_current_context(silent=True)
    if context is None:
        return where
    path = where.removeprefix("#/").replace("-", "_").split("/")
    options = {str(each.name): each for each in context.command.params if isinstance(each, click.Option)}
    for ending in _ENDINGS:
        if (option := options.get(path[0].lower().removesuffix(ending))) is not None:
            return max(option.opts, key=len)
    written = [each.partition("=")[0] for each in context.params.get("assignments") or ()]
    dotted = ".".join(path)
    return next((f"--set {each}" for each in written if f".{dotted}.".endswith(f".{each}.")), where)


def _with_flags(detail: str, problem: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the detail and the further lines of a problem, with the options of the command in place of members of the
    request. The only faulty field is named in the first line, and has none of its own."""
    errors = [
        (
            str(error.get("pointer") or error.get("parameter") or error.get("header") or "request"),
            str(error.get("detail")),
        )
        for error in problem.get("errors") or ()
    ]
    lines = []
    for where, text in errors:
        flag = _flag(where)
        if flag != where:
            member = where.removeprefix("#/")
            detail = detail.replace(f"send {member}: true", f"give {flag}").replace(f"{where}:", f"{flag}:")
        lines.append(f"{flag}: {text}")
        if len(errors) == 1 and (str(text) in detail or f"give {flag}" in detail):
            lines.clear()
            detail = detail if flag in detail or where == "request" else f"{flag}: {detail}"
    if problem.get("provider_detail"):
        lines.append(f"{problem.get('provider')} said: {problem['provider_detail']}")
    if problem.get("intent"):
        lines.append(f"intent: {problem['intent']}")
    if problem.get("request_id"):
        lines.append(f"request id: {problem['request_id']}")
    return detail, lines
