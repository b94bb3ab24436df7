"""Uses the client of durable runtimes, as a user's program would, and prints a line of JSON for each result.

Run by the interpreter that has the client. It reads the address and the token from ``DREADNODE_RUNTIME_URL`` and
``DREADNODE_RUNTIME_TOKEN``. At the end it follows the events of the runtime until it is killed, which the client does
over all losses of the connection; what it logs about those is printed too.
"""

import asyncio
import json
import sys
from typing import Any

from dreadnode.app.client.runtime_client import RuntimeClient
from loguru import logger

EVENT = "test.said"


def show(**result: Any) -> None:
    """Print one result."""
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Call the server over HTTP, then over both of its WebSockets."""
    logger.enable("dreadnode")
    logger.remove()
    logger.add(lambda message: show(log=message.record["message"]), level="DEBUG")
    client = RuntimeClient()
    await client.start()
    show(version=(await client.fetch_runtime_info()).version)
    show(stdout=(await client.execute_shell("cat from-the-test"))["stdout"])
    session = await client.create_session()
    await client.subscribe_session(session.session_id)
    show(session=session.session_id)
    events = client.subscribe(EVENT)
    first = asyncio.ensure_future(anext(events))
    while not first.done():  # what is published before the socket is open is lost
        await client.publish(EVENT, {"text": "hello"})
        await asyncio.wait([first], timeout=1)
    show(event=first.result().kind, **first.result().payload)
    async for event in events:
        show(event=event.kind)


asyncio.run(main())
