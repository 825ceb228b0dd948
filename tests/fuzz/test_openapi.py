"""schemathesis against the gateway's OpenAPI document: whatever is sent, each answer is one that the document names."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from http_gateway import gateway

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
HOOKS = Path(__file__).with_name("openapi_hooks.py")

#: Not `positive_data_acceptance`, because the contract's limits are in its comments and one validator, and not
#: `negative_data_rejection`, because proto3 JSON takes null for "unset" and numbers for 64-bit texts.
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "missing_required_header", "use_after_free",
)  # fmt: skip


@pytest.mark.timeout(400)
async def test_every_answer_is_one_that_the_document_names(address: str, tmp_path: Path) -> None:
    async with gateway(address) as web:
        process = await asyncio.create_subprocess_exec(
            SCHEMATHESIS, "run", f"http://{web.address}/openapi.json", "--checks", ",".join(CHECKS),
            "--phases", "coverage,fuzzing", "--max-examples", "5", "--generation-deterministic", "--no-color",
            "--suppress-health-check", "all",
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_allow_names_each_method_of_a_path(address: str) -> None:
    async with gateway(address) as web:
        for path, methods in {
            "/v1/users/a/observations/1": "DELETE, GET, HEAD, PATCH",
            "/v1/users/a/observations": "GET, HEAD, POST",
            "/v1/chat": "POST",
        }.items():
            answer = await web.send("PUT", path)
            assert answer.status == 405
            assert ", ".join(sorted(answer.headers["allow"].split(", "))) == methods
