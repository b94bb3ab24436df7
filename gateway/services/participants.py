"""The providers that take part in a list, and what each adds to a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET

from gateway.domain.errors import GatewayError, ProviderBadResponse, ProviderFailure, ProviderUnavailable
from gateway.domain.list_progress import Progress
from gateway.domain.pages import ListWarning, ProviderPage, UnreadableRow
from gateway.domain.runtime import Runtime
from gateway.services.fleet import Provider

FILL_PAGES: Final = 20
"""The maximum number of pages of a provider for one page."""

_FAILURES_UNTIL_DONE: Final = 2
_MAX_WARNINGS: Final = 100


@dataclass(slots=True, eq=False)
class Participant:
    """One provider in one scope, and what it adds to the page. ``refusal`` is set if it cannot take part. ``answered``:
    it returned a page. ``pages``: how many of them were requested. ``fill_until``: until when further ones may be.
    ``unlabelled``, ``unowned``: how many runtimes are left out because their labels, or owners, are not known."""

    provider: Provider
    scope: str
    refusal: GatewayError | None = None
    progress: Progress = field(init=False)
    items: list[Runtime] = field(default_factory=list)
    unreadable: list[UnreadableRow] = field(default_factory=list)
    failure: GatewayError | None = None
    answered: bool = False
    fill_until: float = math.inf
    pages: int = 0
    unlabelled: int = 0
    unowned: int = 0

    @property
    def key(self) -> str:
        return f"{self.provider.name}/{self.scope}"

    @property
    def finished(self) -> bool:
        """Whether it adds nothing more to the page."""
        return self.progress.done or self.failure is not None or self.pages >= FILL_PAGES

    def fail(self, error: GatewayError) -> None:
        """The provider failed: it is asked again for the next page, but not for ever."""
        self.failure = error
        self.progress.failures += 1
        self.progress.done = self.refusal is not None or self.progress.failures >= _FAILURES_UNTIL_DONE

    def add(self, page: ProviderPage, limit: int, active: int) -> None:
        """Add a page, and continue after it.

        Rows that the provider repeats, and rows beyond ``limit``, are not added (:meth:`Progress.take`). A list that
        would never end is ended with an error, as is one without a readable row."""
        name, progress = self.provider.name, self.progress
        if fault := progress.fault(page):
            self.failure = ProviderBadResponse(f"The provider {name} {fault}.", failure=ProviderFailure(name))
            progress.done = True
            return
        self.answered = True
        if progress.skip == 0:
            self.unreadable += page.unreadable
        progress.failures, progress.readable = 0, progress.readable or page.readable
        taken = progress.take(page, [runtime.provider_id for runtime in page.items], limit, active)
        self.items += page.items if len(taken) == len(page.items) else [page.items[position] for position in taken]
        if progress.done and not progress.readable:
            detail = f"None of the runtimes that the provider {name} listed can be read."
            self.failure = ProviderBadResponse(detail, provider=name)


def warnings_of(participants: Sequence[Participant]) -> list[ListWarning]:
    """A warning for each participant with runtimes whose labels or owners are not known, one for each of the first rows
    that cannot be read, and one with the number of the others; at most :data:`_MAX_WARNINGS` for rows."""
    warnings = [
        ListWarning(detail=f"Runtimes whose {what} are not known are left out: {count}.", provider=each.provider.name)
        for each in participants
        for what, count in (("labels", each.unlabelled), ("owners", each.unowned))
        if count
    ]
    unreadable = [(each.provider.name, row) for each in participants for row in each.unreadable]
    named = unreadable if len(unreadable) <= _MAX_WARNINGS else unreadable[: _MAX_WARNINGS - 1]
    warnings += [
        ListWarning(
            detail=f"The provider {provider} listed a runtime that cannot be read, so it is left out: "
            f"{row.pointer.removeprefix('#')} {row.problem}.",
            pointer=row.pointer,
            provider=provider,
            provider_id=UNSET if row.id is None else row.id,
        )
        for provider, row in named
    ]
    if more := len(unreadable) - len(named):
        warnings.append(ListWarning(detail=f"{more} more runtimes cannot be read, so they are left out."))
    return warnings


def incomplete(failures: Sequence[tuple[str, GatewayError]]) -> ProviderUnavailable:
    """The error of a list that must not be incomplete."""
    waits = [error.retry_after for _, error in failures if error.retry_after is not None]
    names = ", ".join(dict.fromkeys(name for name, _ in failures))
    return ProviderUnavailable(
        f"The list is incomplete without: {names}.",
        retry_after=min(waits, default=None),
        extra={"incomplete": list(failures)},
    )
