"""Log lines: their fields and levels, the request id, and values that are hard to write."""

import asyncio
import logging
import subprocess
import sys
from datetime import datetime, timedelta
from io import StringIO
from typing import Any, Literal

import msgspec
import pytest

from gateway.domain.access import Principal
from gateway.ports.context import RequestContext
from gateway.telemetry.logs import Event, Logger, make_logger
from tests.memory import allocated_blocks, least_growth

LEVELS = ("debug", "info", "warning", "error")
FORMS = ("json", "console")
Form = Literal["json", "console"]


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def log_one_of_each(logger: Logger) -> None:
    for level in LEVELS:
        getattr(logger, level)(Event.STARTED)


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def test_line_begins_with_timestamp_level_and_event() -> None:
    stream = StringIO()
    make_logger(stream=stream).bind(surface="v1").info(Event.REQUEST, status=200, code=None)
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "surface", "status", "code"]
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == timedelta(0)
    assert line == {"level": "info", "event": "request", "surface": "v1", "status": 200, "code": None}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("least", LEVELS)
def test_lines_below_the_level_are_not_written(least: str, form: Form) -> None:
    stream = StringIO()
    log_one_of_each(make_logger(least, form, stream))
    assert stream.getvalue().count("started") == len(LEVELS) - LEVELS.index(least)


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize("least", LEVELS)
def test_a_line_of_fields_is_the_same_as_one_of_keyword_arguments(least: str, level: str) -> None:
    stream = StringIO()
    logger = make_logger(least, stream=stream).bind(surface="v1")
    getattr(logger, level)(Event.STARTED, status=200)
    logger.line(logging.getLevelNamesMapping()[level.upper()], Event.STARTED, {"status": 200})
    logged = [{**line, "timestamp": None} for line in lines(stream)]
    assert len(logged) == (2 if LEVELS.index(level) >= LEVELS.index(least) else 0)
    assert logged[:1] == logged[1:]


@pytest.mark.parametrize("least", LEVELS)
def test_level_is_that_of_the_method(least: str) -> None:
    stream = StringIO()
    log_one_of_each(make_logger(least, stream=stream))
    assert [line["level"] for line in lines(stream)] == list(LEVELS[LEVELS.index(least) :])


@pytest.mark.parametrize("form", FORMS)
def test_new_level_applies_to_loggers_that_were_bound_before(form: Form) -> None:
    stream, other_stream = StringIO(), StringIO()
    logger, other = make_logger("error", form, stream), make_logger("error", form, other_stream)
    bound = logger.bind(provider="one").bind(operation="get")
    bound.info(Event.BREAKER)
    logger.set_level("debug")
    bound.debug(Event.BREAKER)
    other.debug(Event.BREAKER)
    bound.set_level("warning")
    logger.info(Event.BREAKER)
    assert stream.getvalue().count("breaker") == 1
    assert other_stream.getvalue() == ""


def test_bound_fields_are_only_in_lines_of_the_bound_logger() -> None:
    stream = StringIO()
    logger = make_logger(stream=stream)
    logger.bind(provider="one").info(Event.UPSTREAM, operation="get")
    logger.info(Event.STARTED)
    bound, plain = lines(stream)
    assert (bound["provider"], bound["operation"]) == ("one", "get")
    assert list(plain) == ["timestamp", "level", "event"]


@pytest.mark.parametrize("name", ["method_name", "self_", "args", "kw", "sink", "line"])
def test_field_may_have_any_name(name: str) -> None:
    stream = StringIO()
    make_logger(stream=stream).info(Event.STARTED, **{name: 1})
    assert lines(stream)[0][name] == 1


def test_lines_within_a_request_have_its_id() -> None:
    stream = StringIO()
    logger = make_logger(stream=stream)
    logger.info(Event.STARTED)
    with RequestContext("r-1", Principal("shop")):
        logger.info(Event.UPSTREAM)
        with RequestContext("r-2", Principal("shop")):
            logger.info(Event.UPSTREAM)
        logger.info(Event.REQUEST)
    logger.info(Event.STOPPED)
    assert [line.get("request_id") for line in lines(stream)] == [None, "r-1", "r-2", "r-1", None]


async def test_tasks_that_a_request_starts_keep_its_id_after_it_has_ended() -> None:
    stream, ended = StringIO(), asyncio.Event()
    logger = make_logger(stream=stream)

    async def work() -> None:
        await ended.wait()
        logger.info(Event.UPSTREAM)

    with RequestContext("r-1", Principal("shop")):
        task = asyncio.create_task(work())
    logger.info(Event.STOPPED)
    ended.set()
    await task
    assert [line.get("request_id") for line in lines(stream)] == [None, "r-1"]


def test_exception_is_an_error_with_its_traceback() -> None:
    stream = StringIO()
    logger = make_logger("error", stream=stream)
    try:
        int("no number")
    except ValueError:
        logger.exception(Event.UNEXPECTED_ERROR, detail="d")
    (line,) = lines(stream)
    assert (line["level"], line["detail"]) == ("error", "d")
    assert line["exception"].endswith("ValueError: invalid literal for int() with base 10: 'no number'\n")


@pytest.mark.parametrize("form", FORMS)
def test_traceback_shows_no_values_of_variables(form: Form) -> None:
    stream = StringIO()
    token = "".join(("a-", "token"))
    try:
        int(f"{len(token)}!")
    except ValueError:
        make_logger("error", form, stream).exception(Event.UNEXPECTED_ERROR)
    assert "base 10: '7!'" in stream.getvalue()
    assert "a-token" not in stream.getvalue()


@pytest.mark.parametrize("value", ["\udcff", "\ud800 ä", "a\nb"])
def test_text_that_is_not_utf_8_or_has_line_ends_is_written_on_one_line(value: str) -> None:
    """A provider's header may contain any bytes, and must not turn its response into an error of the gateway."""
    stream = StringIO()
    make_logger(stream=stream).info(Event.UPSTREAM, provider_request_id=value, names=[value], status=200)
    (written,) = stream.getvalue().splitlines()
    if value.isascii():
        assert msgspec.json.decode(written)["provider_request_id"] == value
    else:
        assert '"event":"upstream","provider_request_id":"\\u' in written
        assert written.endswith('"status":200}')


def test_text_that_is_not_utf_8_is_escaped_in_the_console_format() -> None:
    stream = StringIO()
    make_logger("info", "console", stream).warning(Event.CREDENTIALS, provider_request_id="\udcff")
    assert "provider_request_id='\\udcff'" in stream.getvalue()


def test_value_that_json_does_not_know_is_written_as_its_text() -> None:
    stream = StringIO()
    make_logger(stream=stream).info(Event.STARTED, url=StringIO)
    assert lines(stream)[0]["url"] == str(StringIO)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Unprintable(), "<Unprintable that cannot be logged>"),
        ({"inside": [Unprintable()]}, "<dict that cannot be logged>"),
        (nested(100_000), "<list that cannot be logged>"),
    ],
)
def test_value_that_cannot_be_written_costs_only_itself(value: object, written: str) -> None:
    stream = StringIO()
    make_logger(stream=stream).info(Event.UPSTREAM, status=200, detail=value, code="c")
    (line,) = lines(stream)
    assert (line["event"], line["status"], line["detail"], line["code"]) == ("upstream", 200, written, "c")


def test_line_that_cannot_be_rendered_is_counted_and_does_not_raise() -> None:
    stream, lost = StringIO(), []
    logger = make_logger("info", "console", stream)
    logger.on_lost(lambda: lost.append(1))
    logger.info(Event.STARTED, url=Unprintable())
    logger.info(Event.STOPPED)
    assert (len(lost), stream.getvalue().count("stopped")) == (1, 1)


def test_structlog_is_loaded_without_rich() -> None:
    """rich would take 3 MB, and its tracebacks show the values of variables."""
    program = (
        "import sys, gateway.app; "
        "from gateway.telemetry.logs import make_logger; make_logger(); make_logger('info', 'console'); "
        "assert 'structlog' in sys.modules and 'rich' not in sys.modules; "
        "import rich.console"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("detail", ["text", "\udcff"])
def test_lines_leave_no_objects_behind(form: Form, detail: str) -> None:
    """One object per line would be 1,000 blocks in each round."""
    with open("/dev/null", "w") as nowhere:  # noqa: PTH123
        logger = make_logger("info", form, nowhere).bind(provider="one")
        counts = [allocated_blocks()]
        for _ in range(4):
            for _ in range(1000):
                with RequestContext("r-1", Principal("shop")):
                    logger.info(Event.REQUEST, method="GET", status=200, detail=detail)
            counts.append(allocated_blocks())
    assert least_growth(counts) < 200
