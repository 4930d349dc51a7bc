"""Token ids of a question, word by word: most of its words have been met before."""

from __future__ import annotations

import re
from typing import Any

LONGEST = 300
"""Characters of a question; a longer text is tokenised as a whole."""

MOST, WIDEST = 10_000, 24
"""How many words are kept, and of how many characters at most: some 2 MB."""

_WORD = re.compile("[A-Za-z0-9]+|[^A-Za-z0-9 ]")


def is_word_piece(tokenizer: Any) -> bool:
    """Whether a tokenizer is WordPiece over what BERT's normaliser makes of a text, or over the text as it is."""
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer

    return isinstance(tokenizer.model, WordPiece) and isinstance(tokenizer.normalizer, BertNormalizer | None)


class Words:
    """What a tokenizer of BERT's makes of words; may be used from several threads at once.

    Its pre-tokenizer cuts ASCII text at spaces, and at signs, which are words of their own. WordPiece looks at each
    word alone, so a word has the same ids in every text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._marks = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values())
        self._known: dict[str, list[int]] = {}

    @staticmethod
    def fit(tokenizer: Any) -> bool:
        """Whether a tokenizer cuts text in this way."""
        from tokenizers.pre_tokenizers import BertPreTokenizer

        return (
            is_word_piece(tokenizer)
            and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
            # These are looked for in what the normaliser makes of a text.
            and not any(token.normalized for token in tokenizer.get_added_tokens_decoder().values())
        )

    def ids(self, text: str) -> list[int] | None:
        """Return a question's ids, without special tokens; None if it must be tokenised as a whole."""
        if len(text) > LONGEST or not (text.isascii() and text.isprintable()):
            return None
        for mark in self._marks:
            if mark in text:
                return None
        ids: list[int] = []
        for word in _WORD.findall(text):
            found = self._known.get(word)
            ids += self._learn(word) if found is None else found
        return ids

    def _learn(self, word: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= WIDEST:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[word] = ids
        return ids
