"""The config of a durable runtime: read and replace.

A replacement whose response is lost is not sent again. The gateway reads the config once to see whether it is the one
that was sent.
"""

import hashlib
import json

import msgspec

from gateway.domain.config import unknown_keys
from gateway.domain.constraint_rules import require_allowed
from gateway.domain.differences import same_config
from gateway.domain.errors import FieldError, GatewayError, NotFound, PreconditionFailed
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import ReplaceConfig
from gateway.domain.runtime import ConfigDocument
from gateway.domain.values import Feature, Operation
from gateway.ports.context import RequestContext
from gateway.ports.provider import SupportsConfig
from gateway.services.access.visibility import require_visible
from gateway.services.fleet import Fleet, Provider
from gateway.services.lost_verb_responses import is_ambiguous, verify_after
from gateway.services.runtime_locks import RuntimeLocks
from gateway.services.specs import SpecKeeper


def etag_of(document: ConfigDocument) -> str:
    """The entity tag of a config: the quoted digest of the provider, or one that the gateway computes where the
    provider reports none."""
    digest = document.config_digest
    if digest is None:
        canonical = json.dumps(document.config, sort_keys=True, separators=(",", ":")).encode()
        digest = "sha256-" + hashlib.sha256(canonical).hexdigest()
    return f'"{digest}"'


class ConfigService:
    def __init__(self, fleet: Fleet, specs: SpecKeeper | None = None) -> None:
        """``specs`` stores the labels of new configs."""
        self._fleet = fleet
        self._specs = specs or SpecKeeper(None, None, fleet.clock)
        self._locks = RuntimeLocks()

    async def get(self, runtime_id: str, ctx: RequestContext) -> tuple[ConfigDocument, str]:
        """The complete config and its entity tag. Raises :class:`UnsupportedFeature` if the provider has no config."""
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        async with self._fleet.call_scope(provider, Operation.GET_CONFIG, ctx) as call:
            await require_visible(self._fleet.owners, provider, ref, ctx, call)
            document = await adapter.get_config(ref, call)
        return document, etag_of(document)

    async def replace(
        self, runtime_id: str, request: ReplaceConfig, if_match: str | None, ctx: RequestContext
    ) -> tuple[ConfigDocument, str]:
        """Replace the config. ``if_match`` is a list of entity tags, or ``*``, or None for no precondition. Providers
        do not support preconditions, so the gateway compares under a lock of its own. The lock does not cover other
        replicas and the provider's own clients.

        If the precondition does not match, but the current config is the one that was sent, the replacement succeeds:
        it may be the retry of a replacement whose response was lost. Raises :class:`PreconditionFailed` if the current
        config differs, :class:`Overloaded` if other replacements of this config hold the lock for longer than
        the deadline of a replacement, and :class:`UnsupportedFeature` if the provider has no config.
        """
        provider, adapter, ref = self._resolve(runtime_id, ctx)
        require_allowed(ctx.principal, request.config)
        seconds = provider.adapter.settings.deadline(Operation.REPLACE_CONFIG)
        refusal = "Too many requests are replacing this config; nothing was sent."
        async with self._locks.hold((provider.name, ref), seconds, refusal):
            document = await self._replaced(provider, adapter, ref, request, if_match, ctx)
        self._specs.config_replaced(provider.adapter, ref, document)
        document = msgspec.structs.replace(document, warnings=unknown_keys(request.config) or msgspec.UNSET)
        return document, etag_of(document)

    async def _replaced(
        self,
        provider: Provider,
        adapter: SupportsConfig,
        ref: RuntimeRef,
        request: ReplaceConfig,
        if_match: str | None,
        ctx: RequestContext,
    ) -> ConfigDocument:
        sent = False
        try:
            async with self._fleet.call_scope(
                provider, Operation.REPLACE_CONFIG, ctx, request.secret_values(), runtime=ref
            ) as call:
                owners = self._fleet.owners
                read = await require_visible(owners, provider, ref, ctx, call)
                mark = None if read is None else owners.mark(ctx.principal, provider.name, read.name)
                if if_match is not None:
                    current = await adapter.get_config(ref, call)
                    if if_match.strip() != "*" and etag_of(current) not in _tags(if_match):
                        if same_config(request.config, current.config):
                            return current
                        detail = "The config has changed since it was read."
                        error = FieldError(detail, "does_not_match", header="If-Match")
                        raise PreconditionFailed(detail, errors=[error])
                sent = True
                return await adapter.replace_config(ref, request.config.with_mark(mark), call)
        except GatewayError as error:
            if not sent or not is_ambiguous(error):
                raise
            try:
                current = await verify_after(
                    error,
                    self._fleet,
                    provider,
                    Operation.GET_CONFIG,
                    ctx,
                    call.deadline,
                    lambda read_call: adapter.get_config(ref, read_call),
                )
            except NotFound as gone:
                raise error from gone
            if not same_config(request.config, current.config):
                raise
            return current

    def _resolve(self, runtime_id: str, ctx: RequestContext) -> tuple[Provider, SupportsConfig, RuntimeRef]:
        provider, ref = self._fleet.resolve(runtime_id, ctx)
        return provider, provider.require(Feature.CONFIG, "config"), ref


def _tags(if_match: str) -> list[str]:
    return [tag.strip() for tag in if_match.split(",")]
