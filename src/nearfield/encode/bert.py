"""The built-in encoder: models of BERT's, RoBERTa's, MPNet's and DistilBERT's families, without PyTorch."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.graph import Form, Tensors, build_graph
from nearfield.encode.head import HeadWeights
from nearfield.encode.int8.graph import int8_form
from nearfield.encode.int8.kept import ranges_of
from nearfield.encode.int8.ranges import calibrate
from nearfield.encode.model_identity import model_identity
from nearfield.encode.precision import check_precision, choose_precision
from nearfield.encode.protocol import Vectors
from nearfield.encode.runtime import Batch, Runner, has_bfloat16
from nearfield.encode.safetensors import Weights
from nearfield.encode.settings import read_settings
from nearfield.encode.texts import check_texts
from nearfield.encode.tokens import Ids, Tokens
from nearfield.errors import InvalidInput

BATCH_TOKENS = 512
"""Tokens in a batch, padding included. With twice as many, a layer's intermediate values outgrow a core's cache."""

BLOCK = 4096
"""Texts that are tokenised and sorted by length together."""

LET_GO = 1.0
"""Seconds after which the memory of the model's file is given back, in which tokens' vectors are looked up.

Given back after every 16 queries, it made each a twentieth slower, as what is looked up must be mapped again.
"""

FEW_TOKENS = 2048
"""Up to so many tokens in a call use the graph compiled for latency, which is never in int8: there is little to gain.

More are worth compiling one for throughput.
"""


class BertEncoder:
    """An `Encoder` that runs the folder of a model of the BERT family with OpenVINO on the processor.

    The folder holds config.json, model.safetensors and tokenizer.json, and the files in which sentence-transformers
    keeps pooling, normalisation, prompts and the token limit. Vectors agree with those of sentence-transformers:
    texts beyond the limit are truncated as it truncates them (`split_passages` avoids that), and a prompt that the
    model has for documents or queries is put before them.

    Files are read when the encoder is made; libraries are loaded and the graph is compiled at the first text.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        precision: str = "auto",
        truncate_dim: int | None = None,
        sha256: str | None = None,
    ) -> None:
        """Read a model's folder.

        Args:
            folder: The model's files.
            name: What to call it; the folder if not given.
            precision: "float32", "bfloat16", "int8" (products with weights in eight-bit integers, for documents in
                calls of more than a few texts; the others in bfloat16 or float32), or "auto": the quickest on this
                processor that was measured to find as well.
            truncate_dim: Cut vectors to this length, for models trained so (Matryoshka: Kusupati et al. 2022). They
                are not normalised again, as sentence-transformers doesn't. What the folder names, if not given.
            sha256: What model.safetensors must have as its SHA-256; not compared if not given.

        Raises:
            InvalidInput: a file is missing or unreadable, or `precision` is another word.
            MissingDependency: the model needs sentence-transformers.
        """
        self._folder = Path(folder)
        self._name = name or str(folder)
        self._precision = check_precision(precision)
        self._sha256 = sha256
        self._settings = read_settings(self._folder, truncate_dim=truncate_dim)
        self._weights = Weights(self._folder / "model.safetensors")
        self._head = HeadWeights(self._folder, self._settings.head)
        self._let_go_at = 0.0
        self._locks = {name: threading.Lock() for name in ("one", "many", "bulk")}

    @property
    def name(self) -> str:
        """What the user called the encoder."""
        return self._name

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._settings.dimension

    @cached_property
    def max_tokens(self) -> int:
        """How many tokens fit beside the special tokens and the model's prompt."""
        prompts = (self._settings.document_prompt, self._settings.query_prompt)
        return self._settings.max_length - self._tokens.special - max(self._tokens.counts(prompts))

    @cached_property
    def precision(self) -> str:
        """What the encoder computes in: "float32", "bfloat16" or "int8"."""
        return choose_precision(self._precision, self._weights.digest)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, tokenizer, shape, pooling, normalisation, prompts and token limit, in hexadecimal."""
        parts = {
            "weights": self._checked_digest(),
            "tokenizer": self._tokenizer_digest,
            **self._settings.identity(),
        }
        if digests := self._head.digests:
            parts["dense"] = digests
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _tokenizer_digest(self) -> str:
        return hashlib.sha256((self._folder / "tokenizer.json").read_bytes()).hexdigest()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a collection records of the model beside the fingerprint; see `nearfield.encode.identity`."""
        return model_identity(self._folder, self._checked_digest(), self._settings.identity(), self.precision)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, without special tokens, prompt and truncation."""
        return self._tokens.counts(check_texts(texts))

    def tokens_at_most(self, text: str) -> int | None:
        """Return a number that the text's tokens can't exceed, in no time; None if there is none known."""
        return self._tokens.at_most(text)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts; those beyond the limit are truncated as by sentence-transformers.

        Raises:
            InvalidInput: a text is not a str or holds a lone surrogate, or the model's files are damaged.
        """
        return self._encode(texts, self._settings.document_prompt, lambda: self._bulk)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, as `encode_documents` but with the query prompt, and never in int8."""
        return self._encode(texts, self._settings.query_prompt, lambda: self._many)

    def _encode(self, texts: Sequence[str], prompt: str, many: Callable[[], Runner]) -> Vectors:
        checked = check_texts(texts)
        if not checked:
            return np.empty((0, self.dimension), np.float32)
        if len(checked) == 1:
            return self._encode_one(prompt + checked[0], many)
        place = {text: row for row, text in enumerate(dict.fromkeys(checked))}
        vectors = self._encode_distinct([prompt + text for text in place], many)
        return vectors if len(place) == len(checked) else vectors[[place[text] for text in checked]]

    def _encode_one(self, text: str, many: Callable[[], Runner]) -> Vectors:
        """As `_encode_distinct` for one text: somebody waits for a query."""
        batch = self._tokens.matrix(self._tokens.ids([text]), self._settings.max_length)
        runner = self._one if batch[1][0] <= FEW_TOKENS else many()
        vectors = runner.run_one(batch)
        self._after_call()
        return vectors

    def _encode_distinct(self, texts: list[str], many: Callable[[], Runner]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        rows: deque[NDArray[np.intp]] = deque()
        first = self._tokens.ids(texts[:BLOCK])
        tokens = sum(min(len(one) + self._tokens.special, self._settings.max_length) for one in first)
        runner = self._one if len(texts) <= BLOCK and tokens <= FEW_TOKENS else many()
        for encoded in runner.run(self._batches(texts, first, rows)):
            vectors[rows.popleft()] = encoded
        self._after_call()
        return vectors

    def _after_call(self) -> None:
        self._checked_digest()
        if time.monotonic() >= self._let_go_at:
            # What is compiled has weights of its own, often of half the size; it reads the file's for new shapes only.
            self._weights.let_go()
            self._let_go_at = time.monotonic() + LET_GO

    def _batches(self, texts: list[str], first: list[Ids], rows: deque[NDArray[np.intp]]) -> Iterator[Batch]:
        """Yield batches of texts of similar length, and append the places of each one's texts to `rows`.

        Texts are tokenised block by block, while batches of the block before are computed. In a block the longest come
        first: what doesn't fit into memory fails at once.
        """
        longest, special = self._settings.max_length, self._tokens.special
        for begin in range(0, len(texts), BLOCK):
            ids = first if not begin else self._tokens.ids(texts[begin : begin + BLOCK])
            lengths = np.array([min(len(one) + special, longest) for one in ids])
            order = np.argsort(-lengths, kind="stable")
            start = 0
            while start < len(order):
                chosen = order[start : start + max(1, BATCH_TOKENS // int(lengths[order[start]]))]
                rows.append(begin + chosen)
                yield self._tokens.matrix([ids[row] for row in chosen], longest)
                start += len(chosen)

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self._folder / "tokenizer.json", lower_case=self._settings.lower_case)

    # Each is compiled once, whatever the number of threads that ask first, and none waits for another.

    @property
    def _one(self) -> Runner:
        """For few texts."""
        with self._locks["one"]:
            return self._latency

    @property
    def _many(self) -> Runner:
        """For many texts that must not be rounded."""
        with self._locks["many"]:
            return self._throughput

    @property
    def _bulk(self) -> Runner:
        """For many texts."""
        if self.precision != "int8":
            return self._many
        with self._locks["bulk"]:
            return self._rounded

    @cached_property
    def _latency(self) -> Runner:
        return self._compile("LATENCY")

    @cached_property
    def _throughput(self) -> Runner:
        return self._compile("THROUGHPUT")

    @cached_property
    def _rounded(self) -> Runner:
        measure = partial(calibrate, self._settings, self._tensors, self._tokens)
        return self._compile("THROUGHPUT", int8_form(ranges_of(self._weights.digest, self._tokenizer_digest, measure)))

    @property
    def _tensors(self) -> Tensors:
        return self._weights.tensors | self._head.tensors

    def _compile(self, hint: str, form: Form | None = None) -> Runner:
        graph = build_graph(self._settings, self._tensors, self._tokens.size, form)
        return Runner(graph, half=self.precision != "float32" and has_bfloat16(), hint=hint)

    def _checked_digest(self) -> str:
        """Return the weights' SHA-256 once it is known to be the right one; until then no vector leaves the encoder."""
        digest = self._weights.digest
        if self._sha256 is not None and digest != self._sha256:
            raise InvalidInput(
                f"{self._folder / 'model.safetensors'} is not the published file of {self._name!r}: its SHA-256 must "
                f"be {self._sha256}, and is {digest}; install it again, or name the folder to use these "
                "weights on purpose"
            )
        return digest
