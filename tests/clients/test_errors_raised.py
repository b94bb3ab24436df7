"""Every error code of the gateway in every dialect: what the provider's own client raises, and whether it retries."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from aiohttp import web

from gateway.app import plugins
from gateway.domain.errors import GatewayError, error_classes
from gateway.ports.dialect import DialectGateway
from gateway.testing.processes import running
from tests.clients.environments import ROOT, environment, python_of


class Raised(NamedTuple):
    """What the clients raise for one code.

    For the bctrl clients: the status, the class for a write, the API's code, and how often a write with a key is sent
    in total (three times if the client retries). For ``dn``, which never retries: the class, and the text before the
    sentence.
    """

    today: tuple[int, str, str, int]
    flat: tuple[int, str, str, int]
    dn: tuple[str, str]


EXPECTED = {
    "invalid_request": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "400: "),
    ),
    "unauthenticated": Raised(
        (401, "UnauthorizedError", "auth.invalid", 1),
        (401, "BctrlAuthenticationError", "auth.invalid", 1),
        ("AuthenticationError", "401: "),
    ),
    "insufficient_credits": Raised(
        (402, "PaymentRequiredError", "billing.insufficient_credits", 1),
        (402, "BctrlApiError", "billing.insufficient_credits", 1),
        ("InsufficientCreditsError", "Insufficient credits: "),
    ),
    "permission_denied": Raised(
        (403, "ForbiddenError", "auth.forbidden", 1),
        (403, "BctrlPermissionError", "auth.forbidden", 1),
        ("RuntimeError", "403: "),
    ),
    "not_found": Raised(
        (404, "NotFoundError", "route.not_found", 1),
        (404, "BctrlNotFoundError", "route.not_found", 1),
        ("NotFoundError", "404: "),
    ),
    "method_not_allowed": Raised(
        (405, "ApiError", "request.method_not_allowed", 1),
        (405, "BctrlApiError", "request.method_not_allowed", 1),
        ("RuntimeError", "400: "),
    ),
    "request_timeout": Raised(
        (408, "ApiError", "request.failed", 3), (408, "BctrlApiError", "request.failed", 3), ("RuntimeError", "400: ")
    ),
    "already_exists": Raised(
        (409, "ConflictError", "browser.name_conflict", 1),
        (409, "BctrlConflictError", "runtime.name_conflict", 1),
        ("ConflictError", "409: "),
    ),
    "state_conflict": Raised(
        (409, "ConflictError", "browser.not_running", 1),
        (409, "BctrlConflictError", "runtime.not_active", 1),
        ("ConflictError", "409: "),
    ),
    "idempotency_in_progress": Raised(
        (409, "ConflictError", "idempotency_key_in_progress", 1),
        (409, "BctrlConflictError", "idempotency_key_in_progress", 1),
        ("ConflictError", "409: "),
    ),
    "runtime_replaced": Raised(
        (409, "ConflictError", "browser.changed", 1),
        (409, "BctrlConflictError", "runtime.name_conflict", 1),
        ("ConflictError", "409: "),
    ),
    "runtime_gone": Raised(
        (409, "ConflictError", "browser.not_running", 1),
        (409, "BctrlConflictError", "runtime.not_active", 1),
        ("ConflictError", "409: "),
    ),
    "precondition_failed": Raised(
        (412, "ApiError", "request.failed", 1),
        (409, "BctrlConflictError", "request.failed", 1),
        ("ConflictError", "409: "),
    ),
    "payload_too_large": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "400: "),
    ),
    "uri_too_long": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "400: "),
    ),
    "unsupported_media_type": Raised(
        (400, "BadRequestError", "request.invalid_content_type", 1),
        (400, "BctrlValidationError", "request.invalid_content_type", 1),
        ("RuntimeError", "400: "),
    ),
    "provider_not_configured": Raised(
        (400, "BadRequestError", "gateway.misconfigured", 1),
        (400, "BctrlValidationError", "gateway.misconfigured", 1),
        ("RuntimeError", "502: "),
    ),
    "validation_failed": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "422: "),
    ),
    "unsupported_feature": Raised(
        (400, "BadRequestError", "capability.not_available", 1),
        (400, "BctrlValidationError", "capability.not_available", 1),
        ("RuntimeError", "422: "),
    ),
    "idempotency_key_reused": Raised(
        (409, "ConflictError", "idempotency.mismatch", 1),
        (409, "BctrlConflictError", "idempotency.mismatch", 1),
        ("RuntimeError", "422: "),
    ),
    "rate_limited": Raised(
        (429, "TooManyRequestsError", "rate_limit.exceeded", 3),
        (429, "BctrlRateLimitError", "rate_limit.exceeded", 3),
        ("RuntimeError", "429: "),
    ),
    "quota_exceeded": Raised(
        (429, "TooManyRequestsError", "browser.concurrent_quota_exceeded", 3),
        (429, "BctrlRateLimitError", "browser.concurrent_quota_exceeded", 3),
        ("RuntimeError", "429: "),
    ),
    "headers_too_large": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "400: "),
    ),
    "internal_error": Raised(
        (500, "InternalServerError", "internal.error", 1),
        (500, "BctrlApiError", "internal.error", 3),
        ("RuntimeError", "500: "),
    ),
    "provider_error": Raised(
        (502, "ApiError", "upstream.unavailable", 3),
        (502, "BctrlApiError", "upstream.unavailable", 3),
        ("RuntimeError", "502: "),
    ),
    "provider_bad_response": Raised(
        (502, "ApiError", "route.bad_gateway", 1),
        (502, "BctrlApiError", "route.bad_gateway", 3),
        ("RuntimeError", "502: "),
    ),
    "provider_credentials_rejected": Raised(
        (502, "ApiError", "gateway.misconfigured", 3),
        (502, "BctrlApiError", "gateway.misconfigured", 3),
        ("RuntimeError", "502: "),
    ),
    "provider_upgrade_required": Raised(
        (502, "ApiError", "gateway.misconfigured", 3),
        (502, "BctrlApiError", "gateway.misconfigured", 3),
        ("RuntimeError", "502: "),
    ),
    "runtime_unreachable": Raised(
        (502, "ApiError", "upstream.unavailable", 3),
        (502, "BctrlApiError", "upstream.unavailable", 3),
        ("RuntimeError", "502: "),
    ),
    "provider_unavailable": Raised(
        (503, "ServiceUnavailableError", "upstream.unavailable", 3),
        (503, "BctrlApiError", "upstream.unavailable", 3),
        ("RuntimeError", "502: "),
    ),
    "capacity_exceeded": Raised(
        (503, "ServiceUnavailableError", "runtime.capacity_unavailable", 3),
        (503, "BctrlApiError", "runtime.capacity_unavailable", 3),
        ("RuntimeError", "502: "),
    ),
    "overloaded": Raised(
        (503, "ServiceUnavailableError", "route.unavailable", 3),
        (503, "BctrlApiError", "route.unavailable", 3),
        ("RuntimeError", "502: "),
    ),
    "store_unavailable": Raised(
        (503, "ServiceUnavailableError", "control_plane.unavailable", 3),
        (503, "BctrlApiError", "control_plane.unavailable", 3),
        ("RuntimeError", "502: "),
    ),
    "provider_timeout": Raised(
        (504, "ApiError", "gateway.timeout", 3), (504, "BctrlApiError", "gateway.timeout", 3), ("RuntimeError", "504: ")
    ),
    "outcome_unknown": Raised(
        (504, "ApiError", "idempotency_key_uncertain", 1),
        (409, "BctrlConflictError", "idempotency_key_uncertain", 1),
        ("RuntimeError", "504: "),
    ),
    "transfer_coding_not_supported": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "400: "),
    ),
    "http_version_not_supported": Raised(
        (400, "BadRequestError", "request.invalid", 1),
        (400, "BctrlValidationError", "request.invalid", 1),
        ("RuntimeError", "400: "),
    ),
}
OF_READS = frozenset({"UnauthorizedError", "ForbiddenError", "NotFoundError"})
"""The only classes that today's client declares for a read; it raises ``ApiError`` for all other errors."""

IN_THE_WORKSPACES_ERA = {"quota_exceeded": "capability.limit_exceeded"}

CLASSES = {cls.code: cls for cls in error_classes()}
SENTENCE = "A sentence of the gateway."


@asynccontextmanager
async def failing(api: str) -> AsyncIterator[tuple[str, Counter[tuple[str, str]]]]:
    """Run a server that responds to ``/{code}/…`` with that error, as the dialect of an API words it. Yields its URL
    and the number of requests by code and kind (read or write)."""
    plugin = plugins()[api]
    assert plugin.dialect is not None
    dialect = plugin.dialect(cast("DialectGateway", None))
    sent: Counter[tuple[str, str]] = Counter()

    async def answer(request: web.Request) -> web.Response:
        code = request.match_info["code"]
        sent[code, "read" if request.method == "GET" else "write"] += 1
        error: GatewayError = CLASSES[code](SENTENCE)
        worded = dialect.failure(error, "/" + request.match_info["rest"], request.headers, "id-of-the-request")
        return web.Response(
            status=worded.status, body=worded.body, headers=worded.headers, content_type="application/json"
        )

    app = web.Application()
    app.router.add_route("*", "/{code}/{rest:.*}", answer)
    async with running(app) as url:
        yield url, sent


async def asked(environment_of: str, home: Path, api: str, client: str, *, today: bool = False) -> dict[str, Any]:
    """Return for each code what the client raises for a read and for a write, and how often it sent them."""
    async with failing(api) as (url, sent):
        options = {"client": client, "today": today, "url": url, "codes": list(CLASSES)}
        process = await asyncio.create_subprocess_exec(
            python_of(environment_of),
            str(ROOT / "tests" / "clients" / "errors_raised.py"),
            json.dumps(options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(home),
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    for (code, kind), times in sent.items():
        found[code][kind]["sent"] = times
    return found


def test_expectations_cover_every_error_code() -> None:
    assert EXPECTED.keys() == CLASSES.keys()


async def test_todays_client_raises_its_own_class_for_every_code(tmp_path: Path) -> None:
    found = await asked("bctrl-0.3.0", tmp_path, "bctrl_browsers", "bctrl", today=True)
    for code, expected in EXPECTED.items():
        status, cls, native, sent = expected.today
        for kind, raised in (("write", cls), ("read", cls if cls in OF_READS else "ApiError")):
            error = found[code][kind]
            assert (error["status"], error["raised"], error["code"], error["sent"]) == (status, raised, native, sent), (
                code
            )
            assert SENTENCE in error["text"]


@pytest.mark.parametrize(
    ("environment_of", "client", "api"),
    [
        ("bctrl-0.1.0", "bctrl", "bctrl_browsers"),
        ("bctrl-0.1.5", "bctrl", "bctrl_browsers"),
        ("bctrl-0.3.0", "bctrl.legacy", "bctrl_browsers"),
        ("bctrl-0.1.5", "bctrl", "bctrl"),
    ],
    ids=str,
)
async def test_flat_clients_raise_their_own_class_for_every_code(
    environment_of: str, client: str, api: str, tmp_path: Path
) -> None:
    """The last case reads the envelope of the workspaces API, for which no client of its own is available."""
    found = await asked(environment_of, tmp_path, api, client)
    for code, expected in EXPECTED.items():
        status, cls, native, sent = expected.flat
        if api == "bctrl":
            native = IN_THE_WORKSPACES_ERA.get(code, native)
        expected_error = {"status": status, "raised": cls, "code": native, "text": SENTENCE, "sent": sent}
        assert found[code] == {"read": expected_error, "write": expected_error}, code


async def test_dn_raises_its_own_class_for_every_code(tmp_path: Path) -> None:
    found = await asked("dreadnode-2.0.52", tmp_path, "durable", "dreadnode")
    for code, expected in EXPECTED.items():
        cls, before = expected.dn
        expected_error = {"status": None, "raised": cls, "code": None, "text": before + SENTENCE, "sent": 1}
        assert found[code] == {"read": expected_error, "write": expected_error}, code
