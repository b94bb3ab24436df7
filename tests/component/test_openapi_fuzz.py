"""The running demo is tested against its OpenAPI document by schemathesis, with random requests and sequences."""

import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.component.processes import client, finished, running

KEY = "a-key-for-the-fuzzer"
SEED = "20260719"
MAX_EXAMPLES = "12"

CONFIG = f"""
[auth.openapi.bearer]
bearer = "{KEY}"

[auth.openapi.apiKey]
api_key = "{KEY}"

[checks]
# An unsupported method is 405 here, including TRACE and methods that do not exist.
unsupported_method.enabled = false
# A request that the schema allows may still fail: the provider lacks the feature, or the name is taken.
positive_data_acceptance.enabled = false
# It expects 401 for every wrong key; after 20 in a minute they are 429.
ignored_auth.enabled = false

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 414, 415, 421, 422, 428, 429, 431]
"""


async def test_responses_match_the_openapi_document_without_any_5xx(tmp_path: Path) -> None:
    """And enough requests pass validation for the main operations to succeed."""
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    async with running("demo", "--port", "0", "--api-key", KEY, cwd=tmp_path) as demo:
        url = await demo.url()
        fuzzed = await finished(
            *("run", f"{url}/openapi.json", "--seed", SEED, "--max-examples", MAX_EXAMPLES, "--no-color"),
            *("--exclude-operation-id", "disablePrincipal"),  # it would disable the fuzzer itself
            *("--exclude-operation-id", "watchRuntime"),  # its stream ends with the client only
            command=(sys.executable, "-m", "schemathesis.cli"),
            cwd=tmp_path,
        )
        assert fuzzed.code == 0, fuzzed.stdout[-20_000:] + fuzzed.stderr
        async with client(url) as session:
            metrics = await (await session.get("/metrics")).text()
        assert "unexpected_error" not in demo.output
    responses = {
        (sample.labels["operation"], int(sample.labels["status"]))
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "rtgw_requests_total"
    }
    assert not [(operation, status) for operation, status in responses if status >= 500]
    succeeded = {operation for operation, status in responses if status < 300}
    assert {"createRuntime", "getRuntime", "listRuntimes", "startRuntime", "replaceRuntimeConfig"} <= succeeded
    assert "installCapability" in succeeded
