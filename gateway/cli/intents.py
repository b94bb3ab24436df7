"""``intents``: the outcome of every create, and an operator's decisions about the parked ones."""

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
from gateway.cli.server import config_option, load_or_exit
from gateway.cli.stores import with_store

if TYPE_CHECKING:
    from gateway.domain.intents import Intent
    from gateway.ports.store import Store
    from gateway.settings import Settings

_LONGEST_NOTE: Final = 2000
_NOT_PARKED: Final = {
    "open": "it is being sent; wait until it is settled",
    "unknown": "the gateway is still searching for its runtime",
    "done": "its runtime is already known",
    "refused": "it is known to have created nothing",
    "absent": "it already counts as not created",
}


@click.group()
def intents() -> None:
    """Show the outcome of creates, and decide about those that the gateway cannot decide itself.

    An intent is the gateway's record of one create. These commands use the store directly, and also work while
    gateways run.

    \b
    Examples:
      runtime-gateway intents list --config gateway.yaml --state unknown --state parked
      runtime-gateway intents list --config gateway.yaml --surplus
    """


@intents.command("list")
@config_option
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only in this state. Repeatable.")
@click.option("--surplus", is_flag=True, help="Only those for which more than one runtime was found.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of intents.")
@click.option("--cursor", callback=parse_cursor, help="Continue after the page that had this next_cursor.")
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
    from gateway.ports.intent_query import IntentQuery

    chosen = frozenset(IntentState(state) for state in states or STATES)
    query = IntentQuery(states=chosen, surplus_only=surplus, limit=limit + 1, before=cursor)
    found = with_store(load_or_exit(file).settings, lambda store: store.list(query))
    following = cursor_after(found[limit - 1]) if len(found) > limit else None
    items = [intent_document(intent) for intent in found[:limit]]
    show_list({"object": "list", "items": items, "next_cursor": following}, output, INTENT_COLUMNS)
    if following is not None:
        note(f"there are more than {limit} intents: raise --limit, or continue with --cursor {following}")


@intents.command()
@click.argument("intent_id", metavar="ID")
@config_option
@output_option("table", "json", "yaml")
def show(intent_id: str, file: str, output: str) -> None:
    """Show everything recorded about a create: its attempts, the look-ups and what they found, and its lease.

    Of the encrypted fields (the request and the response) only the size is shown.

    \b
    Example:
      runtime-gateway intents show in_0d4f… --config gateway.yaml
    """

    async def work(store: "Store") -> "Intent":
        return await _known(store, intent_id)

    document = intent_document(with_store(load_or_exit(file).settings, work))
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
        raise click.UsageError("the user of this process has no name: name the operator with --operator") from None


@intents.command()
@click.argument("intent_id", metavar="ID")
@config_option
@click.option("--made", metavar="REF", help="It created this runtime: the runtime's id, or the provider's own id.")
@click.option("--absent", is_flag=True, help="It created nothing.")
@click.option("--note", "remark", help="The reason, for the audit trail.")
@click.option("--operator", default=_os_user, show_default="the user of this process", help="Your name.")
@any_output
def resolve(
    intent_id: str, file: str, made: str | None, absent: bool, remark: str | None, operator: str, output: str
) -> None:
    """Record the outcome of a parked create, once you know it.

    With --made the create is done, and that runtime is its result. With --absent it counts as not created, and callers
    may repeat it. The command does not ask for confirmation and calls no provider. The audit trail keeps the decision
    and the operator.

    \b
    Examples:
      runtime-gateway intents resolve in_0d4f… --config gateway.yaml --made durable-main.2489e9ad-…
      runtime-gateway intents resolve in_0d4f… --config gateway.yaml --absent --note "asked the provider"
    """
    if (made is not None) == absent:
        raise click.UsageError("Give exactly one of: --made REF, --absent.")
    if not operator.strip() or len(operator) > 200:
        raise click.BadParameter("a name must have 1 to 200 characters", param_hint="--operator")
    if remark is not None and len(remark) > _LONGEST_NOTE:
        raise click.BadParameter(f"a note must have at most {_LONGEST_NOTE} characters", param_hint="--note")
    settings = load_or_exit(file).settings

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
        raise Failure("not_parked", f"{intent_id} has changed in the meantime: check it again with intents show")
    return decided.intent


async def _known(store: "Store", intent_id: str) -> "Intent":
    intent = await store.get(intent_id)
    if intent is None:
        raise Failure("not_found", f"there is no intent {intent_id}; settled ones are deleted after creates.retention")
    return intent


def _must_be_parked(intent: "Intent") -> None:
    if intent.state in _NOT_PARKED:
        raise Failure(
            "not_parked",
            f"{intent.id} is {intent.state}, and only a parked intent needs a decision: {_NOT_PARKED[intent.state]}",
        )


def _next(document: dict[str, Any], *, absent: bool) -> str:
    if absent:
        return (
            "it counts as not created: the gateway searches for its runtime once more; a caller that repeats the create"
            " with the same key or name creates it again at the same provider; if its runtime is found later, the"
            " intent becomes done"
        )
    return (
        f"it is done with the runtime {document['provider_runtime_id']}: a caller that repeats the create with the same"
        " key gets this runtime; nothing was sent to the provider"
    )


@intents.command()
@config_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of entries.")
@output_option("table", "json", "yaml")
def decisions(file: str, limit: int, output: str) -> None:
    """List the decisions of operators, newest first: the audit trail of `intents resolve`.

    \b
    Example:
      runtime-gateway intents decisions --config gateway.yaml
    """
    found = with_store(load_or_exit(file).settings, lambda store: store.decisions(limit))
    items = [decision_document(decided) for decided in found]
    show_list({"object": "list", "items": items}, output, DECISION_COLUMNS)
