"""Answers that do not belong to their request, as a provider or a proxy that mixes up answers sends them."""

import secrets
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from gateway.testing.exchange import Answer, Call
from gateway.testing.faults import OtherName, Part, Rule

Members = Mapping[Literal["id"] | Part, str]
"""The members that hold the id, the name and the scope of a runtime in its JSON, in requests and in answers. A provider
whose answers do not contain the scope has no such member."""

_KEPT: Final = 2  # requests per operation: at most one of them is the one to be answered


class AnswerLog:
    """The latest successful answers of each operation, to be sent again as the answer of another request."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._kept: dict[str, deque[tuple[Any, Answer]]] = {}

    def add(self, call: Call, answer: Answer) -> None:
        kept = self._kept.setdefault(call.operation, deque(maxlen=_KEPT))
        if _request_of(call) not in (request for request, _ in kept):
            kept.append((_request_of(call), answer))

    def clear(self) -> None:
        self._kept.clear()

    def mixed_up(self, rule: Rule, call: Call, answer: Answer | None) -> Answer | None:
        """The answer of a rule of :data:`gateway.testing.faults.MIXED_UP` to a call whose commit had this answer, if it
        was committed. None if there is no answer to another request yet, or if the answer lacks what is changed."""
        another = self._of_another(call)
        if not isinstance(rule, OtherName):
            return another
        if rule.fault == "other_name":
            answer = self._invented(call, another)
        return self._renamed(answer, rule.part)

    def _of_another(self, call: Call) -> Answer | None:
        kept = self._kept.get(call.operation, ())
        others = [answer for request, answer in kept if request != _request_of(call)]
        return others[-1] if others else None

    def _invented(self, call: Call, another: Answer | None) -> Answer | None:
        """The answer of another request with the name of this one, and with an id that no runtime has."""
        requested, name = call.json(), self._members["name"]
        made_up = self._value(another, "id")
        if another is None or made_up is None:
            return None
        own = {self._members["id"]: made_up[:-8] + secrets.token_hex(4)}
        if isinstance(requested, dict) and name in requested:
            own[name] = requested[name]
        return replace(another, body={**another.body, **own})

    def _renamed(self, answer: Answer | None, part: Part) -> Answer | None:
        old = self._value(answer, part)
        if answer is None or old is None:
            return None
        new = f"{old}-of-another" if part == "name" else str(uuid.uuid5(uuid.NAMESPACE_URL, old))
        return replace(answer, body={**answer.body, self._members[part]: new})

    def _value(self, answer: Answer | None, member: Literal["id"] | Part) -> str | None:
        body = answer.body if answer is not None else None
        value = body.get(self._members.get(member)) if isinstance(body, dict) else None
        return value if isinstance(value, str) else None


def _request_of(call: Call) -> Any:
    return sorted(call.path.items()), call.query, call.raw
