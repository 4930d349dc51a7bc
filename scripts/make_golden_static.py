"""Make the static models of tests/formats/golden_vectors/ anew with model2vec, their reference.

    ENV/bin/python scripts/make_golden_static.py

ENV is an environment with model2vec. The models have random vectors, and vocabularies trained on the golden texts.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "formats" / "golden_vectors"
sys.path.insert(0, str(ROOT / "tests" / "formats"))

from golden_texts import TEXTS  # noqa: E402  (a test's module, found by the path above)

VERSIONS = {package: version(package) for package in ("model2vec", "tokenizers", "numpy")}
CORPUS = [text for name, text in TEXTS.items() if name != "10,000 words"]


def wordpiece() -> Tokenizer:
    """Return a WordPiece tokenizer to which many letters of the golden texts are unknown."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=["[PAD]", "[UNK]"], limit_alphabet=50)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """Return a Unigram tokenizer, whose unknown token has no name in the API."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    english = [TEXTS[name] for name in ("short", "sentence", "paragraph", "markup")]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(english, trainer)
    return tokenizer


def make_models() -> dict[str, StaticModel]:
    """Return the models by name: one with a vector a token, one with shared vectors that are weighted by token."""
    random = np.random.default_rng(5)
    plain, other = wordpiece(), unigram()
    size, few = plain.get_vocab_size(), 40
    return {
        "static": StaticModel(random.standard_normal((size, 24)).astype(np.float16), plain, normalize=True),
        "static-quantised": StaticModel(
            random.integers(-127, 128, (few, 24)).astype(np.int8),
            other,
            normalize=False,
            weights=random.uniform(0.1, 2, other.get_vocab_size()).astype(np.float32),
            token_mapping=random.integers(0, few, other.get_vocab_size()),
            max_length=100,
        ),
    }


def encode(folder: Path) -> np.ndarray:
    """Return model2vec's vectors of the texts, from halves in float32.

    Its cut of a text at a number of characters, a shortcut before the cut at a number of tokens, is put out of
    action: nearfield doesn't have it.
    """
    halves = json.loads((folder / "config.json").read_text())["embedding_dtype"] == "float16"
    model = StaticModel.from_pretrained(folder, quantize_to="float32" if halves else None)
    model.median_token_length = 10**9
    return np.stack([model.encode(text) for text in TEXTS.values()]).astype(np.float32)


def main() -> None:
    """Write the models and their vectors."""
    for name, model in make_models().items():
        folder = GOLDEN / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        (folder / "made_by.json").write_text(json.dumps(VERSIONS, indent=2) + "\n")
        vectors = encode(folder)
        np.savez_compressed(GOLDEN / f"{name}.npz", documents=vectors, queries=vectors)


if __name__ == "__main__":
    main()
