"""Log lines as text for people: what matters most comes first, and colours are for terminals only."""

from datetime import datetime
from typing import Any, Final

_LEVELS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_BOLD, _RED, _YELLOW, _GREEN = "1", "31", "33", "32"
_METHOD_WIDTH: Final = 6
_PATH_WIDTH: Final = 32
_NEED_QUOTES: Final = frozenset(" '\"")


class ConsoleText:
    """Renders a line: time, level, the method, path, status, duration and code of a request or the name of another
    event, then the other fields that have a value."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _sink: Any, _level: str, line: dict[str, Any]) -> str:
        at, level, event = line.pop("timestamp"), line.pop("level"), line.pop("event")
        exception = line.pop("exception", None)
        parts = [_time(at), self._styled(f"{level:<7}", _LEVELS[level])]
        if event != "request":
            parts.append(self._styled(str(event), _BOLD))
        if "method" in line:
            parts += self._request(line)
        parts += [f"{name}={_shown(value)}" for name, value in line.items() if value is not None]
        text = " ".join(parts)
        return text if exception is None else f"{text}\n{exception.rstrip()}"

    def _request(self, line: dict[str, Any]) -> list[str]:
        """The first fields of a request, which are taken out of ``line``."""
        parts = [f"{_shown(line.pop('method')):<{_METHOD_WIDTH}}"]
        if "path" in line:
            parts.append(f"{_shown(line.pop('path')):<{_PATH_WIDTH}}")
        if "status" in line:
            status = line.pop("status")
            parts.append(self._styled(str(status), _GREEN if 0 < status < 400 else _YELLOW if status < 500 else _RED))
        if "duration_ms" in line:
            parts.append(f"{line.pop('duration_ms'):.1f}ms")
        if code := line.pop("code", None):
            parts.append(self._styled(str(code), _BOLD))
        return parts

    def _styled(self, text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def _shown(value: object) -> str:
    """A value on one line: control characters, which could move a terminal's cursor, are escaped."""
    text = str(value)
    return text if text.isprintable() and not _NEED_QUOTES & set(text) else repr(text)
