"""sentence-transformers as an encoder: other architectures, and GPUs; needs the extra of the same name."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nearfield.encode.protocol import Vectors
from nearfield.encode.texts import check_texts
from nearfield.errors import InvalidInput, MissingDependency


class SentenceTransformersEncoder:
    """An `Encoder` that runs a `SentenceTransformer`, on the device of your choice.

    Its vectors are those of `encode_document` and `encode_query`. For a model that the built-in runtime can run too,
    the fingerprints nevertheless differ: a collection stays with the encoder that it was made with.
    """

    def __init__(
        self, model: Any, *, device: str | None = None, truncate_dim: int | None = None, download: bool = False
    ) -> None:
        """Load a model, or take one that is loaded.

        Args:
            model: A model's name or folder, or a `SentenceTransformer`.
            device: "cpu", "cuda", …; sentence-transformers chooses if not given.
            truncate_dim: Cut vectors to this length; what the model says if not given. Leave it out for one that is
                loaded, which has its own.
            download: Fetch the model from the Hugging Face hub if it is not on this machine.

        Raises:
            MissingDependency: sentence-transformers is not installed, or the model is not on this machine.
            InvalidInput: the model can't be loaded on that device or can't be cut to that length, or it yields no
                vector for a text.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependency(
                f"this encoder needs sentence-transformers ({error}): pip install 'nearfield[sentence-transformers]'"
            ) from None
        if truncate_dim is not None and (type(truncate_dim) is not int or truncate_dim < 1):
            raise InvalidInput(f"truncate_dim must be an int of at least 1, got {truncate_dim!r}")
        if isinstance(model, str | Path):
            self._name = str(model)
            options = {"device": device, "truncate_dim": truncate_dim, "local_files_only": not download}
            self._model = _loaded(SentenceTransformer, self._name, options)
            if truncate_dim is not None and self.dimension < truncate_dim:
                raise InvalidInput(f"truncate_dim must be at most {self.dimension}, got {truncate_dim}")
        elif not isinstance(model, SentenceTransformer):
            raise InvalidInput(f"model must be a name, a folder or a SentenceTransformer, got {type(model).__name__}")
        elif device is not None or truncate_dim is not None:
            raise InvalidInput("device and truncate_dim are for a name or a folder; a SentenceTransformer has its own")
        else:
            self._name, self._model = _name_of(model), model

    @property
    def name(self) -> str:
        """What the user called the model."""
        return self._name

    @cached_property
    def dimension(self) -> int:
        """Length of every vector."""
        return int(self.encode_documents([""]).shape[1])

    @cached_property
    def max_tokens(self) -> int | None:
        """How many tokens fit beside the special tokens and the longest prompt; None: the model has no limit."""
        limit = self._model.max_seq_length
        if limit is None or limit == math.inf:
            return None
        prompts = [text for text in self._model.prompts.values() if text]
        return int(limit) - len(self._ids("", special=True)) - max(self.count_tokens(prompts), default=0)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the parameters and buffers, the modules' settings, prompts and token limit, in hexadecimal."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
        vocabulary = self._model.tokenizer.get_vocab()
        settings = {
            "modules": [repr(module) for module in self._model],
            "prompts": dict(self._model.prompts),
            "max_length": self._model.max_seq_length,
            "vocabulary": sorted(vocabulary.items()),
            # Left out where there is none: the fingerprint of such a model was made without it.
            **({} if self._model.truncate_dim is None else {"truncate_dim": self._model.truncate_dim}),
        }
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a collection records of the model beside the fingerprint; see `nearfield.encode.identity`."""
        prompts = self._model.prompts
        revision = getattr(self._model.model_card_data, "base_model_revision", None)
        kinds = sorted({str(one.dtype).removeprefix("torch.") for one in self._model.parameters()})
        return {
            "revision": revision,
            "modules": [repr(module) for module in self._model],
            "prompts": {"document": prompts.get("document") or "", "query": prompts.get("query") or ""},
            "precision": " and ".join(kinds) or None,
            "library": "sentence-transformers",
        }

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, without special tokens, prompt and truncation."""
        return [len(self._ids(text, special=False)) for text in check_texts(texts)]

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, with the model's document prompt."""
        return self._encode(self._model.encode_document, texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of queries, with the model's query prompt."""
        return self._encode(self._model.encode_query, texts)

    def _encode(self, encode: Any, texts: Sequence[str]) -> Vectors:
        checked = check_texts(texts)
        if not checked:
            return np.empty((0, self.dimension), np.float32)
        return np.asarray(encode(checked, show_progress_bar=False, convert_to_numpy=True), dtype=np.float32)

    def _ids(self, text: str, *, special: bool) -> list[int]:
        tokenizer = self._model.tokenizer
        if not callable(tokenizer):  # a static model has one of the package tokenizers
            return list(tokenizer.encode(text, add_special_tokens=special).ids)
        found = tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)
        return list(found["input_ids"])


def _loaded(kind: Any, name: str, options: dict[str, Any]) -> Any:
    """Return a `SentenceTransformer`; whatever it fails with is named."""
    try:
        return kind(name, **options)
    except (OSError, ImportError) as error:
        raise MissingDependency(
            f"sentence-transformers can't load {name!r}: {error}; name a folder, or pass download=True"
        ) from error
    except Exception as error:  # PyTorch's for a device, those of safetensors, tokenizers and transformers for a file
        raise InvalidInput(
            f"sentence-transformers can't load {name!r} with device {options['device']!r}: "
            f"{type(error).__name__}: {error}; name a device that PyTorch has here, and fetch damaged files again"
        ) from error


def _name_of(model: Any) -> str:
    return str(getattr(model.model_card_data, "base_model", None) or "sentence-transformers model")
