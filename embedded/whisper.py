"""Whisper tiny.en: a CTranslate2 folder into a ``WhisperForConditionalGeneration`` and its processor.

CTranslate2 joins the query, key and value projections into one matrix and leaves the time stamps out of its tokenizer;
both are put back here. The generation config carries what time stamps need: their first token, and the attention heads
that align words with sound (``return_timestamps=True`` and ``"word"``). The package's file holds float16, not int8.

The weights are kept as float32, into which float16 goes exactly: 154 MB for 76. float16 takes two to three times as
long on a CPU, bfloat16 half as long but gets words wrong that float32 gets right.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from embedded import ct2

DTYPE = torch.float32
TIME_STAMPS = 1501
"""0.00 s to 30.00 s in steps of 0.02 s."""
MAX_INITIAL_TIMESTAMP = 50
"""Steps of 0.02 s: the first time stamp is at most 1 s, as in OpenAI's decoder."""


def convert(source: Path, target: Path) -> None:
    """Write weights, config, generation config, tokenizer and feature extractor.

    Args:
        source: folder with ``model.bin``, ``config.json`` and ``tokenizer.json``.
        target: an existing folder.

    Raises:
        ValueError: ``model.bin`` is not what ``ct2.read`` knows, or the tokenizer's ids do not fit the vocabulary.
        RuntimeError: a tensor is missing, left over or of another shape (from torch).
    """
    tensors = ct2.read(source / "model.bin", "WhisperSpec")
    hints = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokenizer = _tokenizer(json.loads((source / "tokenizer.json").read_text(encoding="utf-8")))
    config = _config(tensors, tokenizer)
    if len(tokenizer) != config.vocab_size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model {config.vocab_size}")
    model = WhisperForConditionalGeneration(config)
    weights = {name: torch.tensor(array, dtype=DTYPE) for name, array in _weights(tensors, config)}
    model.load_state_dict(weights, strict=True)
    model.generation_config = _generation_config(hints, tokenizer, config)
    model.save_pretrained(target)
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    WhisperProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(target)


def _config(tensors: ct2.Tensors, tokenizer: WhisperTokenizer) -> WhisperConfig:
    vocabulary, width = tensors["decoder/embeddings/weight"].shape
    heads = int(tensors["encoder/num_heads"])
    inner = tensors["encoder/layer_0/ffn/linear_0/weight"].shape[0]
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    return WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=tensors["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=_layers(tensors, "encoder"),
        decoder_layers=_layers(tensors, "decoder"),
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        max_source_positions=tensors["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=tensors["decoder/position_encodings/encodings"].shape[0],
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=start,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=start,
        begin_suppress_tokens=None,  # of the generation config, as all that steers decoding
    )


def _layers(tensors: ct2.Tensors, side: str) -> int:
    return len({name.split("/")[1] for name in tensors if name.startswith(f"{side}/layer_") and name.count("/") > 2})


def _weights(tensors: ct2.Tensors, config: WhisperConfig) -> Iterator[tuple[str, ct2.Array]]:
    """Every parameter of the transformers model: name and array."""
    for conv in ("conv1", "conv2"):
        yield from _pairs(tensors, f"model.encoder.{conv}", f"encoder/{conv}")
    embedding = tensors["decoder/embeddings/weight"]
    yield "model.decoder.embed_tokens.weight", embedding
    yield "proj_out.weight", embedding
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        yield f"model.{side}.embed_positions.weight", tensors[f"{side}/position_encodings/encodings"]
        yield from _pairs(tensors, f"model.{side}.layer_norm", f"{side}/layer_norm")
        for index in range(layers):
            yield from _layer(tensors, f"model.{side}.layers.{index}", f"{side}/layer_{index}")


def _layer(tensors: ct2.Tensors, ours: str, theirs: str) -> Iterator[tuple[str, ct2.Array]]:
    queries_keys_values = [f"{ours}.self_attn.{part}_proj" for part in "qkv"]
    yield from _joined(tensors, queries_keys_values, f"{theirs}/self_attention/linear_0")
    yield from _pairs(tensors, f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1")
    yield from _pairs(tensors, f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm")
    yield from _pairs(tensors, f"{ours}.fc1", f"{theirs}/ffn/linear_0")
    yield from _pairs(tensors, f"{ours}.fc2", f"{theirs}/ffn/linear_1")
    yield from _pairs(tensors, f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm")
    if f"{theirs}/attention/linear_0/weight" in tensors:  # the decoder's look at the encoder
        keys_values = [f"{ours}.encoder_attn.{part}_proj" for part in "kv"]
        yield from _pairs(tensors, f"{ours}.encoder_attn.q_proj", f"{theirs}/attention/linear_0")
        yield from _joined(tensors, keys_values, f"{theirs}/attention/linear_1")
        yield from _pairs(tensors, f"{ours}.encoder_attn.out_proj", f"{theirs}/attention/linear_2")
        yield from _pairs(tensors, f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm")


def _pairs(tensors: ct2.Tensors, ours: str, theirs: str) -> Iterator[tuple[str, ct2.Array]]:
    """Weight and bias of one linear layer, convolution or norm (``gamma`` and ``beta`` there)."""
    weight, bias = ("gamma", "beta") if theirs.endswith("layer_norm") else ("weight", "bias")
    yield f"{ours}.weight", tensors[f"{theirs}/{weight}"]
    yield f"{ours}.bias", tensors[f"{theirs}/{bias}"]


def _joined(tensors: ct2.Tensors, ours: list[str], theirs: str) -> Iterator[tuple[str, ct2.Array]]:
    """Projections stored as one, rows under each other; Whisper's key projection has no bias (zeros there)."""
    weights = np.split(tensors[f"{theirs}/weight"], len(ours))
    biases = np.split(tensors[f"{theirs}/bias"], len(ours))
    for name, weight, bias in zip(ours, weights, biases, strict=True):
        yield f"{name}.weight", weight
        if not name.endswith("k_proj"):
            yield f"{name}.bias", bias
        elif bias.any():
            raise ValueError(f"{theirs}/bias holds a bias for the keys, which Whisper has not")


def _tokenizer(data: dict[str, Any]) -> WhisperTokenizer:
    """From ``tokenizer.json``, with the special tokens in order of id and the time stamps behind them.

    Order matters: transformers takes the token after the last special one for 0.00 s.
    """
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in data["model"]["merges"]]
    added = sorted(data["added_tokens"], key=lambda token: int(token["id"]))
    end = "<|endoftext|>"
    tokenizer = WhisperTokenizer(
        vocab=data["model"]["vocab"],
        merges=merges,
        pad_token=end,
        extra_special_tokens=[token["content"] for token in added if token["content"] != end],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    stamps = [f"<|{step * 0.02:.2f}|>" for step in range(TIME_STAMPS)]
    tokenizer.add_tokens([AddedToken(stamp, special=False, normalized=False) for stamp in stamps])
    if wrong := [token for token in added if tokenizer.convert_tokens_to_ids(token["content"]) != token["id"]]:
        raise ValueError(f"{len(wrong)} tokens changed their id, the first {wrong[0]}")
    return tokenizer


def _generation_config(hints: dict[str, Any], tokenizer: WhisperTokenizer, config: WhisperConfig) -> GenerationConfig:
    """What ``openai/whisper-tiny.en`` has; ``hints`` is CTranslate2's ``config.json``."""
    return GenerationConfig(
        max_length=config.max_target_positions,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        suppress_tokens=[token for token in hints["suppress_ids"] if token >= 0],
        begin_suppress_tokens=hints["suppress_ids_begin"],
        alignment_heads=hints["alignment_heads"],
        is_multilingual=False,
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP,
        return_timestamps=False,
    )
