"""Where texts are split, on texts whose sentences are known."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nearfield.encode import load_encoder, passage_input, split_many, split_passages
from nearfield.encode.passages import TITLE_BYTES
from nearfield.encode.protocol import Encoder
from nearfield.encode.sentences import cut
from nearfield.errors import InvalidInput

MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"


class Counting:
    """An encoder whose tokens are words (or what `count` says)."""

    name, dimension, fingerprint = "counting", 1, "counting"

    def __init__(self, max_tokens: int | None) -> None:
        self.max_tokens = max_tokens

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def encoder_of(max_tokens: int | None) -> Encoder:
    return Counting(max_tokens)  # type: ignore[return-value]


def passages(text: str, limit: int, title: str = "") -> list[str]:
    return [text[start:end] for start, end in split_passages(text, encoder_of(limit), title=title)]


@pytest.fixture(scope="module")
def default() -> Encoder:
    return load_encoder()


@pytest.mark.parametrize(
    "sentences",
    [
        ["One is here. ", "Two is there! ", "Is three? ", "Four…"],
        ["Dr. Smith met J. R. Hartley at 3.14 p.m. in St. Ives. ", "They talked, e.g. about fish. ", "Fig. 2 shows."],
        ["She said “Stop.” ", "He did (at once.) ", "*Really!* ", "Yes."],
        ["Wait... and see. ", "Then... ", "Nothing."],
        ["机器学习很有用。", "你知道吗？", "当然！", "好"],
        ["彼は「はい。」", "と言った。", "終わり"],
        ["यह एक है। ", "यह दो है।"],
        ["ما هذا؟ ", "هذا كتاب."],
        ["A paragraph without a stop\n\n", "Another one\n \n", "The last"],
        ["Shopping\n", "- milk 3.5 % fat\n", "- eggs\n", "2. bread is the second\n", "# A heading\n", "Text goes\non."],
        ["Version 2.0.1 of example.org is out. ", "Get it."],
        ["no capitals here. ", "still a sentence. ", "yes"],
    ],
)  # fmt: skip
def test_sentences(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert [text[start:end] for start, end in cut(text, 0, len(text), 0)] == sentences


def test_a_text_that_fits_is_one_passage_as_it_is() -> None:
    texts = ["", " \n ", "short", "  with space around  ", "a b c d e"]
    assert split_many(texts, encoder_of(5)) == [[(0, len(text))] for text in texts]
    assert split_many([], encoder_of(5)) == []


def test_an_encoder_without_a_limit_takes_anything_whole() -> None:
    assert split_passages("a. " * 10_000, encoder_of(None)) == [(0, 30_000)]


def test_whole_sentences_spread_evenly() -> None:
    # Ten sentences of three words; twelve words fit: three passages of 4, 4 and 2, made as even as can be.
    text = " ".join(f"Number {n} is." for n in range(10))
    assert [part.count("is.") for part in passages(text, 12)] == [4, 4, 2]
    assert [part.count("is.") for part in passages(text, 15)] == [5, 5]
    assert all(part.startswith("Number") and part.endswith("is.") for part in passages(text, 12))


def test_a_long_sentence_is_cut_at_lines_then_clauses_then_words() -> None:
    assert passages("one two three\nfour five six", 4) == ["one two three", "four five six"]
    assert passages("one two, three four five, six", 4) == ["one two,", "three four five, six"]
    assert passages("one two three four five six", 4) == ["one two three", "four five six"]
    # Only the long one is cut; its neighbours stay whole.
    assert passages("Short one. Here are five words, then six more. End.", 5) == [
        "Short one.",
        "Here are five words,",
        "then six more. End.",
    ]


def test_white_space_around_passages_is_left_out() -> None:
    text = "\n\n  First sentence here. \n\n\t Second sentence here.  \n"
    assert passages(text, 3) == ["First sentence here.", "Second sentence here."]


def test_words_without_a_break() -> None:
    small = load_encoder(MODELS / "cls")  # 10 tokens fit, and letters are its tokens
    text = "abcdefghijklmnopqrstuvwxyz" * 2
    spans = split_passages(text, small)
    assert [text[start:end] for start, end in spans] == [
        "abcdefghi",
        "jklmnopqr",
        "stuvwxyza",
        "bcdefghij",
        "klmnopqrs",
        "tuvwxyz",
    ]


def test_a_mark_stays_with_its_letter(default: Encoder) -> None:
    text = "e\u0301" * 2000
    spans = split_passages("中" * 300 + text, default)
    assert all(not text.startswith("\u0301", start - 300) for start, _ in spans if start > 300)


def test_chinese_without_stops(default: Encoder) -> None:
    text = "机器学习" * 200
    assert split_passages(text, default) == [(0, 200), (200, 400), (400, 600), (600, 800)]


def test_titles_take_from_the_room() -> None:
    text = " ".join(f"Number {n} is." for n in range(4))
    assert len(passages(text, 12)) == 1
    assert [part.count("is.") for part in passages(text, 12, title="Three words here")] == [2, 2]
    spans = split_many([text, text], encoder_of(12), titles=["Three words here", ""])
    assert list(map(len, spans)) == [2, 1]


def test_what_is_encoded_of_a_title() -> None:
    assert passage_input("  A title ", "text") == "A title\ntext"
    assert passage_input(" ", "text") == "text"
    assert passage_input("A title", "") == "A title\n"
    words = "word " * 100
    assert passage_input(words, "text") == ("word " * (TITLE_BYTES // 5)).strip() + "\ntext"
    assert passage_input("x" * 500, "text") == "x" * TITLE_BYTES + "\ntext"
    assert passage_input("中" * 500, "text") == "中" * (TITLE_BYTES // 3) + "\ntext"


def test_a_title_that_leaves_no_room() -> None:
    with pytest.raises(InvalidInput, match=r"at least a quarter of the encoder's 8 tokens .* leaves 1; shorten it"):
        passages("one two three four", 8, title="a b c d e f g")


def test_titles_and_texts_must_match() -> None:
    with pytest.raises(InvalidInput, match="got 1 for 2 texts"):
        split_many(["a", "b"], encoder_of(5), titles=["t"])
    with pytest.raises(InvalidInput, match="lone surrogate"):
        split_many(["a\ud800"], encoder_of(5))


def test_short_texts_are_not_tokenised(default: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[int]:
        raise AssertionError("tokenised")

    monkeypatch.setattr(type(default), "count_tokens", fail)
    texts = ["a text of some forty-odd characters, no more"] * 20_000
    start = time.perf_counter()
    assert split_many(texts, default) == [[(0, len(text))] for text in texts]
    assert time.perf_counter() - start < 2  # some 20 ms; room for a busy machine


def test_a_very_long_text_takes_no_more_than_its_length(default: Encoder) -> None:
    text = "The first sentence of very many. " * 20_000
    start = time.perf_counter()
    spans = split_passages(text, default)
    assert time.perf_counter() - start < 10  # about one second
    assert len(spans) == -(-20_000 * 7 // 252)


@pytest.mark.parametrize("piece", [".", "? ", "\n", " \n", "- ", "#", "a,", "\u0301", "。", '."', " —", "1. "])
def test_no_run_of_characters_takes_quadratic_time(piece: str) -> None:
    text = "a word " + piece * 100_000 + " and words"
    start = time.perf_counter()
    for unit in range(4):
        assert "".join(text[a:b] for a, b in cut(text, 0, len(text), unit)) == text
    assert time.perf_counter() - start < 5  # well under a second; quadratic time would be minutes
