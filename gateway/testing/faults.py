"""The faults of an emulator, as rules per operation (docs/architecture.md#simulated-faults)."""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum, auto
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from gateway.domain.validation import Input

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
HttpStatus = Annotated[int, Field(ge=200, le=599)]
Part = Literal["name", "scope"]


class Stage(Enum):
    """The point of a call at which a fault takes effect."""

    CONNECT = auto()  # before there is a call
    WAIT_BEFORE = auto()
    END_BEFORE = auto()
    EFFECT = auto()  # after a successful commit
    WAIT_AFTER = auto()
    END_AFTER = auto()


class Rule(Input):
    """The fields of every rule. It applies for ``lasts`` seconds; without, until it is removed."""

    operation: Annotated[str, Field(min_length=1)]
    fault: str
    times: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int = 0
    after: Annotated[int, Field(ge=0)] = 0
    lasts: Seconds | None = None


class Delay(Rule):
    """Answer slowly."""

    fault: Literal["delay_before", "delay_after"]
    seconds: Seconds


class Status(Rule):
    """Answer with a status. ``retry_after`` and ``location`` become headers, unchanged. Without ``body``, the answer
    has the provider's own envelope, with ``detail`` and ``code``. A string body is sent as text of ``content_type``."""

    fault: Literal["status", "status_after"]
    status: HttpStatus
    retry_after: int | str | None = None
    location: str | None = None
    detail: str | None = None
    code: str | None = None
    body: Any = None
    content_type: str | None = None


class Late(Status):
    """Answer like a proxy that timed out, while the provider continues the call."""

    fault: Literal["commit_late"]  # type: ignore[assignment]
    status: HttpStatus = 504
    seconds: Seconds | None = None


class Html(Rule):
    """Answer with the HTML error page of a proxy."""

    fault: Literal["html"]
    status: HttpStatus = 502


class Lag(Rule):
    """Show a created runtime late."""

    fault: Literal["list_lag", "get_lag"]
    reads: Annotated[int, Field(ge=1)] | None = None


class OtherName(Rule):
    """Answer with another name or scope than was sent."""

    fault: Literal["other_name", "other_name_after"]
    part: Part = "name"


class Refuse(Rule):
    """Refuse connections, which concerns no single call."""

    fault: Literal["refuse"]

    @model_validator(mode="after")
    def _concerns_no_call(self) -> Self:
        if self.operation != "*" or self.model_fields_set & {"times", "probability", "after"}:
            raise ValueError("connections are refused for all operations (*), and only for a time (lasts)")
        return self


class Plain(Rule):
    """The faults without parameters."""

    fault: Literal[
        "hold",
        "hold_after",
        "hang",
        "hang_after",
        "drop_before",
        "drop_after",
        "commit_twice",
        "half_body",
        "malformed_json",
        "other_answer",
        "other_answer_after",
    ]


STAGES: Final = {
    "refuse": Stage.CONNECT,
    "delay_before": Stage.WAIT_BEFORE,
    "hold": Stage.WAIT_BEFORE,
    "hang": Stage.END_BEFORE,
    "status": Stage.END_BEFORE,
    "drop_before": Stage.END_BEFORE,
    "commit_late": Stage.END_BEFORE,
    "other_answer": Stage.END_BEFORE,
    "other_name": Stage.END_BEFORE,
    "commit_twice": Stage.EFFECT,
    "list_lag": Stage.EFFECT,
    "get_lag": Stage.EFFECT,
    "delay_after": Stage.WAIT_AFTER,
    "hold_after": Stage.WAIT_AFTER,
    "hang_after": Stage.END_AFTER,
    "status_after": Stage.END_AFTER,
    "drop_after": Stage.END_AFTER,
    "half_body": Stage.END_AFTER,
    "malformed_json": Stage.END_AFTER,
    "html": Stage.END_AFTER,
    "other_answer_after": Stage.END_AFTER,
    "other_name_after": Stage.END_AFTER,
}
"""Every fault, and when it takes effect."""

MIXED_UP: Final = frozenset({"other_answer", "other_answer_after", "other_name", "other_name_after"})
"""The faults whose answer does not belong to the request."""

ONLY_AFTER_COMMIT: Final = frozenset({"status_after", "other_answer_after", "other_name_after"})
"""The faults of the answer that do not fire on a call that was refused."""

_AnyRule = Annotated[Delay | Status | Late | Html | Lag | OtherName | Refuse | Plain, Field(discriminator="fault")]
_RULES: Final = TypeAdapter(list[_AnyRule])


class BadRule(ValueError):
    """An invalid rule. ``field`` is the location of the error in the list of rules, for example ``[0].times``."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


def parse_rules(data: Any, operations: Collection[str]) -> Sequence[Rule]:
    """Parse rules from JSON: one rule, or a list of rules. Raises :class:`BadRule`."""
    try:
        rules = _RULES.validate_python(data if isinstance(data, list) else [data])
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        index, *path = error["loc"]
        if error["type"].startswith("union_tag"):
            path = ["fault"]
        elif path and path[0] in STAGES:
            path = path[1:]
        raise BadRule(
            f"[{index}]" + "".join(f".{part}" for part in path), error["msg"].removeprefix("Value error, ")
        ) from exc
    for index, rule in enumerate(rules):
        if rule.operation != "*" and rule.operation not in operations:
            raise BadRule(f"[{index}].operation", f"unknown operation; known are {', '.join(operations)}")
    return rules


class _Armed:
    """A rule with its own end, counts and random generator."""

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.end = math.inf if rule.lasts is None else now + rule.lasts
        self.seen = 0
        self.fired = 0
        self._random = random.Random(rule.seed)  # noqa: S311 - reproducible, not secret

    def fires(self) -> bool:
        self.seen += 1
        rule = self.rule
        if self.seen <= rule.after or (rule.times is not None and self.fired >= rule.times):
            return False
        if rule.probability is not None and self._random.random() >= rule.probability:
            return False
        self.fired += 1
        return True


class Faults:
    """The active rules, in the order in which they were added. ``fired`` counts per fault and outlives the rules."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._armed: list[_Armed] = []
        self.fired: Counter[str] = Counter()

    def add(self, rules: Collection[Rule]) -> None:
        self._armed += [_Armed(rule, self._now()) for rule in rules]

    def end_all(self) -> int:
        """Remove all rules, and return how many there were."""
        count = len(self._armed)
        self._armed = []
        return count

    def firing(self, operation: str, stage: Stage, applies: Callable[[Rule], bool] = lambda _: True) -> Iterator[Rule]:
        """The rules that fire now; each is counted when the iterator yields it. A rule that does not apply does not see
        the call."""
        for armed in self._armed:
            rule = armed.rule
            if rule.operation not in {"*", operation} or STAGES[rule.fault] is not stage or self._left(armed) == 0:
                continue
            if applies(rule) and armed.fires():
                self.fired[rule.fault] += 1
                yield rule

    def refusing(self) -> float:
        """For how many seconds connections are to be refused: infinite without an end, 0 if they are not."""
        return max((self._left(armed) for armed in self._armed if isinstance(armed.rule, Refuse)), default=0)

    def shown(self) -> list[dict[str, Any]]:
        """The rules as JSON, each with the numbers of calls that it saw and fired on, and the seconds that it lasts."""
        return [
            {
                **armed.rule.model_dump(exclude_unset=True),
                "seen": armed.seen,
                "fired": armed.fired,
                **({} if armed.rule.lasts is None else {"seconds_left": self._left(armed)}),
            }
            for armed in self._armed
        ]

    def _left(self, armed: _Armed) -> float:
        return max(0, armed.end - self._now())
