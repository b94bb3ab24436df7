"""The faults that an emulator can be told to have, as rules per operation (specification §8).

A rule is a JSON object: ``operation`` (a name, or ``*`` for all), ``fault``, the fault's own parameters, and when it
fires: ``times`` (at most so many calls), ``probability`` (of each call, drawn from a generator seeded with ``seed``),
``after`` (so many calls are let through first). With neither ``times`` nor ``probability`` it fires on every call.

=============================  =======================================================================================
``delay_before, delay_after``  wait ``seconds`` before or after the commit, which happens also when the client has left
``hold, hold_after``           the same, until ``POST /__release``
``hang, hang_after``           never answer; without and with the commit
``status``                     answer with ``status`` instead of committing
``commit_late``                the same, and commit ``seconds`` later (without ``seconds``: at ``POST /__release``)
``status_after``               commit, then answer with ``status``
``drop_before, drop_after``    close the connection unanswered; without and with the commit
``commit_twice``               commit, and once more as if it were another; the answer is the first one's
``half_body``                  commit, then close in the middle of the answer's body
``malformed_json, html``       commit, then answer with broken JSON, or with a web page of ``status``
``list_lag, get_lag``          what the call creates is missing from the next ``reads`` lists, or GETs of it (without
                               ``reads``: until ``POST /__release``)
=============================  =======================================================================================

A call that the emulator refuses commits nothing, so the faults that need a commit do not fire on it; those of the
answer (``drop_after``, ``half_body``, …) do.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from enum import Enum, auto
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from gateway.domain.validation import Input

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
HttpStatus = Annotated[int, Field(ge=200, le=599)]


class Stage(Enum):
    """When in a call a fault has its effect."""

    WAIT_BEFORE = auto()
    END_BEFORE = auto()
    EFFECT = auto()  # of a commit that succeeded
    WAIT_AFTER = auto()
    END_AFTER = auto()


class Rule(Input):
    """What every rule has."""

    operation: Annotated[str, Field(min_length=1)]
    fault: str
    times: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int = 0
    after: Annotated[int, Field(ge=0)] = 0


class Delay(Rule):
    """Be slow."""

    fault: Literal["delay_before", "delay_after"]
    seconds: Seconds


class Status(Rule):
    """Answer with a status. ``retry_after`` and ``location`` go into the headers as they are. Without ``body`` the
    answer is in the provider's own envelope, with ``detail`` and ``code``; a string is sent as text of
    ``content_type``."""

    fault: Literal["status", "status_after"]
    status: HttpStatus
    retry_after: int | str | None = None
    location: str | None = None
    detail: str | None = None
    code: str | None = None
    body: Any = None
    content_type: str | None = None


class Late(Status):
    """Answer as something in between that gave up waiting, while the call goes on behind it."""

    fault: Literal["commit_late"]  # type: ignore[assignment]
    status: HttpStatus = 504
    seconds: Seconds | None = None


class Html(Rule):
    """Answer as a proxy in between would."""

    fault: Literal["html"]
    status: HttpStatus = 502


class Lag(Rule):
    """Show what was made only later."""

    fault: Literal["list_lag", "get_lag"]
    reads: Annotated[int, Field(ge=1)] | None = None


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
    ]


STAGES: Final = {
    "delay_before": Stage.WAIT_BEFORE,
    "hold": Stage.WAIT_BEFORE,
    "hang": Stage.END_BEFORE,
    "status": Stage.END_BEFORE,
    "drop_before": Stage.END_BEFORE,
    "commit_late": Stage.END_BEFORE,
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
}
"""Every fault there is, and when it has its effect."""

_AnyRule = Annotated[Delay | Status | Late | Html | Lag | Plain, Field(discriminator="fault")]
_RULES: Final = TypeAdapter(list[_AnyRule])


class BadRule(ValueError):
    """A rule that cannot be. ``field`` is its place in the list of rules, such as ``[0].times``."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


def parse_rules(data: Any, operations: Collection[str]) -> Sequence[Rule]:
    """Rules from JSON: a list of them, or one. Raises :class:`BadRule`."""
    try:
        rules = _RULES.validate_python(data if isinstance(data, list) else [data])
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        index, *path = error["loc"]
        if error["type"].startswith("union_tag"):
            path = ["fault"]
        elif path and path[0] in STAGES:
            path = path[1:]
        raise BadRule(f"[{index}]" + "".join(f".{part}" for part in path), error["msg"]) from exc
    for index, rule in enumerate(rules):
        if rule.operation != "*" and rule.operation not in operations:
            raise BadRule(f"[{index}].operation", f"there is none of this name; there are {', '.join(operations)}")
    return rules


class _Armed:
    """A rule with its own count and its own generator of chance."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.seen = 0
        self.fired = 0
        self._random = random.Random(rule.seed)  # noqa: S311 - chance that can be repeated is the point

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
    """The rules in force, in the order they were given. ``fired`` counts by fault and outlives the rules."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.fired: Counter[str] = Counter()

    def add(self, rules: Collection[Rule]) -> None:
        """Put further rules in force."""
        self._armed += [_Armed(rule) for rule in rules]

    def end_all(self) -> int:
        """End all rules; how many there were."""
        count = len(self._armed)
        self._armed = []
        return count

    def firing(self, operation: str, stage: Stage, applies: Callable[[Rule], bool] = lambda _: True) -> Iterator[Rule]:
        """The rules that fire now, each counted when it is taken. Rules that do not apply are not asked."""
        for armed in self._armed:
            rule = armed.rule
            if rule.operation in {"*", operation} and STAGES[rule.fault] is stage and applies(rule) and armed.fires():
                self.fired[rule.fault] += 1
                yield rule

    def shown(self) -> list[dict[str, Any]]:
        """The rules as JSON, each with how often it was asked and how often it fired."""
        return [
            {**armed.rule.model_dump(exclude_unset=True), "seen": armed.seen, "fired": armed.fired}
            for armed in self._armed
        ]
