"""The create promise as use cases: one runtime per create, whatever fails, and nothing made that nobody knows."""

from gateway.services.intents.context import IntentObserver, Parts, Unobserved, Wanted
from gateway.services.intents.payloads import Contents, document_of
from gateway.services.intents.reconciler import Reconciler
from gateway.services.intents.resume import Ensured
from gateway.services.intents.service import IntentService
from gateway.services.intents.targets import Places
from gateway.services.intents.timing import CreateRules

__all__ = [
    "Contents",
    "CreateRules",
    "Ensured",
    "IntentObserver",
    "IntentService",
    "Parts",
    "Places",
    "Reconciler",
    "Unobserved",
    "Wanted",
    "document_of",
]
