"""Export and import as calls, for the route table."""

from dataclasses import replace
from typing import Final

from aiohttp import hdrs, web

from gateway.api.documented_errors import ANY_CALL, BODY
from gateway.api.handlers import incomplete
from gateway.api.queries import LIST_PARAMETERS, parse_query
from gateway.api.responses import json_response
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.exports import ExportedRuntime, ExportEnd, ExportProgress, Import, ImportRuntimes
from gateway.domain.pages import Incomplete, ListFilter
from gateway.domain.runtime import ENCODER
from gateway.domain.values import Permission
from gateway.http.bodies import BodyReader, ClientAborted
from gateway.http.cors import Cors
from gateway.http.response_headers import finish_headers
from gateway.ports.context import RequestContext
from gateway.services.listing import ListQuery
from gateway.services.moves.exporting import ExportService
from gateway.services.moves.importing import ImportService

_NDJSON: Final = "application/x-ndjson"
_PLAIN: Final = "text/plain"
_LISTED: Final = {parameter.name: parameter for parameter in LIST_PARAMETERS}
EXPORT_PARAMETERS: Final = (
    *(_LISTED[name] for name in ("kind", "provider", "scope")),
    replace(_LISTED["cursor"], description="The cursor of an export_progress line, with the same filters."),
)
_PAGE: Final = 100


class ExportHandlers:
    def __init__(self, exports: ExportService, imports: ImportService, bodies: BodyReader, cors: Cors) -> None:
        self._exports = exports
        self._imports = imports
        self._bodies = bodies
        self._cors = cors

    async def export(self, request: web.Request, ctx: RequestContext) -> web.StreamResponse:
        """Stream the runtimes. What fails before the first page is a problem; later, the stream has no last line."""
        given = parse_query(request.rel_url.raw_query_string, {one.name: one for one in EXPORT_PARAMETERS})
        query = ListQuery(
            filter=ListFilter(kinds=frozenset(given.get("kind", ()))),
            providers=frozenset(given.get("provider", ())),
            scopes=frozenset(given.get("scope", ())),
            limit=_PAGE,
            cursor=given["cursor"][0] if "cursor" in given else None,
        )
        pages = self._exports.pages(query, ctx)
        page = await anext(pages)
        plain = request.headers.get(hdrs.ACCEPT, "").startswith(_PLAIN)
        headers = {hdrs.CONTENT_TYPE: f"{_PLAIN}; charset=utf-8" if plain else _NDJSON}
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=headers)
        out = web.StreamResponse(headers=headers)
        if request.transport is None:
            raise ClientAborted
        finish_headers(out, request, ctx, self._cors, private=True)
        try:
            await out.prepare(request)
            runtimes, failed = 0, dict[str, Incomplete]()
            while True:
                runtimes += sum(isinstance(line, ExportedRuntime) for line in page.lines)
                failed |= {name: incomplete(name, error, ctx) for name, error in page.failures}
                await out.write(b"".join(ENCODER.encode(line) + b"\n" for line in page.lines))
                if page.next_cursor is None:
                    break
                await out.write(ENCODER.encode(ExportProgress(cursor=page.next_cursor)) + b"\n")
                page = await anext(pages)
            await out.write(ENCODER.encode(ExportEnd(runtimes=runtimes, incomplete=list(failed.values()))) + b"\n")
            await out.write_eof()
        except ConnectionError as exc:
            raise ClientAborted from exc
        except Exception:
            request.transport.abort()  # no other response can follow
            raise
        return out

    async def import_(self, request: web.Request, ctx: RequestContext) -> web.Response:
        body = await self._bodies.read(request, ImportRuntimes)
        done = await self._imports.run(body, ctx)
        ctx.changes = {"move": done.move.id, "refused": str(len(done.refused))}
        return json_response(done, ctx, status=202)


EXPORT_ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/export",
        operation_id="exportRuntimes",
        permission=Permission.ADMIN,
        summary="Export runtimes",
        description="A JSON object per line: exported_runtime, not_exported for one that cannot be read, "
        "export_progress with the cursor to continue with, and export_end as the last line of a complete export. "
        "Secrets are references. With Accept: text/plain the same lines have that type.",
        handler=ExportHandlers.export,
        parameters=EXPORT_PARAMETERS,
        successes={200: Success("The lines.", media_types=(_NDJSON, _PLAIN))},
        errors=(*ANY_CALL, errors.PermissionDenied, errors.InternalError, errors.ProviderUnavailable),
        tag="moves",
    ),
    Route(
        method="POST",
        path="/v1/import",
        operation_id="importRuntimes",
        permission=Permission.ADMIN,
        summary="Import runtimes",
        description="Plans a move of exported runtimes that their provider does not have any longer, or that cannot be "
        "asked for them, and applies it unless it is a dry run. They keep their ids.",
        handler=ExportHandlers.import_,
        bodies=(ImportRuntimes,),
        body_required=True,
        successes={202: Success("The move, and what is refused.", Import)},
        errors=(*ANY_CALL, *BODY, errors.PermissionDenied, errors.InternalError, errors.StoreUnavailable),
        tag="moves",
    ),
)
