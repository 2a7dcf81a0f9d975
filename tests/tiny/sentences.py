"""Tiny embedding models, written to disk by sentence-transformers itself, so that its files are the real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification, BertModel, GPT2Config, GPT2Model

from . import tokenizers
from .common import save, seeded
from .text import bert_config

QUERY = "query: what is "
TEXT = "What a great house by the river"
TEXTS = ["I love this film.", TEXT, "The city of Paris is bad for my dog, and the food was terrible in London!"]
LONG = "the dog and the cat " * 15


@dataclass(frozen=True)
class Embedder:
    """How a tiny embedding model makes its vectors.

    Attributes:
        id: unique name, also the folder.
        modes: of sentence-transformers' ``Pooling``.
        dense: width of a ``Dense`` module after it, or 0.
        normalize: whether a ``Normalize`` module ends it.
        causal: a GPT-2 that pads on the left, rather than a BERT.
        prompts: by name.
        default_prompt: the one used where none is asked for.
        include_prompt: whether the prompt's tokens are pooled.
        most: longest text, in tokens.
    """

    id: str
    modes: tuple[str, ...] = ("mean",)
    dense: int = 0
    normalize: bool = False
    causal: bool = False
    prompts: dict[str, str] = field(default_factory=dict, hash=False)
    default_prompt: str | None = None
    include_prompt: bool = True
    most: int = 40


EMBEDDERS = (
    Embedder("plain"),
    Embedder("unit", ("mean",), normalize=True, prompts={"query": QUERY, "passage": "passage: "}),
    Embedder("dense", ("cls", "max"), dense=12, normalize=True),
    Embedder("instructed", ("mean",), prompts={"query": QUERY}, default_prompt="query", include_prompt=False),
    Embedder("weighted", ("weightedmean", "mean_sqrt_len_tokens")),
    Embedder("causal", ("lasttoken",), normalize=True, causal=True, most=60),
)


def embedder(spec: Embedder, root: Path) -> Path:
    """The folder of a tiny embedding model, built once into ``root/<id>``."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    target = root / f"embedder-{spec.id}"
    if target.exists():
        return target
    base = root / f".base-{spec.id}"
    base.mkdir(parents=True)
    _transformer(spec, base)
    width = 32
    modules: list[Any] = [Transformer(str(base), max_seq_length=spec.most)]
    modules.append(Pooling(width, list(spec.modes), include_prompt=spec.include_prompt))
    if spec.dense:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            modules.append(Dense(width * len(spec.modes), spec.dense, activation_function=torch.nn.GELU()))
    if spec.normalize:
        modules.append(Normalize())
    prompts = spec.prompts or None
    model = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name=spec.default_prompt, device="cpu")
    model.save(str(target), create_model_card=False)
    return target


def _transformer(spec: Embedder, folder: Path) -> None:
    if not spec.causal:
        save(folder, seeded(lambda: BertModel(bert_config())), tokenizers.wordpiece())
        return
    tokenizer = tokenizers.gpt2()
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64)
    save(folder, seeded(lambda: GPT2Model(config)), tokenizer)


def reranker(root: Path) -> Path:
    """The folder of a tiny cross-encoder: one number for a pair of texts."""
    target = root / "reranker"
    if not target.exists():
        config = bert_config(num_labels=1)
        save(target, seeded(lambda: BertForSequenceClassification(config), gain=1.5), tokenizers.wordpiece(60))
    return target
