"""Texts to token ids, by tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.words import Words, is_word_piece
from nearfield.errors import InvalidInput

Ids = list[int]

_FEW = 4
"""So many texts are tokenised one by one: waking the tokenizer's threads takes longer."""

_LEAST_WIDTH, _WIDTHS = 24, 8
"""A single text's width is at least the one, and a multiple of the other.

The runtime makes code for each width that it meets, and prepares all its steps anew when the width changes, which takes
a third of a short text's time: nearly all questions have one width so.
"""


class Tokens:
    """The tokenizer of a model; ids hold no special tokens and are not truncated, unless said.

    `special` is false for a model that puts no special tokens around a text, whatever the tokenizer would.
    """

    def __init__(self, path: Path, *, lower_case: bool = False, special: bool = True) -> None:
        from tokenizers import Tokenizer
        from tokenizers.normalizers import Lowercase
        from tokenizers.normalizers import Sequence as InTurn

        try:
            text = path.read_text(encoding="utf-8")
            # The file may hold the truncation and padding of whoever saved it; they are no part of the model.
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises bare Exception
            raise InvalidInput(f"{path} can't be read as a tokenizer: {error}; fetch it again") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._path = path
        self._before, self._after = self._special_tokens() if special else ([], [])
        self.size = self._size()
        self.special = len(self._before) + len(self._after)
        # Each token of WordPiece stands for a character of its own, and BERT's normaliser makes no more characters of
        # one than it has bytes (most: a Hangul syllable's three letters). Of other tokenizers nothing is known.
        self._bounded = is_word_piece(self._tokenizer)
        self._words = Words(self._tokenizer) if Words.fit(self._tokenizer) else None
        if lower_case:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = InTurn([Lowercase(), *([own] if own is not None else [])])

    def _special_tokens(self) -> tuple[Ids, Ids]:
        with self._named_errors():
            marked = self._tokenizer.encode("a")
            plain = len(self._tokenizer.encode("a", add_special_tokens=False).ids)
        if 0 not in marked.special_tokens_mask:
            raise InvalidInput(f"{self._path} has no token for 'a', not even one for what is unknown; fetch it again")
        first = marked.special_tokens_mask.index(0)
        return marked.ids[:first], marked.ids[first + plain :]

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # tokenizers raises bare Exception, such as for an unknown token without an id
            raise InvalidInput(f"{self._path} can't be used: {error}; fetch it again") from None

    def _size(self) -> int:
        """Return what every id is below: the number of tokens, unless the ids have gaps."""
        count: int = self._tokenizer.get_vocab_size()
        if count and self._tokenizer.id_to_token(count) is None and self._tokenizer.id_to_token(count - 1) is not None:
            return count
        return 1 + max(self._tokenizer.get_vocab().values(), default=-1)

    @cached_property
    def unknown(self) -> int | None:
        """The id that stands for what the vocabulary lacks; None if there is none."""
        model = self._tokenizer.model
        if hasattr(model, "unk_token"):
            return None if model.unk_token is None else self._tokenizer.token_to_id(model.unk_token)
        unknown: int | None = json.loads(self._tokenizer.to_str())["model"].get(
            "unk_id"
        )  # Unigram tells it nowhere else
        return unknown

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Return the token ids of each text."""
        with self._named_errors():
            if len(texts) <= _FEW:
                return [self._few(text) for text in texts]
            return [one.ids for one in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _few(self, text: str) -> Ids:
        ids = self._words.ids(text) if self._words is not None else None
        return self._tokenizer.encode(text, add_special_tokens=False).ids if ids is None else ids

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        with self._named_errors():
            return [len(one) for one in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def matrix(self, ids: Sequence[Ids], max_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return padded ids, int64 `(n, width)`, and lengths, int64 `(n,)`, special tokens included and counted.

        Texts beyond `max_length` tokens are truncated to it. What pads is masked, so any id does.

        Raises:
            InvalidInput: the special tokens alone are too many, or the tokenizer's ids have gaps, and one may have
                no vector.
        """
        room = max_length - self.special
        if room < 0:
            raise InvalidInput(
                f"{self._path} puts {self.special} special tokens around a text, and the model's limit is "
                f"{max_length}; its files must belong to the same model"
            )
        rows = [[*self._before, *one[:room], *self._after] for one in ids]
        lengths = [len(row) for row in rows]
        width = max(lengths)
        if len(rows) == 1:
            width = min(max(-(-width // _WIDTHS) * _WIDTHS, _LEAST_WIDTH), max_length)
        matrix = np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64)
        self.check(matrix)
        return matrix, np.array(lengths, dtype=np.int64)

    def check(self, ids: NDArray[np.int64]) -> None:
        """Raise if an id isn't below `size`: what looks it up would read beyond its table.

        Raises:
            InvalidInput: the ids have gaps, which the last ones didn't show.
        """
        if ids.size and ids.max() >= self.size:
            raise InvalidInput(f"{self._path} has an id {ids.max()} among {self.size} tokens; fetch it again")

    def at_most(self, text: str) -> int | None:
        """Return a number that the text's tokens can't exceed, without tokenising; None if there is none known."""
        if not self._bounded:
            return None
        return len(text) if text.isascii() else len(text.encode())
