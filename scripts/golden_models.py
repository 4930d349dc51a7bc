"""Small models with random weights, as folders: what `make_golden_vectors.py` takes the reference's vectors of."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, StaticEmbedding, Transformer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
FAIRSEQ_TOKENS = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}


@dataclass(frozen=True)
class SmallModel:
    """One model: its configuration, its tokenizer, and the modules after the transformer."""

    config: type[PreTrainedConfig]
    tokenizer: str
    settings: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    pooling: str | tuple[str, ...] = "mean"
    dense: tuple[Dense, ...] = ()
    normalised: bool = False
    prompts: dict[str, str] | None = None
    truncate_dim: int | None = None


def dense(into: int, out: int, seed: int, **options: Any) -> Dense:
    """Return a dense layer with random weights."""
    torch.manual_seed(seed)
    return Dense(into, out, init_weight=torch.randn(out, into) * 0.4, **options)


ALL_POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
FAMILIES = {
    # Without a limit, the reference fails beyond the positions that the padding token leaves: 46 of 48.
    "roberta": SmallModel(
        RobertaConfig, "bytes", {"num_attention_heads": 4, "type_vocab_size": 1}, max_length=46, pooling="cls"
    ),
    "xlm-roberta": SmallModel(
        XLMRobertaConfig,
        "unigram",
        {"num_attention_heads": 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
        max_length=40,
        normalised=True,
        prompts={"query": "query: ", "document": "passage: "},
    ),
    "mpnet": SmallModel(
        MPNetConfig,
        "fairseq words",
        # Distances beyond 128, from where on all share a bucket.
        {"num_attention_heads": 4, "max_position_embeddings": 200},
        max_length=198,
        normalised=True,
    ),
    "distilbert": SmallModel(
        DistilBertConfig,
        "words",
        {"n_heads": 2, "activation": "relu"},
        dense=(dense(16, 12, 1), dense(12, 8, 2, bias=False, activation_function=torch.nn.GELU())),
        normalised=True,
    ),
    "all-poolings": SmallModel(
        BertConfig,
        "words",
        {"num_attention_heads": 2},
        pooling=ALL_POOLINGS,
        dense=(dense(96, 10, 3, activation_function=torch.nn.Identity()),),
    ),
    "weightedmean": SmallModel(
        BertConfig,
        "words",
        {"num_attention_heads": 2, "initializer_range": 0.8},
        max_length=16,
        pooling="weightedmean",
        normalised=True,
        prompts={"query": "how to "},
        truncate_dim=6,
    ),
    "mean-sqrt": SmallModel(BertConfig, "words", {"num_attention_heads": 2}, pooling="mean_sqrt_len_tokens"),
}


def make_family(name: str, folder: Path, texts: Iterable[str]) -> None:
    """Write a model of `FAMILIES` as sentence-transformers saves it; its tokenizer is trained on the texts."""
    model = FAMILIES[name]
    tokenizer = TOKENIZERS[model.tokenizer](texts)
    special = FAIRSEQ_TOKENS if "[CLS]" not in tokenizer.get_vocab() else BERT_TOKENS
    torch.manual_seed(len(name))
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 48, "initializer_range": 0.3}
    if model.config is DistilBertConfig:
        sizes |= {"dim": 16, "n_layers": 2, "hidden_dim": 24}
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
    config = model.config(**(sizes | {"pad_token_id": tokenizer.token_to_id(special["pad"])} | model.settings))
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as plain:
        AutoModel.from_config(config).save_pretrained(plain)
        names = {f"{kind}_token": token for kind, token in special.items()}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(plain)
        transformer = Transformer(plain, max_seq_length=model.max_length)
        modules = [transformer, Pooling(16, model.pooling), *model.dense, *([Normalize()] if model.normalised else [])]
        whole = SentenceTransformer(
            modules=modules, prompts=model.prompts, truncate_dim=model.truncate_dim, device="cpu"
        )
        whole.save_pretrained(str(folder), create_model_card=False)


STATIC: dict[str, dict[str, Any]] = {
    "static-embedding": {"prompts": {"query": "search: ", "document": ""}, "truncate_dim": 10},
    "static-embedding-plain": {},
}


def make_static(name: str, folder: Path, texts: Iterable[str]) -> None:
    """Write a model of `STATIC` as sentence-transformers saves it: only the first is normalised."""
    tokenizer = train_words(texts)
    torch.manual_seed(len(name))
    embedding = StaticEmbedding(tokenizer, embedding_weights=torch.randn(tokenizer.get_vocab_size(), 24))
    options = STATIC[name]
    shutil.rmtree(folder, ignore_errors=True)
    whole = SentenceTransformer(modules=[embedding, *([Normalize()] if options else [])], device="cpu", **options)
    whole.save_pretrained(str(folder), create_model_card=False)


def train(
    model: Any, trainer: Any, texts: Iterable[str], special: dict[str, str], **parts: Any
) -> tokenizers.Tokenizer:
    """Return a tokenizer that puts its first and last special token around a text."""
    tokenizer = tokenizers.Tokenizer(model)
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    tokenizer.train_from_iterator(texts, trainer)
    first, last = special["cls"], special["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    return tokenizer


def train_words(texts: Iterable[str], special: dict[str, str] = BERT_TOKENS) -> tokenizers.Tokenizer:
    """Return a WordPiece tokenizer."""
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=list(special.values()), limit_alphabet=60)
    return train(
        models.WordPiece(unk_token=special["unk"]),
        trainer,
        texts,
        special,
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    )


def train_bytes(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """Return a byte-level BPE tokenizer, as RoBERTa's."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(FAIRSEQ_TOKENS.values()), initial_alphabet=alphabet
    )
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return train(models.BPE(), trainer, texts, FAIRSEQ_TOKENS, pre_tokenizer=pieces, decoder=decoders.ByteLevel())


def train_unigram(texts: Iterable[str]) -> tokenizers.Tokenizer:
    """Return a Unigram tokenizer, as XLM-RoBERTa's."""
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=list(FAIRSEQ_TOKENS.values()), unk_token="<unk>")
    return train(
        models.Unigram(),
        trainer,
        texts,
        FAIRSEQ_TOKENS,
        normalizer=normalizers.NFKC(),
        pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    )


TOKENIZERS = {
    "words": train_words,
    "fairseq words": lambda texts: train_words(texts, FAIRSEQ_TOKENS),
    "bytes": train_bytes,
    "unigram": train_unigram,
}


def write_json(path: Path, content: object) -> None:
    """Write a file of JSON, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
