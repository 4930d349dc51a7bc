"""Tokenising a question word by word gives what the tokenizer makes of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.normalizers import Lowercase, Sequence
from tokenizers.pre_tokenizers import WhitespaceSplit

from nearfield.encode import words as words_module
from nearfield.encode.models import DEFAULT_ENCODER, find_model
from nearfield.encode.tokens import Tokens
from nearfield.encode.words import Words

MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"


def default() -> Any:
    tokenizer = Tokenizer.from_file(str(find_model(DEFAULT_ENCODER) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


TOKENIZER = default()
WORDS = Words(TOKENIZER)


def whole(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False).ids


PIECES = st.sampled_from(
    ["how", "Do", "VACCINES", "don't", "e-mail", "[CLS]", "[", "SEP]", "##s", "x_y", "\n", "\t", "\0", "\x7f", "naïve",
     "日本", "ß", " ", "\u00a0", "a" * 101, "3.14", "C++", "it's", "\x1b[0m", "unaffable"]
)  # fmt: skip


@given(st.one_of(st.text(st.characters(max_codepoint=127)), st.text(), st.lists(PIECES).map("".join)))
def test_ids_are_those_of_the_whole_text(text: str) -> None:
    assert WORDS.ids(text) in (None, whole(text))
    assert WORDS.ids(text) in (None, whole(text))  # now that its words are known


@pytest.mark.parametrize(
    "text", ["", "how do vaccines protect the body?", "C++ isn't [c]; x_y=3.14", " a  b ", "A" * 120]
)
def test_a_question_is_tokenised_by_words(text: str) -> None:
    assert WORDS.ids(text) == whole(text)


@pytest.mark.parametrize("text", ["naïve", "a\nb", "a\0b", "what is [MASK]?", "word " * 70])
def test_what_is_no_plain_question_is_not(text: str) -> None:
    assert WORDS.ids(text) is None


def test_no_more_words_are_kept_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "MOST", 3)
    words = Words(TOKENIZER)
    for text in ("one two three four", "two five", "six one two"):
        assert words.ids(text) == whole(text)
        assert len(words._known) <= 3


def test_long_words_are_not_kept() -> None:
    words = Words(TOKENIZER)
    assert words.ids("deadbeef" * 8 + " deadbeef") == whole("deadbeef" * 8 + " deadbeef")
    assert list(words._known) == ["deadbeef"]


def test_a_word_is_tokenised_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
            return TOKENIZER.get_added_tokens_decoder()

        def encode(self, text: str, **options: Any) -> Any:
            self.texts.append(text)
            return TOKENIZER.encode(text, **options)

    counting = Counting()
    words = Words(counting)
    assert [words.ids("to be or not to be") for _ in range(2)] == [whole("to be or not to be")] * 2
    assert counting.texts == ["to", "be", "or", "not"]


def add_word(tokenizer: Any) -> None:
    tokenizer.add_tokens([AddedToken("vaccines", normalized=True)])


def normalise_otherwise(tokenizer: Any) -> None:
    tokenizer.normalizer = Sequence([Lowercase()])


def cut_at_spaces(tokenizer: Any) -> None:
    tokenizer.pre_tokenizer = WhitespaceSplit()


@pytest.mark.parametrize("change", [add_word, normalise_otherwise, cut_at_spaces])
def test_another_tokenizer_has_its_own_way(change: Callable[[Any], None]) -> None:
    tokenizer = default()
    assert Words.fit(tokenizer)
    change(tokenizer)
    assert not Words.fit(tokenizer)


@pytest.mark.parametrize("model", ["mean", "cls", "roberta", "xlm-roberta", "mpnet", "distilbert", "static"])
@pytest.mark.parametrize("lower_case", [False, True])
def test_tokenizers_of_all_families(model: str, lower_case: bool) -> None:
    tokens = Tokens(MODELS / model / "tokenizer.json", lower_case=lower_case)
    assert (tokens._words is not None) == (model not in ("roberta", "xlm-roberta"))
    texts = ["How to build clusters.", "is the RIVER building?", "", "river [MASK] _x", "Straße", "a\tb"]
    wanted = [tokens._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert [tokens.ids([text])[0] for text in texts * 2] == wanted * 2
