"""Tiny seeded encoder-decoder models of several kinds, as pipelines: relative positions, tables learned and made."""

from functools import cache
from typing import Any

from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    ProphetNetConfig,
    ProphetNetForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from deployments.legacy import legacy_pipeline
from tests.tiny import tokenizers
from tests.tiny.common import seeded

_T5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_BART: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 512,
}
_PROPHETNET: dict[str, Any] = {
    "hidden_size": 32,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
_MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "t5": (T5ForConditionalGeneration, T5Config, _T5),
    "umt5": (UMT5ForConditionalGeneration, UMT5Config, _T5),
    "bart": (BartForConditionalGeneration, BartConfig, _BART),
    "mbart": (MBartForConditionalGeneration, MBartConfig, _BART),
    "marian": (MarianMTModel, MarianConfig, _BART),
    "pegasus": (PegasusForConditionalGeneration, PegasusConfig, _BART),
    "m2m100": (M2M100ForConditionalGeneration, M2M100Config, {**_BART, "scale_embedding": False}),
    "prophetnet": (ProphetNetForConditionalGeneration, ProphetNetConfig, _PROPHETNET),
}
STEPPED = tuple(name for name in _MODELS if name != "prophetnet")


@cache
def seq2seq_pipeline(name: str, task: str = "text2text-generation") -> Any:
    """The pipeline of one of them; it generates greedily where nothing else is said."""
    tokenizer = tokenizers.chat()
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    special = {"vocab_size": len(tokenizer), "pad_token_id": pad, "eos_token_id": end, "bos_token_id": end}
    kind, config, sizes = _MODELS[name]
    seed = 1 if name in ("umt5", "pegasus") else 0  # with which they say something
    model = seeded(lambda: kind(config(**special, **sizes, decoder_start_token_id=end)), seed, gain=1.5)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=end,
        eos_token_id=end,
        pad_token_id=pad,
        num_beams=1,
        suppress_tokens=tokenizers.unprintable(tokenizer),
    )
    return legacy_pipeline(task, model=model, tokenizer=tokenizer, device="cpu")
