"""Creates and lists a runtime with the client of openapi-python-client, and prints what the API returned."""

import json
import sys

from runtime_gateway_client import AuthenticatedClient
from runtime_gateway_client.api.runtimes import create_runtime, list_runtimes
from runtime_gateway_client.models import CreateDurable, CreateDurableLabels, Page, Problem, Runtime

URL, KEY = sys.argv[1:]

with AuthenticatedClient(base_url=URL, token=KEY) as client:
    labels = CreateDurableLabels.from_dict({"team": "shop"})
    made = create_runtime.sync(client=client, body=CreateDurable(kind="durable", name="from-python", labels=labels))
    assert isinstance(made, Runtime), made
    page = list_runtimes.sync(client=client, limit=10)
    assert isinstance(page, Page), page
    wrong = create_runtime.sync(client=client, body=CreateDurable(kind="durable", provider="nowhere"))
    assert isinstance(wrong, Problem), wrong

(listed,) = (item for item in page.items if item.id == made.id)
assert listed.created_at is not None
found = {
    "created": made.created,
    "name": listed.name,
    "state": listed.state,
    "year": listed.created_at.year,
    "pause": listed.actions["pause"].allowed,
    "code": wrong.code,
}
sys.stdout.write(json.dumps(found))
