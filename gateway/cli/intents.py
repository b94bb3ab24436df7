"""``intents``: the outcome of every create, and an operator's decisions about the parked ones."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import INTENTS, PROVIDERS
from gateway.cli.options import Connection, any_output, api_options, examples, query_of, read_options
from gateway.cli.output import age, note, pages, show_details, show_list, show_one, table
from gateway.cli.server import config_option, store_settings

if TYPE_CHECKING:
    from gateway.domain.intents import Intent, Look
    from gateway.ports.store import DecisionRecord

STATES: Final = ("open", "unknown", "done", "refused", "absent", "parked")

INTENT_COLUMNS: Final = table(
    "NAME, STATE, PROVIDER, PRINCIPAL, AGE",
    "ID, SCOPE, RUNTIME, SURPLUS, CREATED",
    {
        "RUNTIME": lambda item: item.get("runtime_id") or item.get("provider_runtime_id"),
        "SURPLUS": lambda item: len(item["surplus"]) if "surplus" in item else None,
    },
)
ATTEMPT_COLUMNS: Final = table(
    "ATTEMPT, FIRST SEND, LAST SEND, PHASE, STATUS, MADE", own={"ATTEMPT": lambda item: item["epoch"]}
)
LOOK_COLUMNS: Final = table(
    "LOOKED AT, WHEN, FOUND",
    own={"LOOKED AT": lambda item: item["at"], "FOUND": lambda item: ", ".join(item["found"]) or "nothing"},
)
DECISION_COLUMNS: Final = table(
    "INTENT, DECISION, OPERATOR, NOTE, AGE",
    "AT, RUNTIME",
    {"AGE": lambda item: age(item, "at"), "RUNTIME": lambda item: item["provider_runtime_id"]},
    name="intent",
)


_INTENT_FIELDS: Final = (
    *("id", "state", "reason", "provider", "scope", "kind", "name", "runtime_id", "surplus"),
    *("created_at", "updated_at", "settled_at", "due_at", "principal", "key", "operation", "pinned", "namespace"),
    *("target", "provider_key", "generation", "lifetime", "epoch", "holder", "lease_until", "superseded_by"),
    "digest_version",
)
_DECISION_FIELDS: Final = ("at", "operator", "decision", "intent_id", "runtime_id", "note")
_ATTEMPT_FIELDS: Final = ("epoch", "target", "first_send", "last_send", "phase", "status", "made")
_NAMES: Final = {"runtime_id": "provider_runtime_id", "intent_id": "intent"}
_TIMES: Final = frozenset(
    {"created_at", "updated_at", "settled_at", "due_at", "lease_until", "at", "first_send", "last_send"}
)


def intent_document(intent: "Intent") -> dict[str, Any]:
    """Return the fields of an intent. Encrypted fields are replaced by their size in bytes."""
    return {
        "object": "intent",
        **_fields(intent, _INTENT_FIELDS),
        "request_bytes": _size(intent.request),
        "outcome_bytes": _size(intent.outcome),
        "attempts": [_fields(attempt, _ATTEMPT_FIELDS) for attempt in intent.attempts],
        "looks": [
            *([_look(intent.before, "before the send")] if intent.before is not None else []),
            *(_look(look, "after the send") for look in intent.looks),
        ],
    }


def decision_document(decided: "DecisionRecord") -> dict[str, Any]:
    return {"object": "decision", **_fields(decided, _DECISION_FIELDS)}


def _fields(item: object, names: Iterable[str]) -> dict[str, Any]:
    from msgspec import to_builtins

    values = {name: getattr(item, name) for name in names}
    return {
        _NAMES.get(name, name): _time(value) if name in _TIMES else to_builtins(value) for name, value in values.items()
    }


def _look(look: "Look", when: str) -> dict[str, Any]:
    return {"at": _time(look.at), "when": when, "found": list(look.found)}


def _time(seconds: float | None) -> str | None:
    from gateway.services.intents.records import rfc3339

    return None if seconds is None else rfc3339(seconds)


def _size(sealed: bytes | None) -> int | None:
    return None if sealed is None else len(sealed)


_LONGEST_NOTE: Final = 2000
_store_option: Final = click.option(
    "--config", "-c", "file", type=click.Path(), help="Use the store of this settings file, and no running gateway."
)


@click.group()
@examples("intents list --state unknown --state parked", "intents list --config gateway.yaml --surplus")
def intents() -> None:
    """Show the outcome of creates, and decide about those that the gateway cannot decide itself.

    An intent is the gateway's record of one create. Without --config these commands use a running gateway, which shows
    a caller without the scope admin only its own creates. With --config they use the store of a settings file directly,
    whether or not gateways run, and show more fields.
    """


@intents.command("list")
@_store_option
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only in this state. Repeatable.")
@click.option("--principal", help="Only the creates of this principal.")
@click.option(
    "--provider", "providers", multiple=True, **PROVIDERS, help="Only those sent to this provider. Repeatable."
)
@click.option("--surplus", is_flag=True, help="Only those for which more than one runtime was found. Needs --config.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of intents.")
@click.option("--cursor", help="Continue after the page that had this next_cursor.")
@read_options("intents list --state parked -o name", "intents list --config gateway.yaml")
def list_intents(
    connection: Connection,
    file: str | None,
    states: tuple[str, ...],
    principal: str | None,
    providers: tuple[str, ...],
    surplus: bool,
    limit: int,
    cursor: str | None,
    output: str,
) -> None:
    """List creates, newest first."""
    if file is not None:
        from gateway.cli.stored_intents import listed

        document = listed(file, states, principal, providers, limit, cursor, surplus=surplus)
    elif surplus:
        raise click.UsageError("--surplus needs --config.")
    else:
        query = query_of({"state": states, "provider": providers, "principal": principal})
        document = connection.run(lambda client: pages(client, "intents", query=query, limit=limit, cursor=cursor))
    show_list(document, output, INTENT_COLUMNS)
    if (following := document["next_cursor"]) is not None:
        note(f"there are more than {limit} intents: raise --limit, or continue with --cursor {following}")


@intents.command()
@click.argument("intent_id", metavar="INTENT", **INTENTS)
@_store_option
@read_options("intents show in_0d4f…", "intents show in_0d4f… --config gateway.yaml")
def show(connection: Connection, intent_id: str, file: str | None, output: str) -> None:
    """Show what is recorded about a create: its attempts, and with --config also the look-ups and the lease.

    Of the encrypted fields (the request and the response) only the size is shown, and only with --config.
    """
    if file is not None:
        from gateway.cli.stored_intents import shown

        document = shown(file, intent_id)
    else:
        document = connection.call("GET", "intents", intent_id)
    if output not in {"table", "wide"}:
        show_details(document, output)
        return
    attempts, looks = document.pop("attempts"), document.pop("looks", ())
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
@click.argument("intent_id", metavar="INTENT", **INTENTS)
@_store_option
@click.option("--made", metavar="REF", help="It created this runtime: the runtime's id, or the provider's own id.")
@click.option("--absent", is_flag=True, help="It created nothing.")
@click.option("--note", "remark", help="The reason, for the audit trail.")
@click.option(
    "--operator",
    show_default="the user of this process",
    help="Your name, with --config. Without it, the gateway records the principal of your key.",
)
@api_options(
    "intents resolve in_0d4f… --made durable-main.2489e9ad-…",
    'intents resolve in_0d4f… --config gateway.yaml --absent --note "asked the provider"',
)
def resolve(
    connection: Connection,
    intent_id: str,
    file: str | None,
    made: str | None,
    absent: bool,
    remark: str | None,
    operator: str | None,
    output: str,
) -> None:
    """Record the outcome of a parked create, once you know it.

    With --made the create is done, and that runtime is its result. With --absent it counts as not created, and callers
    may repeat it. The command does not ask for confirmation and calls no provider. The audit trail keeps the decision
    and the operator.
    """
    if (made is not None) == absent:
        raise click.UsageError("Give exactly one of: --made REF, --absent.")
    if remark is not None and len(remark) > _LONGEST_NOTE:
        raise click.BadParameter(f"a note must have at most {_LONGEST_NOTE} characters", param_hint="--note")
    if file is not None:
        from gateway.cli.stored_intents import resolved

        operator = _os_user() if operator is None else operator
        if not operator.strip() or len(operator) > 200:
            raise click.BadParameter("a name must have 1 to 200 characters", param_hint="--operator")
        document = resolved(file, intent_id, made, remark, operator.strip())
    elif operator is not None:
        raise click.UsageError("--operator needs --config: a running gateway records the principal of your key.")
    else:
        decision = {"absent": True} if absent else {"made": made}
        body = decision if remark is None else {**decision, "note": remark}
        document = connection.call("POST", "intents", intent_id, "resolve", body=body)
    show_one(document, output, INTENT_COLUMNS)
    note(_next(document, absent=absent))


def _next(document: dict[str, Any], *, absent: bool) -> str:
    if absent:
        return (
            "it counts as not created: the gateway searches for its runtime once more; a caller that repeats the create"
            " with the same key or name creates it again at the same provider; if its runtime is found later, the"
            " intent becomes done"
        )
    runtime = document.get("runtime_id") or document.get("provider_runtime_id") or ""
    return (
        f"it is done with the runtime {runtime}: a caller that repeats the create with the same"
        " key gets this runtime; nothing was sent to the provider"
    )


@intents.command()
@config_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of entries.")
@any_output
@examples("intents decisions --config gateway.yaml")
def decisions(file: str, limit: int, output: str) -> None:
    """List the decisions of operators, newest first: the audit trail of `intents resolve`."""
    from gateway.cli.stores import with_store

    found = with_store(store_settings(file), lambda store: store.decisions(limit))
    items = [decision_document(decided) for decided in found]
    show_list({"object": "list", "items": items}, output, DECISION_COLUMNS)
