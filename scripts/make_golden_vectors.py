"""Make tests/formats/golden_vectors/ anew with sentence-transformers, the reference of the built-in runtime.

    ENV/bin/python scripts/make_golden_vectors.py MODEL_FOLDER

ENV is an environment with sentence-transformers; MODEL_FOLDER holds all-MiniLM-L6-v2. Each text is encoded alone, in
float32 on the processor. Besides, small models with random weights are made, for the settings that all-MiniLM-L6-v2
doesn't have: four whose files are written here one by one, in the layouts of older versions, and those of
`golden_models.py` as sentence-transformers saves them. They are kept as folders together with their vectors.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import sentence_transformers
import tokenizers
import torch
import transformers
from golden_models import FAMILIES, STATIC, make_family, make_static, write_json
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "formats" / "golden_vectors"
sys.path.insert(0, str(ROOT / "tests" / "formats"))

from golden_texts import TEXTS  # noqa: E402  (a test's module, found by the path above)

VERSIONS = {
    "python": platform.python_version(),
    "sentence-transformers": sentence_transformers.__version__,
    "transformers": transformers.__version__,
    "tokenizers": tokenizers.__version__,
    "torch": torch.__version__,
    "numpy": np.__version__,
}

# name → (config.json, 1_Pooling/config.json, normalised, other files)
SMALL_MODELS = {
    "cls": (
        {"hidden_act": "gelu_new", "num_attention_heads": 2, "layer_norm_eps": 1e-5},
        {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        False,
        {"sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": True}},
    ),
    "max": (
        {"hidden_act": "relu", "num_attention_heads": 4, "type_vocab_size": 1},
        {"embedding_dimension": 16, "pooling_mode": "max", "include_prompt": True},
        True,
        {
            "sentence_bert_config.json": {"max_seq_length": 20, "do_lower_case": False},
            "config_sentence_transformers.json": {
                "prompts": {"query": "query: ", "document": "the document: "},
                "default_prompt_name": None,
                "similarity_fn_name": "cosine",
            },
        },
    ),
    "lasttoken": (
        {"hidden_act": "gelu", "num_attention_heads": 1},
        {"embedding_dimension": 16, "pooling_mode": "lasttoken", "include_prompt": True},
        False,
        {},
    ),
    "mean": ({"hidden_act": "gelu_pytorch_tanh", "num_attention_heads": 8}, None, False, {}),
}


def small_vocabulary() -> dict[str, int]:
    """Return a WordPiece vocabulary: letters, and a few words."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    words += ["the", "to", "is", "##ing", "how", "build", "clusters", ":", ".", "?", ",", "query", "document", "river"]
    return {word: place for place, word in enumerate(words)}


def small_tokenizer(lower_case: bool) -> tokenizers.Tokenizer:
    """Return BERT's tokenizer with the small vocabulary."""
    vocabulary = small_vocabulary()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def make_small_model(name: str) -> Path:
    """Write a model with random weights as a sentence-transformers folder, and return the folder."""
    config, pooling, normalised, others = SMALL_MODELS[name]
    folder = GOLDEN / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(len(name))
    sizes = {"vocab_size": len(small_vocabulary()), "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
    # A wide initial spread: differences between texts must not drown in rounding.
    settings = {"type_vocab_size": 2, "max_position_embeddings": 24, "initializer_range": 0.3, **sizes, **config}
    BertModel(BertConfig(**settings), add_pooling_layer=False).save_pretrained(folder)
    small_tokenizer(lower_case=name != "cls").save(str(folder / "tokenizer.json"))
    special = {f"{word.lower()}_token": f"[{word}]" for word in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    if pooling is not None:
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalised else [])]
        listed = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds)
        ]
        write_json(folder / "modules.json", listed)
        write_json(folder / "1_Pooling" / "config.json", pooling)
    for path, content in others.items():
        write_json(folder / path, content)
    return folder


def encode(folder: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """Return the reference's vectors of documents and queries, float32 `(n, d)`, each text encoded alone."""
    model = SentenceTransformer(str(folder), device="cpu")
    return {
        "documents": np.stack([model.encode_document(text, show_progress_bar=False) for text in texts]),
        "queries": np.stack([model.encode_query(text, show_progress_bar=False) for text in texts]),
    }


def main() -> None:
    """Write all golden vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of all-MiniLM-L6-v2")
    folder = parser.parse_args().model
    GOLDEN.mkdir(parents=True, exist_ok=True)
    texts = list(TEXTS.values())
    # Queries have no prompt here: they would be the documents' vectors again.
    np.savez_compressed(GOLDEN / "all-MiniLM-L6-v2.npz", documents=encode(folder, texts)["documents"])
    for name in SMALL_MODELS:
        np.savez_compressed(GOLDEN / f"{name}.npz", **encode(make_small_model(name), texts))
    # The longest text would crowd the small vocabularies with its words.
    corpus = [text for name, text in TEXTS.items() if name != "10,000 words"]
    for name in FAMILIES:
        make_family(name, GOLDEN / "models" / name, corpus)
        np.savez_compressed(GOLDEN / f"{name}.npz", **encode(GOLDEN / "models" / name, texts))
    for name in STATIC:
        make_static(name, GOLDEN / "models" / name, corpus)
        np.savez_compressed(GOLDEN / f"{name}.npz", **encode(GOLDEN / "models" / name, texts))
    write_json(GOLDEN / "versions.json", VERSIONS)


if __name__ == "__main__":
    main()
