"""The bctrl browser-runtime API of the workspaces era: ``/v1/workspaces/{id}/runtimes``."""

from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl.dialect import BctrlDialect
from adapters.bctrl.settings import BctrlSettings
from gateway.ports.plugin import AdapterPlugin, Demo

PLUGIN = AdapterPlugin(
    api="bctrl",
    adapter=BctrlAdapter,
    settings=BctrlSettings,
    emulator="adapters.bctrl.emulator:create_emulator",
    demo=Demo(provider="bctrl-demo", scope="7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"),
    dialect=BctrlDialect,
    emulator_options={"state": None},
)
