"""``export`` and ``import``: runtimes as lines of JSON, without their secrets."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from gateway.cli.arguments import KINDS, PROVIDERS
from gateway.cli.documents import read_file
from gateway.cli.failures import ExitCode, Failure, Refused
from gateway.cli.options import Connection, any_output, connection_options, query_of
from gateway.cli.output import note, pages, show_list, table

if TYPE_CHECKING:
    from gateway.cli.client import Client

_TRIES: Final = 5
_PAUSE: Final = 2.0
_EVERY: Final = 1.0
_BATCH: Final = 100
_BATCH_BYTES: Final = 512 * 1024
_BATCH_VALUES: Final = 8000
_WORKING: Final = frozenset({"planning", "applying"})
_COLUMNS: Final = table("ID, STATE, WHY")


@click.command("export")
@click.option(
    "--provider", multiple=True, **PROVIDERS, metavar="NAME", help="Only runtimes of this provider. Repeatable."
)
@click.option("--scope", multiple=True, metavar="SCOPE", help="Only runtimes of this scope. Repeatable.")
@click.option("--kind", multiple=True, **KINDS, help="Only runtimes of this kind. Repeatable.")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False), metavar="FILE", help="Instead of stdout.")
@click.option("--resume", is_flag=True, help="Continue an export that ended early, with the same filters, in FILE.")
@connection_options(
    "export --provider durable-main -o fleet.ndjson", "export --provider durable-main -o fleet.ndjson --resume"
)
def export(connection: Connection, path: str | None, resume: bool, **filters: Any) -> None:
    """Write what would make the runtimes again, one JSON object per line. Needs the scope admin.

    Secrets are not in it: in their place are references, {"$secret": NAME}. If the connection breaks, the export
    continues where it was. Exit code 3: a provider or a runtime is missing, which the last lines name.
    """
    if resume and path is None:
        raise click.UsageError("--resume needs the file of the export, -o FILE")
    cursor = _truncated(Path(path)) if resume and path is not None else None
    with click.open_file(path or "-", "a" if resume else "w", encoding="utf-8") as file:
        missing = connection.run(lambda client: _exported(client, query_of(filters), cursor, file))
    if missing:
        click.get_current_context().exit(ExitCode.PARTIAL)


async def _exported(client: "Client", query: Sequence[tuple[str, str]], cursor: str | None, file: IO[str]) -> bool:
    """Write all lines. Whether something is missing."""
    from gateway.cli.waiting import clock_of_command

    tries, count, missing = _TRIES, 0, False
    while True:
        lines = client.lines("export", query=[*query, *([] if cursor is None else [("cursor", cursor)])])
        exported, page = 0, list[str]()  # written as soon as it is complete, so that no line is written twice
        try:
            async for line in lines:
                page.append(json.dumps(line, ensure_ascii=False) + "\n")
                exported += line["object"] == "exported_runtime"
                if line["object"] == "not_exported":
                    missing = True
                    note(f"not exported: {line['id']}: {line['problem']['detail']}")
                if line["object"] not in {"export_progress", "export_end"}:
                    continue
                file.writelines(page)
                file.flush()
                count, exported, page, tries = count + exported, 0, [], _TRIES
                if line["object"] == "export_progress":
                    cursor = line["cursor"]
                    note(f"exported: {count} runtimes")
                else:
                    for one in line["incomplete"]:
                        note(f"incomplete: {one['provider']}: {one['problem'].get('detail')}")
                    note(f"exported: {count} runtimes, complete")
                    return missing or bool(line["incomplete"])
            failure = Failure("interrupted", "the export broke off")
        except Refused as refused:
            if not refused.temporary:
                raise
            failure = refused
        except Failure as failed:
            failure = failed
        tries -= 1
        if tries == 0:
            raise failure
        note(f"{failure.message}; continuing")
        await clock_of_command().sleep(failure.retry_after or _PAUSE)


def _truncated(path: Path) -> str | None:
    """Remove the lines of an export after the last complete page. Returns the cursor that continues after it."""
    cursor, end, at = None, 0, 0
    with path.open("rb+") as file:
        for raw in file:
            at += len(raw)
            line = _parsed(raw)
            if line.get("object") == "export_end":
                raise click.UsageError(f"{path} is complete")
            if line.get("object") == "export_progress" and raw.endswith(b"\n"):
                cursor, end = line["cursor"], at
        file.truncate(end)
    return cursor


def _parsed(raw: bytes | str) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


@click.command("import")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--provider", required=True, **PROVIDERS, metavar="NAME", help="Where to create the runtimes.")
@click.option("--scope", metavar="SCOPE", help="The scope at this provider, if it has several.")
@click.option("--dry-run", is_flag=True, help="Only plan it, and say what would prevent it.")
@click.option(
    "--secrets",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="A YAML or JSON file with the values of references, by name. Others are read from the environment.",
)
@click.option(
    "--mappings",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="What other references are called at the target, as for migrate plan.",
)
@any_output
@connection_options(
    "import fleet.ndjson --provider durable-new --dry-run",
    "import fleet.ndjson --provider durable-new --secrets secrets.yaml",
)
def import_(connection: Connection, file: IO[str], output: str, secrets: Any, mappings: Any, **options: Any) -> None:
    """Create the runtimes of an export that are gone, or whose provider is. They keep their ids.

    Each batch is a move, which migrate status and migrate items show too. Runtimes that still exist are refused: plan a
    move of them. Exit code 3: some were not imported.
    """
    runtimes = _runtimes(file)
    values = _values(runtimes, {} if secrets is None else read_file(secrets))
    body = {"provider": options["provider"], "dry_run": options["dry_run"]}
    if options["scope"] is not None:
        body["scope"] = options["scope"]
    if mappings is not None:
        body["mappings"] = read_file(mappings)

    async def work(client: "Client") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for batch in _batches(runtimes):
            used = {name: values[name] for name in sorted(_references(batch))}
            found += await _imported(client, {**body, "runtimes": batch, "secrets": used})
            note(f"imported: {len(found)} of {len(runtimes)} runtimes")
        return found

    found = connection.run(work)
    show_list({"items": found}, output, _COLUMNS)
    if any(item["state"] not in {"planned", "moved"} for item in found):
        click.get_current_context().exit(ExitCode.PARTIAL)


async def _imported(client: "Client", body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Import one batch, and wait for its end."""
    from gateway.cli.waiting import clock_of_command

    try:
        done = await client.call("POST", "import", body=body)
    except Refused as refused:
        lines = {f"#/runtimes/{index}/": runtime["id"] for index, runtime in enumerate(body["runtimes"])}
        errors = refused.problem.get("errors") or [{}]
        ids = [_of(lines, str(error.get("pointer"))) for error in errors]
        if refused.status != 422 or None in ids:
            raise
        return [_shown(ids[index], "refused", error["detail"]) for index, error in enumerate(errors)]
    move, clock = done["move"], clock_of_command()
    while move["state"] in _WORKING:
        await clock.sleep(_EVERY)
        move = await client.call("GET", "moves", move["id"])
    note(f"{move['id']}: {move['state']}")
    refused_lines = [_shown(one["id"], "refused", one["problem"]["detail"]) for one in done["refused"]]
    if move["state"] == "failed":
        problem = (move["problem"] or {}).get("detail")
        known = {one["id"] for one in refused_lines}
        failed = [_shown(one["id"], "failed", problem) for one in body["runtimes"] if one["id"] not in known]
        return refused_lines + failed
    return refused_lines + [_result(item) for item in (await pages(client, "moves", move["id"], "items"))["items"]]


def _result(item: Mapping[str, Any]) -> dict[str, Any]:
    problem = item["problem"] or next(iter(item["blocked_by"]), None) or {}
    return _shown(item["runtime_id"], item["state"], problem.get("detail") or item["waits_for"])


def _shown(runtime_id: str | None, state: str, why: str | None) -> dict[str, Any]:
    return {"id": runtime_id, "state": state, "why": why}


def _of(lines: Mapping[str, str], pointer: str) -> str | None:
    return next((runtime_id for prefix, runtime_id in lines.items() if pointer.startswith(prefix)), None)


def _runtimes(file: IO[str]) -> list[dict[str, Any]]:
    """The runtimes of an export, each once."""
    found: dict[str, dict[str, Any]] = {}
    complete = False
    for number, raw in enumerate(file, 1):
        line = _parsed(raw)
        if "object" not in line:
            raise click.BadParameter(f"{file.name}: line {number} is not a line of an export", param_hint="FILE")
        complete = complete or line["object"] == "export_end"
        if line["object"] == "exported_runtime":
            found[str(line.get("id"))] = line
    if not found:
        raise click.BadParameter(f"{file.name} has no runtimes", param_hint="FILE")
    if not complete:
        note(f"{file.name} is not complete: continue the export with --resume")
    return list(found.values())


def _values(runtimes: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, str]:
    """The values of all references. Raises :class:`Failure` that names those without one."""
    names = _references(runtimes)
    values = {name: str(given[name]) if name in given else os.environ.get(name) for name in names}
    if missing := sorted(name for name, value in values.items() if value is None):
        detail = f"{len(missing)} secrets have no value in --secrets or the environment"
        raise Failure("missing_secrets", detail, exit_code=ExitCode.USAGE, lines=tuple(missing))
    return {name: value for name, value in values.items() if value is not None}


def _references(value: Any) -> set[str]:
    found: set[str] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if len(one) == 1 and isinstance(one.get("$secret"), str):
                found.add(one["$secret"])
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return found


def _batches(runtimes: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runtimes of one provider that fit into a request."""
    batch: list[dict[str, Any]] = []
    size = values = 0
    for runtime in sorted(runtimes, key=lambda one: str(one.get("provider"))):
        more, own = len(json.dumps(runtime)), _count(runtime)
        full = len(batch) == _BATCH or size + more > _BATCH_BYTES or values + own > _BATCH_VALUES
        if batch and (full or runtime.get("provider") != batch[0].get("provider")):
            yield batch
            batch, size, values = [], 0, 0
        batch.append(runtime)
        size, values = size + more, values + own
    yield batch


def _count(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(below) + sum(map(_count, below))
