"""Creates as use cases: one runtime per create, whatever fails, and no runtime that is not known (docs/creates.md)."""

from gateway.services.intents.context import CreateCommand, CreateContext
from gateway.services.intents.payloads import PayloadSealer, document_of
from gateway.services.intents.reconciler import Reconciler
from gateway.services.intents.resume import CreateResult
from gateway.services.intents.service import IntentService
from gateway.services.intents.targets import TargetResolver

__all__ = [
    "CreateCommand",
    "CreateContext",
    "CreateResult",
    "IntentService",
    "PayloadSealer",
    "Reconciler",
    "TargetResolver",
    "document_of",
]
