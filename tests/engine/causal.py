"""Tiny seeded language models of several kinds, as pipelines: positions learned and rotated, shared heads, windows."""

from functools import cache
from typing import Any

import transformers
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.tiny import tokenizers
from tests.tiny.common import seeded
from tests.tiny.generation import greedy_config

_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_MODELS: dict[str, Any] = {
    "llama": lambda size: LlamaForCausalLM(LlamaConfig(vocab_size=size, **_GROUPED)),
    "gpt2": lambda size: GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=512, n_embd=32, n_layer=2, n_head=4)),
    "gpt-neox": lambda size: GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=size, **_SMALL)),
    "qwen2": lambda size: Qwen2ForCausalLM(Qwen2Config(vocab_size=size, **_GROUPED)),
    "bloom": lambda size: BloomForCausalLM(BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4)),
    "mistral": lambda size: MistralForCausalLM(MistralConfig(vocab_size=size, sliding_window=8, **_GROUPED)),
    "gemma3": lambda size: Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=size,
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=8,
            **_GROUPED,
        )
    ),
    "mamba": lambda size: MambaForCausalLM(
        MambaConfig(vocab_size=size, hidden_size=32, num_hidden_layers=2, state_size=4)
    ),
}
STEPPED = tuple(name for name in _MODELS if name != "mamba")


@cache
def causal_pipeline(name: str) -> Any:
    """``pipeline("text-generation")`` of one of them."""
    tokenizer = tokenizers.chat()
    model = seeded(lambda: _MODELS[name](len(tokenizer)), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    return transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
