"""The durable provider API: runtimes in a workspace of an organization. README.md lists the facts and choices."""

from adapters.durable.adapter import DurableAdapter
from adapters.durable.dialect import DurableDialect
from adapters.durable.settings import DurableSettings
from gateway.ports.plugin import AdapterPlugin, Demo

PLUGIN = AdapterPlugin(
    api="durable",
    adapter=DurableAdapter,
    settings=DurableSettings,
    emulator="adapters.durable.emulator:create_emulator",
    demo=Demo(provider="durable-demo", scope="acme/research"),
    dialect=DurableDialect,
    emulator_options={"runtime_server": "small", "state": None},
)
