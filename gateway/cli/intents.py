"""``intents``: what became of every create, and deciding about those that need a person."""

from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.failures import Failure
from gateway.cli.intent_documents import (
    ATTEMPT_COLUMNS,
    DECISION_COLUMNS,
    INTENT_COLUMNS,
    LOOK_COLUMNS,
    STATES,
    cursor_after,
    decision_document,
    intent_document,
    parse_cursor,
)
from gateway.cli.options import any_output, output_option
from gateway.cli.output import note, show_details, show_document, show_list, show_one
from gateway.cli.server import config_option
from gateway.cli.stores import settings_of, with_store

if TYPE_CHECKING:
    from gateway.domain.intents import Intent
    from gateway.ports.store import Store
    from gateway.settings import Settings

_LONGEST_NOTE: Final = 2000
_ELSEWHERE: Final = {
    "open": "it is being sent; wait until it is settled",
    "unknown": "the gateway is still finding out by itself",
    "done": "its runtime is known already",
    "refused": "it is known to have made nothing",
    "absent": "it counts as not made already",
}


@click.group()
def intents() -> None:
    """See what became of creates, and decide about those that need a person.

    It works on the store of the settings itself, also while gateways run.

    \b
    Examples:
      runtime-gateway intents list --config gateway.yaml --state unknown --state parked
      runtime-gateway intents list --config gateway.yaml --surplus
    """


@intents.command("list")
@config_option
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only in this state. Repeatable.")
@click.option("--surplus", is_flag=True, help="Only those of which more than one runtime was found.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@click.option("--cursor", callback=parse_cursor, help="Go on where the page with this next_cursor ended.")
@any_output
def list_intents(
    file: str, states: tuple[str, ...], surplus: bool, limit: int, cursor: tuple[float, str] | None, output: str
) -> None:
    """List creates, newest first.

    \b
    Examples:
      runtime-gateway intents list --config gateway.yaml
      runtime-gateway intents list --config gateway.yaml --state parked -o name
    """
    from gateway.domain.intents import IntentState
    from gateway.ports.store import IntentQuery

    chosen = frozenset(IntentState(state) for state in states or STATES)
    query = IntentQuery(states=chosen, surplus_only=surplus, limit=limit + 1, before=cursor)
    found = with_store(settings_of(file), lambda store: store.list(query))
    following = cursor_after(found[limit - 1]) if len(found) > limit else None
    items = [intent_document(intent) for intent in found[:limit]]
    show_list({"object": "list", "items": items, "next_cursor": following}, output, INTENT_COLUMNS)
    if following is not None:
        note(f"there are more than these {limit}: raise --limit, or go on with --cursor {following}")


@intents.command()
@click.argument("intent_id", metavar="ID")
@config_option
@output_option("table", "json", "yaml")
def show(intent_id: str, file: str, output: str) -> None:
    """Show all that is known of a create: its attempts, what was found when, and who may work on it.

    What is sealed (the request and the answer) is told by its size only.

    \b
    Example:
      runtime-gateway intents show in_0d4f… --config gateway.yaml
    """

    async def work(store: "Store") -> "Intent":
        return await _known(store, intent_id)

    document = intent_document(with_store(settings_of(file), work))
    if output != "table":
        show_document(document, output)
        return
    attempts, looks = document.pop("attempts"), document.pop("looks")
    show_details(document, output)
    for items, columns in ((attempts, ATTEMPT_COLUMNS), (looks, LOOK_COLUMNS)):
        if items:
            click.echo()
            show_list({"items": items}, output, columns)


def _os_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise click.UsageError("the user of this process has no name: say who decides with --operator") from None


@intents.command()
@click.argument("intent_id", metavar="ID")
@config_option
@click.option("--made", metavar="REF", help="It made this runtime: a runtime's id, or the provider's own id of it.")
@click.option("--absent", is_flag=True, help="It made nothing.")
@click.option("--note", "remark", help="Why, for the audit trail.")
@click.option("--operator", default=_os_user, show_default="the user of this process", help="Who decides.")
@any_output
def resolve(
    intent_id: str, file: str, made: str | None, absent: bool, remark: str | None, operator: str, output: str
) -> None:
    """Decide what became of a parked create, once you know. Nothing is asked, and no provider is called.

    With --made the create is done with that runtime; with --absent it counts as not made, and may be tried again. Who
    decided what is kept in the audit trail.

    \b
    Examples:
      runtime-gateway intents resolve in_0d4f… --config gateway.yaml --made durable-main.2489e9ad-…
      runtime-gateway intents resolve in_0d4f… --config gateway.yaml --absent --note "asked the provider"
    """
    if (made is not None) == absent:
        raise click.UsageError("say either --made REF or --absent")
    if not operator.strip() or len(operator) > 200:
        raise click.BadParameter("a name has 1 to 200 characters", param_hint="--operator")
    if remark is not None and len(remark) > _LONGEST_NOTE:
        raise click.BadParameter(f"a note has at most {_LONGEST_NOTE} characters", param_hint="--note")
    settings = settings_of(file)

    async def work(store: "Store") -> "Intent":
        return await _resolved(store, settings, intent_id, made, remark, operator.strip())

    document = intent_document(with_store(settings, work))
    show_one(document, output, INTENT_COLUMNS)
    note(_next(document, absent=absent))


async def _resolved(
    store: "Store", settings: "Settings", intent_id: str, made: str | None, remark: str | None, operator: str
) -> "Intent":
    from gateway.cli.runtime_references import provider_runtime_id
    from gateway.ports.store import Decision, Stale, Version

    intent = await _known(store, intent_id)
    _must_be_parked(intent)
    decided = await store.decide(
        Version.of(intent),
        Decision.ABSENT if made is None else Decision.MADE,
        operator,
        runtime_id=None if made is None else provider_runtime_id(settings, intent, made),
        note=remark,
    )
    if isinstance(decided, Stale):
        if decided.intent is not None:
            _must_be_parked(decided.intent)
        raise Failure("not_parked", f"{intent_id} changed meanwhile: look at it again")
    return decided.intent


async def _known(store: "Store", intent_id: str) -> "Intent":
    intent = await store.get(intent_id)
    if intent is None:
        raise Failure("not_found", f"there is no intent {intent_id}; a settled one is dropped after creates.retention")
    return intent


def _must_be_parked(intent: "Intent") -> None:
    if intent.state in _ELSEWHERE:
        raise Failure(
            "not_parked",
            f"{intent.id} is {intent.state}, and only a parked one waits for a decision: {_ELSEWHERE[intent.state]}",
        )


def _next(document: dict[str, Any], *, absent: bool) -> str:
    if absent:
        return (
            "it counts as not made: the gateway looks for it once more, and who repeats the create, with the same key"
            " or name, makes it anew at the same provider; should a runtime of it turn up, it is done after all"
        )
    return (
        f"it is done with the runtime {document['provider_runtime_id']}: who repeats the create with the same key gets"
        " that one; nothing was sent to the provider"
    )


@intents.command()
@config_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@output_option("table", "json", "yaml")
def decisions(file: str, limit: int, output: str) -> None:
    """List what people decided, newest first: the audit trail of resolve.

    \b
    Example:
      runtime-gateway intents decisions --config gateway.yaml
    """
    found = with_store(settings_of(file), lambda store: store.decisions(limit))
    items = [decision_document(decided) for decided in found]
    show_list({"object": "list", "items": items}, output, DECISION_COLUMNS)
