"""Whatever the text: passages are in order, disjoint, complete, and within the limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfield.encode import load_encoder, passage_input, split_many, split_passages
from nearfield.encode.protocol import Encoder

MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"


class Thirds:
    """A token for every third character: the tokens of two texts together may be more than the sum of theirs."""

    name, dimension, fingerprint, max_tokens = "thirds", 1, "thirds", 5

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // 3 for text in texts]


ENCODERS: dict[str, Encoder] = {
    "WordPiece": load_encoder(MODELS / "cls"),
    "not additive": Thirds(),  # type: ignore[dict-item]
}
pieces = st.sampled_from(
    ["the river ", "is ", "building. ", "how? ", "\n", "\n\n", "- ", ", ", "abcdefghijklmnop", "e.g. ", "中文。",
     "한국", "🎉", "e\u0301", "\u200d", " ", "…", "1.5 ", "x" * 120]
)  # fmt: skip
texts = st.one_of(
    st.lists(pieces, max_size=40).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
)


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, title=st.sampled_from(["", "the river", "how"]))
def test_passages_hold_the_text(name: str, text: str, title: str) -> None:
    encoder = ENCODERS[name]
    title = title if name == "WordPiece" else title[:3]
    limit = encoder.max_tokens
    assert limit is not None
    spans = split_passages(text, encoder, title=title)
    assert spans
    if encoder.count_tokens([passage_input(title, text)])[0] <= limit:
        assert spans == [(0, len(text))]
        return
    reached = 0
    for start, end in spans:
        assert reached <= start <= end <= len(text)
        assert text[reached:start].strip() == "", "a character is in no passage"
        assert text[start:end] == text[start:end].strip()
        reached = end
    assert text[reached:].strip() == "", "a character is in no passage"
    for (start, end), count in zip(
        spans, encoder.count_tokens([passage_input(title, text[a:b]) for a, b in spans]), strict=True
    ):
        assert count <= limit or end - start == 1


@settings(max_examples=30, deadline=None)
@given(many=st.lists(texts, max_size=6))
def test_a_batch_is_split_like_each_of_its_texts(many: list[str]) -> None:
    encoder = ENCODERS["WordPiece"]
    titles = ["the river"] * len(many)
    assert split_many(many, encoder, titles=titles) == [
        split_passages(text, encoder, title="the river") for text in many
    ]


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_the_bound_on_tokens_holds(text: str) -> None:
    encoder = ENCODERS["WordPiece"]
    bound = encoder.tokens_at_most(text)  # type: ignore[attr-defined]
    assert bound >= encoder.count_tokens([text])[0]
