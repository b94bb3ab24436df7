"""The view of callers with ``view: public``: what responses leave out. All responses of ``/v1`` are encoded by
:mod:`gateway.api.responses`, and all errors pass :mod:`gateway.http.public_errors`, so handlers do not know of it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from msgspec import UNSET

from gateway.domain import runtime as models
from gateway.domain.pages import Incomplete, ListWarning
from gateway.domain.public_view import PublicView
from gateway.domain.runtime import Model
from gateway.ports.audit import AuditEvent
from gateway.services.access.me import Me
from gateway.services.intents.records import IntentAttemptView, IntentView
from gateway.services.usage import UsageFigures, UsageGroup

HIDDEN: Final[Mapping[type[Model], frozenset[str]]] = {
    models.Runtime: frozenset({"provider", "scope", "provider_id", "provider_state", "provider_data", "cost"}),
    models.Project: frozenset({"id"}),
    models.DurablePart: frozenset({"created_by"}),
    models.Instance: frozenset({"id", "provider", "provider_instance_id", "extra"}),
    models.BrowserPart: frozenset({"default_context_id", "default_page_id", "storage_workspace"}),
    models.CreateAttempt: frozenset({"provider"}),
    models.CapabilityBinding: frozenset({"artifact_id"}),
    models.ResolvedCapability: frozenset({"artifact_s3_prefix"}),
    Incomplete: frozenset({"provider"}),
    ListWarning: frozenset({"provider", "provider_id", "pointer"}),
    IntentView: frozenset({"provider", "scope"}),
    IntentAttemptView: frozenset({"status"}),
    AuditEvent: frozenset({"provider", "changes"}),
    UsageFigures: frozenset({"cost"}),
    UsageGroup: frozenset({"cost"}),
    Me: frozenset({"providers", "provider_scopes"}),
}
"""The members that are left out."""

RUNTIME_IDS: Final[Mapping[type[Model], str]] = {
    models.Runtime: "id",
    models.Lease: "id",
    IntentView: "runtime_id",
    AuditEvent: "runtime_id",
}
"""The members that are ids of runtimes."""

_TEXTS: Final[Mapping[type[Model], tuple[str, ...]]] = {
    models.Runtime: ("state_reason",),
    models.FieldWarning: ("detail",),
    ListWarning: ("detail",),
}
"""The members that may be a provider's words."""
_WORDING: Final = "The provider has a reason that is not shown."


@cache
def _shown(kind: type[Model]) -> tuple[str, ...]:
    hidden = HIDDEN.get(kind, frozenset())
    return tuple(name for name in kind.__struct_fields__ if name not in hidden)


def public(value: Any, view: PublicView) -> Any:
    """A response body as these callers see it. Values without a model are shown as they are: they are the caller's own,
    or problems from :mod:`gateway.http.public_errors`."""
    if isinstance(value, list | tuple):
        return [public(each, view) for each in value]
    if not isinstance(value, Model):
        return value
    kind, shown = type(value), {}
    for name in _shown(kind):
        member = getattr(value, name)
        if member is not UNSET:
            shown[name] = public(member, view) if isinstance(member, Model | list) else member
    runtime_id = RUNTIME_IDS.get(kind)
    if runtime_id is not None and shown[runtime_id] is not None:
        shown[runtime_id] = view.seal(shown[runtime_id])
    for name in _TEXTS.get(kind, ()):
        if isinstance(shown[name], str):
            shown[name] = view.text(shown[name], _WORDING)
    return shown
