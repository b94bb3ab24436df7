"""``runtimes apply``, and the create that would make a printed runtime again."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.cli.documents import read_paths
from gateway.cli.failures import Failure, one_line
from gateway.cli.options import Connection, connection_options
from gateway.cli.output import note, plain

if TYPE_CHECKING:
    from gateway.cli.client import Client

Document = dict[str, Any]

_NOT_COMPARED: Final = frozenset({"kind", "name", "provider", "scope", "start", "if_exists", "provider_options"})
_MAY_BE_UNKNOWN: Final = frozenset({"labels", "driver", "launch"})  # null: the provider does not report it
_SECRET: Final = frozenset({"env", "password"})
_PATIENCE: Final = 360.0  # as runtimes create --retry-for


def creatable(document: Document) -> Document:
    """Return a printed runtime without what is only read, and any other document as it is."""
    if document.get("object") != "runtime":
        return document
    from gateway.domain.requests import CREATE_REQUESTS

    if (model := CREATE_REQUESTS.get(str(document.get("kind")))) is None:
        raise click.UsageError(f"A runtime of the kind {document.get('kind')} cannot be created.")
    flat = _flat(document)
    body: Document = _without_empty({name: flat[name] for name in model.model_fields if name in flat})
    left_out = ", ".join(sorted(document.keys() - body.keys() - {"object", "durable", "browser"}))
    note(f"left out, because it is empty or only read: {left_out}")
    if (body.get("launch") or {}).get("proxy"):
        note("left out, because it is not shown: launch.proxy.password")
    return body


def _flat(runtime: Document) -> Document:
    """Return a runtime with the members of its kind beside the common ones, where a create has them."""
    parts = [part for part in (runtime.get("durable"), runtime.get("browser")) if isinstance(part, dict)]
    flat = {name: value for each in (*parts, runtime) for name, value in each.items()}
    return {**flat, "project": (flat.get("project") or {}).get("key")}


def _without_empty(document: Document) -> Document:
    """Return a document without null and empty members, but a config as it is."""
    short = {
        name: _without_empty(value) if isinstance(value, dict) and name != "config" else value
        for name, value in document.items()
    }
    return {name: value for name, value in short.items() if value not in (None, {}, [])}


@click.command()
@click.option("-f", "--file", "paths", multiple=True, required=True, metavar="PATH", help="YAML or JSON; a folder; -.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@connection_options("runtimes apply -f fleet.yaml --dry-run", "runtimes apply -f fleet/")
def apply(connection: Connection, paths: tuple[str, ...], dry_run: bool) -> None:
    """Create the runtimes of files that do not exist, and change the configs of those that differ.

    A file holds one document or more, each as for runtimes create, with a name. What a document leaves out stays as it
    is. Every difference is shown. One that cannot be changed is a failure, which does not prevent the others.
    """
    read = (creatable(document) for path in paths for document in read_paths(path))
    documents = [{name: value for name, value in document.items() if value is not None} for document in read]
    if not documents or not all(document.get("name") and document.get("kind") for document in documents):
        raise click.UsageError("Every document needs a kind and a name.")

    async def work(client: "Client") -> list[int]:
        return [await _applied(client, document, dry_run=dry_run) for document in documents]

    click.get_current_context().exit(max(connection.run(work), default=0))


async def _applied(client: "Client", document: Document, *, dry_run: bool) -> int:
    """Apply one document and print what was done. Returns the exit code."""
    try:
        done = await _apply(client, document, dry_run=dry_run)
    except Failure as failure:
        failure.subject = document["name"]
        failure.show()
        return failure.exit_code
    click.echo(f"{document['name']}: {done}{' (dry run)' if dry_run else ''}")
    return 0


async def _apply(client: "Client", document: Document, *, dry_run: bool) -> str:
    from gateway.cli.creating import Creating, new_key
    from gateway.cli.references import ENDED, named

    where = [(name, document[name]) for name in ("kind", "provider", "scope") if name in document]
    same = [item for item in await named(client, document["name"], query=where) if item["state"] not in ENDED]
    if len(same) > 1:
        raise Failure("ambiguous_name", "several runtimes have this name: add a provider and a scope")
    if not same:
        if not dry_run:
            await Creating(document, new_key(), _PATIENCE).send(client)
        return "created"
    at = ("runtimes", same[0]["id"])
    present, config = _flat(await client.call("GET", *at)), Document()
    wanted = {name: value for name, value in document.items() if name not in _NOT_COMPARED}
    if document["kind"] == "durable":
        config = await client.call("GET", *at, "config")
        present["config"] = config["config"]
        if "labels" in wanted:  # they are a part of the config
            wanted = merged(wanted, {"config": {"metadata": {"labels": wanted.pop("labels")}}})
    found = [
        (path, old, new)
        for path, old, new in differences(wanted, present)
        if old is not None or path[0] not in _MAY_BE_UNKNOWN
    ]
    for path, old, new in found:
        shown = (
            "*** -> ***" if _SECRET.intersection(path) or _has_secret([old, new]) else f"{plain(old)} -> {plain(new)}"
        )
        click.echo(one_line(f"{document['name']}: {'.'.join(path)}: {shown}"))
    if fixed := sorted({path[0] for path, _, _ in found} - {"config"}):
        raise Failure("cannot_be_changed", f"an existing runtime keeps its {', '.join(fixed)}")
    if found and not dry_run:
        tag = {"If-Match": f'"{config["config_digest"]}"'}
        body = {"config": merged(config["config"], wanted["config"])}
        await client.call("PUT", *at, "config", body=body, headers=tag)
    return "changed" if found else "unchanged"


def _has_secret(value: Any) -> bool:
    """Whether a value has a member at any depth that may be a secret."""
    if isinstance(value, Mapping):
        return bool(_SECRET.intersection(value)) or _has_secret(list(value.values()))
    return isinstance(value, list) and any(map(_has_secret, value))


def differences(wanted: Any, present: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the path of each member of ``wanted`` that ``present`` contradicts, and both values. Absent is empty."""
    if isinstance(wanted, Mapping) and (present is None or isinstance(present, Mapping)):
        for name, value in wanted.items():
            yield from differences(value, (present or {}).get(name), (*path, name))
    elif wanted != present and not (wanted in (None, {}, []) and present in (None, {}, [])):
        yield path, present, wanted


def merged(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> Document:
    """Return ``present`` with the members of ``wanted``: objects are merged, everything else is replaced."""
    result = dict(present)
    for name, value in wanted.items():
        before = result.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[name] = merged(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return result
