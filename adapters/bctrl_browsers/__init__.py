"""The current browser API of bctrl: ``/v1/browsers``, version 2026-10-03."""

from adapters.bctrl_browsers.adapter import BctrlBrowsersAdapter
from adapters.bctrl_browsers.dialect import BctrlBrowsersDialect
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from gateway.ports.plugin import AdapterPlugin, Demo

PLUGIN = AdapterPlugin(
    api="bctrl_browsers",
    adapter=BctrlBrowsersAdapter,
    settings=BctrlBrowsersSettings,
    emulator="adapters.bctrl_browsers.emulator:create_emulator",
    demo=Demo(provider="browsers-demo", scope="sp_demo"),
    dialect=BctrlBrowsersDialect,
    emulator_options={"browser": "auto", "max_browsers": 8, "state": None},
)
