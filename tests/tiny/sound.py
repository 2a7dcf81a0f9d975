"""Tiny models that speak and play: text-to-audio by a single forward pass (VITS) and by generation (MusicGen)."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from transformers import (
    EncodecConfig,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
    VitsConfig,
    VitsModel,
    VitsTokenizer,
)

from . import tokenizers
from .common import Case, save, seeded


def _vits(directory: Path) -> None:
    letters = ["<pad>", "<unk>", *string.ascii_lowercase, " ", "'", "-", ",", ".", "!", "?"]
    vocab = directory / "vocab.json"
    vocab.write_text(json.dumps({letter: index for index, letter in enumerate(letters)}), encoding="utf-8")
    config = VitsConfig(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        duration_predictor_filter_channels=16,
        use_stochastic_duration_prediction=False,
        prior_encoder_num_flows=2,
        prior_encoder_num_wavenet_layers=2,
        posterior_encoder_num_wavenet_layers=2,
        num_speakers=2,
        speaker_embedding_size=8,
        speaking_rate=0.1,
        noise_scale=0.0,
        noise_scale_duration=0.0,
        pad_token_id=0,
    )
    tokenizer = VitsTokenizer(str(vocab), pad_token="<pad>", unk_token="<unk>", phonemize=False)
    save(directory, seeded(lambda: VitsModel(config)), tokenizer)


def _musicgen(directory: Path) -> None:
    tokenizer = tokenizers.roberta(64)
    text = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=1,
        eos_token_id=2,
    )
    codec = EncodecConfig(
        sampling_rate=16000,
        hidden_size=16,
        num_filters=2,
        upsampling_ratios=[4, 4],
        codebook_size=32,
        codebook_dim=16,
        num_lstm_layers=1,
        target_bandwidths=[20.0],
    )
    start = codec.codebook_size
    decoder = MusicgenDecoderConfig(
        vocab_size=codec.codebook_size,
        num_codebooks=codec.num_quantizers,
        num_hidden_layers=1,
        ffn_dim=32,
        num_attention_heads=2,
        hidden_size=16,
        max_position_embeddings=128,
        pad_token_id=start,
        bos_token_id=start,
    )
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model = seeded(lambda: MusicgenForConditionalGeneration(config), gain=2.0)
    generator = torch.Generator().manual_seed(0)
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_(generator=generator)  # a buffer of zeros: without this all codes sound the same
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=16,
        pad_token_id=start,
        bos_token_id=start,
        decoder_start_token_id=start,
    )
    save(directory, model, tokenizer)


def _texts() -> tuple[str, str, str]:
    """Three things to say, of different lengths."""
    return "hello there", "the river runs by the old house, and on.", "what?"


CASES = (
    Case("text-to-audio-vits", "text-to-audio", _vits, _texts, {"forward_params": {"speaker_id": 1}}, batchable=False),
    Case(
        "text-to-audio-musicgen",
        "text-to-audio",
        _musicgen,
        _texts,
        {"generate_kwargs": {"max_new_tokens": 8}},
    ),
)
