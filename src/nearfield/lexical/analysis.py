"""How text becomes terms, for documents and queries alike."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tantivy

VERSION = 1
"""Of the analysis; an index made by another version is rebuilt."""

# Scripts written without spaces give a term for each character: a whole sentence would otherwise be one term. All
# other letters, digits and marks form words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKENS = rf"[{_UNSPACED}]|[\p{{Alphabetic}}\p{{N}}\p{{M}}--{_UNSPACED}]+"


@cache
def analyzer(*, stop_words: bool = True) -> tantivy.TextAnalyzer:
    """Return the analyser: words and single characters of unspaced scripts, in lower case, stemmed as English.

    The stemmer is Porter's second (Porter 2001, "Snowball"); words of other languages mostly pass unchanged.
    """
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_TOKENS)).filter(tantivy.Filter.lowercase())
    if not stop_words:
        builder = builder.filter(tantivy.Filter.stopword("english"))
    return builder.filter(tantivy.Filter.stemmer("english")).build()


def normalised(text: str) -> str:
    """Return a text with one form for each character (Unicode NFKC): é is one character, and ﬁ is two."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def terms(text: str) -> list[str]:
    """Return the terms of a text, in order, repetitions included.

    >>> terms("Learning K-means: 聚类")
    ['learn', 'k', 'mean', '聚', '类']
    """
    found: list[str] = analyzer().analyze(normalised(text))
    return found


def query_terms(text: str) -> list[str]:
    """Return the terms of a query: without English stop words, unless it has nothing else.

    >>> query_terms("The joy of clustering"), query_terms("To be or not to be")
    (['joy', 'cluster'], ['to', 'be', 'or', 'not', 'to', 'be'])
    """
    found: list[str] = analyzer(stop_words=False).analyze(normalised(text))
    return found or terms(text)
