"""`RemoteEncoder`: vectors from an OpenAI-compatible endpoint."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np

from nearfield.encode.protocol import Vectors
from nearfield.encode.remote.names import check_url, format_name, parse_name
from nearfield.encode.remote.options import RemoteKeywords, RemoteOptions, check_words
from nearfield.encode.texts import check_texts
from nearfield.errors import InvalidInput
from nearfield.forks import tell_of_forks

if TYPE_CHECKING:
    from nearfield.encode.remote.asking import Endpoint
    from nearfield.encode.remote.bulk import Call
    from nearfield.encode.remote.transport import Reply

REQUEST_BYTES = 200_000
"""Bytes of text in a request, and so at most as many tokens; OpenAI takes 300,000."""

_VECTOR_BYTES = 1 << 18
"""More than a vector has in an answer: ten thousand numbers, written out."""

_TOO_MANY = re.compile(r"batch", re.IGNORECASE)
"""How servers say, beside 400, 413 or 422, that a request has too many texts (docs/decisions/encoder-remote.md)."""


class RemoteEncoder:
    """An `Encoder` that asks an OpenAI-compatible `/v1/embeddings` over HTTP.

    Nothing is sent before a text is encoded or the dimension is needed. A call sends many texts in several requests at
    once, and returns all vectors in order, or raises. Failures that may pass are waited for; an answer that can't be
    right is an error at once. An empty text has the zero vector, since servers refuse it.

    Tokens are counted as bytes of UTF-8: a tokenizer that works on bytes makes no more of a text, so that nothing that
    fits by this count is truncated, and passages are shorter than they might be.
    """

    def __init__(self, url: str, model: str, **options: Unpack[RemoteKeywords]) -> None:
        """Name an endpoint.

        Args:
            url: Its base, such as "https://api.openai.com/v1"; "/embeddings" is added.
            model: What the server calls the model.
            options:
                dimension: Asked for as `dimensions`, of models that have several. If not given, it is that of the first
                answer.
                max_tokens: How many the model takes, 8191 if not given; longer documents are split. None: any number.
                query_prompt, document_prompt: Put before queries and documents; none if not given.
                api_key_env: The environment variable that holds the key, read at each request. If not given,
                OPENAI_API_KEY is sent to OpenAI, or else to the host of OPENAI_BASE_URL, and to no other host.
                batch_size: Texts in a request, 32 if not given; fewer when a server says that these are too many.
                concurrency: Requests at once in a call, 8 if not given.
                timeout: Seconds for an attempt, from connecting to the last byte; 60 if not given.
                total_timeout: Seconds for a request with all its attempts, 180 if not given.
                max_retries: Attempts after the first that failed with 408, 409, 429, 5xx, a timeout or a broken
                connection; 6 if not given.
                requests_per_minute, tokens_per_minute: Most that are sent in any minute, by this encoder in this
                process; any number if not given.
                encoding_format: How vectors are asked for, "base64" if not given, or "float"; either is understood.

        Raises:
            InvalidInput: an argument is out of range; the address has a user, a password, a query or a fragment.
        """
        self._url = check_url(url)
        self._model = check_words(model, "model")
        if not model:
            raise InvalidInput("model must be what the server calls the model, got an empty str")
        self._options = RemoteOptions(**options)
        self._dimension = self._options.dimension
        self._batch_size = self._options.batch_size
        self._lock = threading.Lock()
        self._endpoint: Endpoint | None = None
        tell_of_forks(self)

    @classmethod
    def from_name(cls, name: str) -> RemoteEncoder:
        """Return the encoder that a name such as "https://api.openai.com/v1#text-embedding-3-small" stands for.

        After the model there may be a "?" with dimension, max_tokens ("none": any number), query_prompt and
        document_prompt, as in the query of a URL.

        Raises:
            InvalidInput: it is no such name.

        >>> RemoteEncoder.from_name("http://127.0.0.1:8080/v1#BAAI/bge-m3?dimension=512").dimension
        512
        """
        url, model, options = parse_name(name)
        return cls(url, model, **cast(RemoteKeywords, options))

    @property
    def name(self) -> str:
        """The address, the model, and the options that change what is stored; `from_name` reads it."""
        return format_name(self._url, self._model, asdict(self._options))

    @property
    def dimension(self) -> int:
        """Length of every vector; one text is sent if it isn't known yet.

        Raises:
            Unavailable: as `encode_documents`.
        """
        if self._dimension is None:
            self._ask_all(["dimension"])
        return int(self._dimension or 0)

    @property
    def max_tokens(self) -> int | None:
        """How many tokens, counted as bytes, fit beside the longer prompt; None: any number."""
        return self._options.room

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the model's name, the dimension that is asked for and the prompts, in hexadecimal.

        The address is no part of it, so that a collection can go on with another server of the same model; whether it
        is the same, only its vectors tell.
        """
        options = self._options
        parts = [self._model, options.dimension, options.query_prompt, options.document_prompt]
        return hashlib.sha256(json.dumps(["remote", *parts]).encode()).hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What a collection records besides; see `nearfield.encode.identity`."""
        prompts = {"document": self._options.document_prompt, "query": self._options.query_prompt}
        return {"url": self._url, "model": self._model, "prompts": prompts}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many bytes each text has in UTF-8: as many tokens, or more, as the model makes of it."""
        return [len(text.encode()) for text in check_texts(texts)]

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, with the document prompt.

        Raises:
            InvalidInput: a text is not a str or holds a lone surrogate; the environment holds no key where one is
                named.
            Unavailable: the endpoint can't be reached, refuses, or answers what can't be right.
        """
        return self._encode(texts, self._options.document_prompt)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, as `encode_documents` but with the query prompt."""
        return self._encode(texts, self._options.query_prompt)

    def __repr__(self) -> str:
        return f"RemoteEncoder({self._url!r}, {self._model!r})"

    def __reduce__(self) -> tuple[Callable[..., RemoteEncoder], tuple[str, str]]:
        """Let another process ask the same endpoint; its environment has the key."""
        return functools.partial(RemoteEncoder, **asdict(self._options)), (self._url, self._model)

    def before_fork(self, deadline: float) -> None:
        """Do nothing: connections stay the parent's."""

    def after_fork(self, *, in_child: bool) -> None:
        """Connect anew in the child, and count its limits on its own."""
        if in_child:
            self._lock = threading.Lock()
            self._endpoint = None

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        checked = [prompt + text for text in check_texts(texts)]
        distinct = [text for text in dict.fromkeys(checked) if text]
        found = self._ask_all(distinct) if distinct else np.empty((0, self.dimension), np.float32)
        vectors = np.zeros((len(checked), self.dimension), np.float32)
        place = {text: row for row, text in enumerate(distinct)}
        filled = [row for row, text in enumerate(checked) if text]
        vectors[filled] = found[[place[checked[row]] for row in filled]]
        return vectors

    def _ask_all(self, texts: list[str]) -> Vectors:
        from nearfield.encode.remote.bulk import in_order

        return np.concatenate(in_order(self._requests(texts), self._ask, self._options.concurrency))

    def _requests(self, texts: list[str]) -> list[list[str]]:
        """Return the texts as requests, each within the number and the size; a text beyond the size has its own."""
        most = min(REQUEST_BYTES, self._options.tokens_per_minute or REQUEST_BYTES)
        requests: list[list[str]] = []
        size = 0
        for text in texts:
            length = len(text.encode())
            if not requests or len(requests[-1]) >= self._batch_size or size + length > most:
                requests.append([])
                size = 0
            requests[-1].append(text)
            size += length
        return requests

    def _ask(self, texts: list[str], call: Call) -> Vectors:
        from nearfield.encode.remote.answers import BadAnswer, question, read_answer

        endpoint = self._connected()
        reply, use = endpoint.ask(
            question(self._model, texts, self._options.dimension, self._options.encoding_format),
            tokens=sum(len(text.encode()) for text in texts),
            most=_VECTOR_BYTES * (len(texts) + 4),
            call=call,
        )
        if not 200 <= reply.status < 300:
            if len(texts) > 1 and _has_too_many(reply):
                return self._ask_fewer(texts, call)
            raise endpoint.refusal(reply)
        try:
            vectors, tokens = read_answer(reply.body, len(texts))
            self._fix_dimension(vectors.shape[1])
        except BadAnswer as error:
            raise endpoint.error(f"answered {error}; nothing of it was taken") from None
        endpoint.settle(use, tokens)
        return vectors

    def _ask_fewer(self, texts: list[str], call: Call) -> Vectors:
        """Return the vectors of texts that were too many for a request, from requests of half as many."""
        half = (len(texts) + 1) // 2
        self._batch_size = min(self._batch_size, half)
        parts = [texts[start : start + half] for start in range(0, len(texts), half)]
        return np.concatenate([self._ask(part, call) for part in parts])

    def _fix_dimension(self, dimension: int) -> None:
        from nearfield.encode.remote.answers import BadAnswer

        with self._lock:
            if self._dimension is None:
                self._dimension = dimension
            if self._dimension != dimension:
                before = "were asked for" if self._options.dimension else "came before"
                raise BadAnswer(f"vectors of {dimension} dimensions, where {self._dimension} {before}")

    def _connected(self) -> Endpoint:
        from nearfield.encode.remote.asking import Endpoint, Patience
        from nearfield.encode.remote.limits import Limits

        options = self._options
        with self._lock:
            if self._endpoint is None:
                limits = Limits(options.requests_per_minute, options.tokens_per_minute)
                patience = Patience(options.timeout, options.total_timeout, options.max_retries)
                self._endpoint = Endpoint(self._url, options.api_key_env, limits, patience)
            return self._endpoint


def _has_too_many(reply: Reply) -> bool:
    from nearfield.encode.remote.answers import said

    return reply.status in (400, 413, 422) and _TOO_MANY.search(said(reply.body)) is not None
