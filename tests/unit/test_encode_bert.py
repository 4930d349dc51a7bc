"""What the built-in encoder does with batches, threads and bad input."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest

from nearfield.encode import bert as bert_module
from nearfield.encode import latency, load_encoder
from nearfield.encode.bert import BertEncoder
from nearfield.encode.runtime import Runner
from nearfield.encode.sentence_transformers import SentenceTransformersEncoder
from nearfield.encode.tokens import Tokens
from nearfield.errors import InvalidInput, MissingDependency

MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"
WORDS = ["how", "to", "build", "clusters", ".", "is", "the", "river", "building", "?"]


@pytest.fixture
def small() -> BertEncoder:
    encoder = load_encoder(MODELS / "mean", precision="float32")
    assert isinstance(encoder, BertEncoder)
    return encoder


def random_texts(count: int) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(WORDS, random.integers(0, 12))) + f" {row}" for row in range(count)]


def test_the_callers_order_is_kept_whatever_the_batches(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_texts(60)
    alone = np.concatenate([small.encode_documents([text]) for text in texts])
    assert len(np.unique(alone.round(4), axis=0)) > 50
    for few in (10**9, 0):  # both graphs
        monkeypatch.setattr(bert_module, "FEW_TOKENS", few)
        for size in (1, 40, 10**6):
            monkeypatch.setattr(bert_module, "BATCH_TOKENS", size)
            np.testing.assert_allclose(small.encode_documents(texts), alone, atol=1e-5)


def test_batches_hold_little_padding(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_module, "FEW_TOKENS", 0)
    monkeypatch.setattr(bert_module, "BATCH_TOKENS", 120)
    shapes, tokens = [], 0
    matrix = Tokens.matrix

    def note(self: Tokens, *args: object) -> object:
        nonlocal tokens
        ids, lengths = matrix(self, *args)  # type: ignore[arg-type]
        shapes.append(ids.shape)
        tokens += int(lengths.sum())
        return ids, lengths

    monkeypatch.setattr(Tokens, "matrix", note)
    small.encode_documents(random_texts(200))
    cells = sum(rows * length for rows, length in shapes)
    assert all(rows * length <= 120 for rows, length in shapes)
    assert tokens <= cells <= 1.1 * tokens


def test_duplicates_are_encoded_once(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    matrix = Tokens.matrix
    monkeypatch.setattr(
        Tokens, "matrix", lambda self, ids, longest: (given.append(len(ids)), matrix(self, ids, longest))[1]
    )
    vectors = small.encode_documents(["river", "build", "river", "river"])
    assert sum(given) == 2
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert not np.array_equal(vectors[0], vectors[1])


def test_several_threads_at_once(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bert_module, "FEW_TOKENS", 300)
    jobs = [random_texts(count) for count in (1, 80, 3, 120, 2, 60, 1, 100)]
    wanted = [small.encode_documents(texts) for texts in jobs]
    with ThreadPoolExecutor(8) as threads:
        for found, right in zip(threads.map(small.encode_documents, jobs * 3), wanted * 3, strict=True):
            np.testing.assert_allclose(found, right, atol=1e-5)


def note_compiled(encoder: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that will tell for what graphs are compiled."""
    hints: list[str] = []
    compile_graph = encoder._compile

    def note(graph: Any, hint: str) -> Runner:
        hints.append(hint)
        return compile_graph(graph, hint)

    monkeypatch.setattr(encoder, "_compile", note)
    return hints


@pytest.mark.parametrize(("few", "hint"), [(4, "THROUGHPUT"), (5, "LATENCY")])
def test_a_long_text_alone_has_the_graph_for_many(
    small: BertEncoder, monkeypatch: pytest.MonkeyPatch, few: int, hint: str
) -> None:
    wanted = load_encoder(MODELS / "mean", precision="float32").encode_queries(["how to build", "river"])[0]
    monkeypatch.setattr(bert_module, "FEW_TOKENS", few)
    compiled = note_compiled(small, monkeypatch)
    found = small.encode_queries(["how to build"])  # five tokens with [CLS] and [SEP]
    assert found.shape == (1, small.dimension)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert compiled == [hint]


def of_width(encoder: BertEncoder, width: int) -> str:
    """Return a text of so many tokens, padding to a multiple of eight included."""
    texts = [" ".join(["river"] * words) for words in range(1, width)]
    counts = encoder.count_tokens(texts)
    return next(text for text, tokens in zip(texts, counts, strict=True) if width - 8 < tokens + 2 <= width)


def test_a_question_compiles_one_graph_and_the_second_width_all(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(MODELS / "mean-sqrt", precision="float32")
    assert isinstance(encoder, BertEncoder)
    texts = {width: of_width(encoder, width) for width in (16, 24, 32, 40)}
    compiled = note_compiled(encoder, monkeypatch)
    encoder.encode_queries([texts[24]])
    encoder.encode_queries([texts[24] + "?"])
    assert len(compiled) == 1
    encoder.encode_queries(["river", texts[16]])  # several: the graph for all shapes
    encoder.encode_queries([texts[40]])  # wider than those with a graph of their own
    assert len(compiled) == 2
    for text in texts.values():
        encoder.encode_queries([text])
    encoder.encode_documents(["river", texts[16]])
    assert len(compiled) == 3


@pytest.mark.parametrize(
    ("model", "precision"),
    [("default", "auto"), ("lasttoken", "auto")]
    + [(model, "float32") for model in ("mean-sqrt", "lasttoken", "all-poolings", "mpnet", "xlm-roberta")],
)
def test_a_vector_does_not_depend_on_what_was_compiled_before(model: str, precision: str) -> None:
    def fresh() -> BertEncoder:
        encoder = load_encoder(None if model == "default" else MODELS / model, precision=precision)
        assert isinstance(encoder, BertEncoder)
        return encoder

    used = fresh()
    widths = [width for width in (16, 24, 32, 40) if width <= used.max_tokens + 2]
    calls = [*([of_width(used, width)] for width in widths), ["river", "how to build clusters ."]]
    together = [[used.encode_queries(texts) for texts in calls] for _ in range(2)][1]
    assert used._latency._together is not None
    for texts, found in zip(calls, together, strict=True):
        np.testing.assert_array_equal(fresh().encode_queries(texts), found)


@pytest.mark.parametrize("wrong", [np.nan, 0.0, 1.1])
@pytest.mark.parametrize("what", ["run", "run_one"])
def test_branches_that_compute_something_else_are_not_used(
    monkeypatch: pytest.MonkeyPatch, what: str, wrong: float
) -> None:
    encoder, other = (load_encoder(MODELS / "mean-sqrt", precision="float32") for _ in range(2))
    assert isinstance(encoder, BertEncoder)
    texts = [of_width(encoder, width) for width in (16, 24, 32, 40)]
    wanted = [other.encode_queries([text]) for text in texts]
    right: Any = getattr(latency._Together, what)
    if what == "run":
        monkeypatch.setattr(latency._Together, what, lambda *given: (found * wrong for found in right(*given)))
    else:
        monkeypatch.setattr(latency._Together, what, lambda *given: right(*given) * wrong)
    compiled = note_compiled(encoder, monkeypatch)
    for _ in range(2):
        for text, vectors in zip(texts, wanted, strict=True):
            np.testing.assert_array_equal(encoder.encode_queries([text]), vectors)
    assert len(compiled) == 5  # the three widths, all shapes, and once all together


def test_graphs_stay_apart_if_they_cannot_be_compiled_together(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, other = (load_encoder(MODELS / "mean-sqrt", precision="float32") for _ in range(2))
    assert isinstance(encoder, BertEncoder)
    texts = [of_width(encoder, width) for width in (16, 24, 32, 40)]
    wanted = [other.encode_queries([text]) for text in texts]
    tried = []

    def fail(*_: object) -> Any:
        tried.append(1)
        raise RuntimeError("Exception from src/inference")

    monkeypatch.setattr(latency, "_branches", fail)
    for _ in range(2):
        for text, vectors in zip(texts, wanted, strict=True):
            np.testing.assert_array_equal(encoder.encode_queries([text]), vectors)
    assert len(tried) == 1


def test_a_graph_that_is_there_is_used_while_others_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(MODELS / "mean-sqrt", precision="float32")
    assert isinstance(encoder, BertEncoder)
    short, long = (of_width(encoder, width) for width in (16, 24))
    wanted = encoder.encode_queries([short])
    joining, used, branches = Event(), Event(), latency._branches

    def wait(*given: Any) -> Any:
        joining.set()
        assert used.wait(60)
        return branches(*given)

    monkeypatch.setattr(latency, "_branches", wait)
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(encoder.encode_queries, [long])
        assert joining.wait(60)
        np.testing.assert_array_equal(encoder.encode_queries([short]), wanted)
        used.set()
        assert second.result(60).shape == (1, encoder.dimension)
    assert encoder._latency._together is not None


@pytest.mark.parametrize("attempt", range(3))
def test_threads_that_ask_at_once_for_graphs_that_are_not_there(attempt: int) -> None:
    encoder, other = (load_encoder(MODELS / "mean-sqrt", precision="float32") for _ in range(2))
    assert isinstance(encoder, BertEncoder)
    calls = [[of_width(encoder, width)] for width in (16, 24, 32, 40)] + [["river", "how to build"]]
    wanted = [other.encode_queries(texts) for texts in calls]
    start = Barrier(10)

    def encode(number: int) -> None:
        start.wait()
        for place in range(number, number + 10):
            found = encoder.encode_queries(calls[place % len(calls)])
            np.testing.assert_array_equal(found, wanted[place % len(calls)])

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(encode, range(attempt, attempt + 10)))


def test_widths_beyond_the_models_limit_have_no_graph(small: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small.max_tokens == 22  # a 25th token would have no position
    texts = [*(of_width(small, width) for width in (16, 24)), "river " * 40]
    widths, build = set(), small._build
    monkeypatch.setattr(small, "_build", lambda width: [widths.add(width), build(width)][1])
    for text in texts:
        small.encode_queries([text])
    assert widths == {None, 16, 24}


def test_vectors_of_one_text_stay_as_they_were_when_the_next_is_encoded(small: BertEncoder) -> None:
    first = small.encode_queries(["river"])
    kept = first.copy()
    small.encode_queries(["how to build clusters"])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("seconds", "times"), [(1000.0, 1), (0.0, 4)])
def test_the_files_memory_is_given_back_now_and_then(
    small: BertEncoder, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int
) -> None:
    monkeypatch.setattr(bert_module, "LET_GO", seconds)
    given: list[None] = []
    monkeypatch.setattr(type(small._weights), "let_go", lambda _: given.append(None))
    wanted = small.encode_documents(["river", "build"])
    for text in ("river", "build"):
        small.encode_documents([text])
    np.testing.assert_allclose(small.encode_documents(["river", "build"]), wanted, atol=1e-5)
    assert len(given) == times


def test_no_texts_and_the_limit() -> None:
    encoder = load_encoder()
    assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, 384)
    assert encoder.encode_documents([]).dtype == np.float32
    assert (encoder.dimension, encoder.max_tokens) == (384, 254)
    # [CLS] and [SEP] are not counted, and neither padding nor truncation of tokenizer.json is applied.
    assert encoder.count_tokens(["", "a b c", "a " * 1000]) == [0, 3, 1000]


def test_a_prompt_takes_from_the_limit() -> None:
    # "query: " has 2 tokens, "the document: " 3; 20 less [CLS] and [SEP] less 3.
    assert load_encoder(MODELS / "max").max_tokens == 15


def test_a_bound_on_tokens_without_tokenising(small: BertEncoder) -> None:
    default = load_encoder()
    assert isinstance(default, BertEncoder)
    for encoder in (small, default):
        for text in (
            "",
            "a.b.c",
            "how to build",
            "한국어 문장",
            "İstanbul ﬃ ½",
            "👩‍👩‍👧",
            "ো ক়",
            "机器学习",
            "\u1e9b\u0323",
        ):
            bound = encoder.tokens_at_most(text)
            assert bound is not None and bound >= encoder.count_tokens([text])[0], text


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "got one str; put it in a list"),
        (7, "got int"),
        ([None], r"texts\[0\] must be a str, got NoneType"),
        (["a", 2], r"texts\[1\] must be a str, got int"),
        (["a", "b\ud800c"], r"texts\[1\] has a lone surrogate, '\\ud800', at character 1"),
    ],
)
def test_what_is_no_text(small: BertEncoder, texts: list[str], message: str) -> None:
    for method in (small.encode_documents, small.encode_queries, small.count_tokens):
        with pytest.raises(InvalidInput, match=message):
            method(texts)


def test_an_unknown_precision() -> None:
    with pytest.raises(InvalidInput, match="one of 'auto', 'float32', 'bfloat16', 'int8', got 'int4'"):
        load_encoder(precision="int4")


def test_an_encoder_object_is_taken_as_it_is(small: BertEncoder) -> None:
    assert load_encoder(small) is small
    with pytest.raises(InvalidInput, match="precision is for models"):
        load_encoder(small, precision="float32")


def test_an_object_that_is_no_encoder() -> None:
    class Half:
        name = "half"
        dimension = 3

        def encode_documents(self, texts: list[str]) -> list[str]:
            return texts

    with pytest.raises(InvalidInput, match="got Half, which lacks encode_queries"):
        load_encoder(Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="got int, which lacks"):
        load_encoder(7)  # type: ignore[arg-type]


def test_sentence_transformers_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependency, match=r"pip install 'nearfield\[sentence-transformers\]'"):
        SentenceTransformersEncoder("all-MiniLM-L6-v2")
