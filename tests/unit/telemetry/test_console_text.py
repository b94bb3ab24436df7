"""Log lines for people: their order, colours, levels, and values that could break a line."""

import re
from io import StringIO
from typing import Any, Final

import pytest

from gateway.telemetry.logs import Event, Logger, make_logger

_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
_ANSWERED: Final[dict[str, Any]] = {"method": "GET", "status": 200, "duration_ms": 12.345, "principal": "shop"}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def request(logger: Logger, **fields: Any) -> None:
    logger.bind(surface="v1", operation="getMe", path="/v1/me").info(Event.REQUEST, **_ANSWERED | fields)


def upstream(logger: Logger) -> None:
    logger.bind(provider="one").info(Event.UPSTREAM, method="GET", outcome="200", duration_ms=1.0, phase=None)


def written(level: str = "info", **fields: Any) -> str:
    stream = StringIO()
    request(make_logger(level, "console", stream), **fields)
    return stream.getvalue()


def test_request_shows_time_level_method_path_status_duration_and_code_first() -> None:
    line = written(status=503, code="overloaded", source="gateway")
    first = rf"{_TIME} info +GET +/v1/me +503 12\.3ms overloaded"
    assert re.fullmatch(rf"{first} surface=v1 operation=getMe principal=shop source=gateway\n", line)


def test_other_event_shows_its_name_after_the_level() -> None:
    stream = StringIO()
    make_logger("info", "console", stream).warning(Event.BREAKER, state="open", retry_after=None)
    assert re.fullmatch(rf"{_TIME} warning breaker state=open\n", stream.getvalue())


def test_attempts_at_providers_and_audit_events_are_written_at_debug_only() -> None:
    stream = StringIO()
    logger = make_logger("info", "console", stream)
    lost: list[int] = []
    logger.on_lost(lambda: lost.append(1))
    upstream(logger)
    logger.info(Event.AUDIT, action="createRuntime", outcome="ok")
    assert stream.getvalue() == ""
    logger.set_level("debug")
    upstream(logger)
    assert re.fullmatch(rf"{_TIME} debug +upstream GET +1\.0ms provider=one outcome=200\n", stream.getvalue())
    assert lost == []


def test_attempts_at_providers_stay_at_info_as_json() -> None:
    stream = StringIO()
    upstream(make_logger("info", "json", stream))
    assert '"level":"info","event":"upstream"' in stream.getvalue()


@pytest.mark.parametrize(("status", "colour"), [(200, 32), (304, 32), (404, 33), (503, 31), (0, 33)])
def test_status_has_its_colour_on_a_terminal(status: int, colour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    request(make_logger("info", "console", stream), status=status)
    assert f"\033[{colour}m{status}\033[0m" in stream.getvalue()


def test_no_colour_without_a_terminal_and_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\033" not in written()
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    request(make_logger("info", "console", stream))
    assert "\033" not in stream.getvalue()


@pytest.mark.parametrize("value", ["a\nb", "\033[2J", "\u202eabc", "two words", "it's"])
def test_value_that_could_break_the_line_is_quoted(value: str) -> None:
    line = written(runtime_id=value)
    assert f"runtime_id={value!r}" in line
    assert line.count("\n") == 1
    assert "\033" not in line


def test_traceback_follows_its_line() -> None:
    stream = StringIO()
    try:
        int("no number")
    except ValueError:
        make_logger("info", "console", stream).exception(Event.UNEXPECTED_ERROR, detail="d")
    first, second, *_, last = stream.getvalue().splitlines()
    assert first.endswith("error   unexpected_error detail=d")
    assert second.startswith("Traceback")
    assert last.startswith("ValueError")
