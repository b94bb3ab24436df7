"""The create promise as use cases: one runtime per create, whatever fails, and nothing made that nobody knows."""

from gateway.services.intents.contents import Contents, document_of
from gateway.services.intents.joining import Ensured
from gateway.services.intents.parts import IntentObserver, Parts, Unobserved, Wanted
from gateway.services.intents.places import Places
from gateway.services.intents.reconciler import Reconciler
from gateway.services.intents.rules import CreateRules
from gateway.services.intents.service import IntentService

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
