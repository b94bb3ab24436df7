"""Log lines: what is in them, which are left out, and that no value keeps one from being written."""

from datetime import datetime, timedelta
from io import BufferedWriter, BytesIO, RawIOBase, StringIO, TextIOWrapper
from typing import Any

import msgspec
import pytest

from gateway.telemetry.logs import Event, Logger, make_logger

LEVELS = ("debug", "info", "warning", "error")


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def log_one_of_each(logger: Logger) -> None:
    for level in LEVELS:
        getattr(logger, level)(Event.STARTED)


def test_a_line_has_its_moment_its_level_its_event_and_its_fields() -> None:
    stream = StringIO()
    make_logger(stream=stream).info(Event.REQUEST, status=200, code=None)
    (line,) = lines(stream)
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == timedelta(0)
    assert line == {"level": "info", "event": "request", "status": 200, "code": None}


@pytest.mark.parametrize("least", LEVELS)
def test_what_is_below_the_level_is_left_out(least: str) -> None:
    stream = StringIO()
    log_one_of_each(make_logger(least, stream=stream))
    assert [line["level"] for line in lines(stream)] == list(LEVELS[LEVELS.index(least) :])


@pytest.mark.parametrize("least", LEVELS)
def test_the_form_for_people_leaves_out_the_same(least: str) -> None:
    stream = StringIO()
    log_one_of_each(make_logger(least, "console", stream))
    assert stream.getvalue().count("started") == len(LEVELS) - LEVELS.index(least)


def test_an_exception_is_an_error_with_its_traceback() -> None:
    stream = StringIO()
    logger = make_logger("error", stream=stream)
    try:
        int("no number")
    except ValueError:
        logger.exception(Event.UNEXPECTED_ERROR, request_id="r-1")
    (line,) = lines(stream)
    assert (line["level"], line["request_id"]) == ("error", "r-1")
    assert line["exception"].endswith("ValueError: invalid literal for int() with base 10: 'no number'\n")


@pytest.mark.parametrize("value", ["\udcff", "\ud800 ä", "a\nb"])
def test_text_that_is_not_unicode_or_has_line_ends_is_logged_on_one_line(value: str) -> None:
    """A provider's header may hold any bytes, and must not turn its answer into an error of the gateway."""
    stream = StringIO()
    make_logger(stream=stream).info(Event.UPSTREAM, provider_request_id=value)
    (written,) = stream.getvalue().splitlines()
    if value.isascii():
        assert msgspec.json.decode(written)["provider_request_id"] == value
    else:
        assert '"provider_request_id": "\\u' in written


def test_a_value_that_json_does_not_know_is_logged_as_text() -> None:
    stream = StringIO()
    make_logger(stream=stream).info(Event.STARTED, url=StringIO)
    assert lines(stream)[0]["url"] == str(StringIO)


def test_a_line_is_out_as_soon_as_it_is_logged() -> None:
    raw = BytesIO()
    logger = make_logger(stream=TextIOWrapper(raw, encoding="utf-8"))
    logger.info(Event.STARTED, name="ä")
    assert msgspec.json.decode(raw.getvalue())["name"] == "ä"


class Narrow(RawIOBase):
    """A pipe that takes little at once."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.taken += bytes(data[:10])
        return min(len(data), 10)


def test_a_line_is_whole_also_where_a_pipe_takes_it_in_pieces() -> None:
    pipe = Narrow()
    logger = make_logger(stream=TextIOWrapper(BufferedWriter(pipe), encoding="utf-8"))
    logger.info(Event.STARTED)
    logger.info(Event.STOPPED)
    assert [msgspec.json.decode(line)["event"] for line in pipe.taken.splitlines()] == ["started", "stopped"]
