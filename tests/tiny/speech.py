"""Tiny models that listen: classification, transcription, zero-shot classification."""

from __future__ import annotations

import json
import string
from pathlib import Path

from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from . import samples, tokenizers
from .common import Case, labels, save, seeded

WAV2VEC2 = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (32, 32, 32),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}


def _extractor() -> Wav2Vec2FeatureExtractor:
    """Normalises the samples and marks the padding."""
    return Wav2Vec2FeatureExtractor(sampling_rate=16000, do_normalize=True, return_attention_mask=True)


def _audio_classes(directory: Path) -> None:
    config = Wav2Vec2Config(**WAV2VEC2, classifier_proj_size=16, **labels(["speech", "music", "noise", "silence"]))
    save(directory, seeded(lambda: Wav2Vec2ForSequenceClassification(config), gain=2.0), _extractor())


def _ctc(directory: Path) -> None:
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *string.ascii_uppercase]
    vocab = directory / "vocab.json"
    vocab.write_text(json.dumps({letter: index for index, letter in enumerate(letters)}), encoding="utf-8")
    config = Wav2Vec2Config(vocab_size=len(letters), **WAV2VEC2, pad_token_id=0)
    processor = Wav2Vec2Processor(feature_extractor=_extractor(), tokenizer=Wav2Vec2CTCTokenizer(str(vocab)))
    save(directory, seeded(lambda: Wav2Vec2ForCTC(config), gain=2.0), processor)


def _whisper(directory: Path) -> None:
    tokenizer = tokenizers.whisper()
    number = tokenizer.convert_tokens_to_ids
    end, start = number("<|endoftext|>"), number("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=200,
        max_target_positions=64,
        tie_word_embeddings=False,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    model = seeded(lambda: WhisperForConditionalGeneration(config), gain=2.0)
    unreadable = [index for index in tokenizers.unprintable(tokenizer) if index < end]
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={"<|en|>": number("<|en|>"), "<|fr|>": number("<|fr|>")},
        task_to_id={"translate": number("<|translate|>"), "transcribe": number("<|transcribe|>")},
        no_timestamps_token_id=number("<|notimestamps|>"),
        max_initial_timestamp_index=25,
        begin_suppress_tokens=[end],
        suppress_tokens=[*unreadable, *range(start, number("<|notimestamps|>"))],
        return_timestamps=False,
        alignment_heads=[[0, 0], [1, 1]],
        prev_sot_token_id=number("<|startofprev|>"),
    )
    processor = WhisperProcessor(
        feature_extractor=WhisperFeatureExtractor(feature_size=80, chunk_length=4), tokenizer=tokenizer
    )
    save(directory, model, processor)


def _clap(directory: Path) -> None:
    tokenizer = tokenizers.roberta(64)
    text = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=80,
        projection_dim=16,
    )
    audio = ClapAudioConfig(
        hidden_size=32,
        patch_embeds_hidden_size=16,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        num_hidden_layers=2,
        window_size=4,
        spec_size=64,
        num_mel_bins=16,
        patch_size=4,
        patch_stride=[4, 4],
        num_classes=4,
        projection_dim=16,
    )
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=16)
    extractor = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16000,
        max_length_s=2,
        frequency_max=8000,
        fft_window_size=512,
        hop_length=160,
        truncation="rand_trunc",  # random only for sounds longer than max_length_s
    )
    save(directory, seeded(lambda: ClapModel(config), gain=2.0), ClapProcessor(extractor, tokenizer))


CASES = (
    Case(
        "audio-classification-wav2vec2",
        "audio-classification",
        _audio_classes,
        samples.recordings,
        {"top_k": 1},
    ),
    Case(
        "asr-wav2vec2",
        "automatic-speech-recognition",
        _ctc,
        samples.recordings,
        {"return_timestamps": "char"},
        batchable=False,
    ),
    Case(
        "asr-whisper",
        "automatic-speech-recognition",
        _whisper,
        samples.recordings,
        {"return_timestamps": True},
        always={"generate_kwargs": {"max_new_tokens": 8, "language": "en", "task": "transcribe"}},
    ),
    Case(
        "zero-shot-audio-classification-clap",
        "zero-shot-audio-classification",
        _clap,
        samples.tones,
        {"hypothesis_template": "{}"},
        always={"candidate_labels": ["a dog", "music", "the sound of rain"]},
    ),
)
