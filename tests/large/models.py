"""A language model large enough for four-bit blocks, and ways to spread any model over the CPU and the disk."""

from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

from deployments.config import ModelConfig
from deployments.load import load
from tests.tiny import tokenizers
from tests.tiny.common import save, seeded
from tests.tiny.generation import greedy_config

TEXTS = ("Once upon a time", "The dog of the house by the river was great, and so", "What is the capital of France?")


def llama(directory: Path, **options: Any) -> Path:
    """Write a seeded model of two layers whose signal neither dies nor explodes, as in trained ones."""
    tokenizer = tokenizers.chat()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **{
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 256,
            "max_position_embeddings": 512,
            "tie_word_embeddings": False,
            **options,
        },
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = seeded(lambda: LlamaForCausalLM(config), gain=1.0)
    model.generation_config = greedy_config(tokenizer)
    save(directory, model, tokenizer)
    return directory


def config(model: Path, task: str = "text-generation", **more: Any) -> ModelConfig:
    """A model's configuration, as it would be written."""
    return ModelConfig.model_validate({"name": "m", "task": task, "model": str(model), "packed_linear": False, **more})


def loaded(model: Path, task: str = "text-generation", **more: Any) -> Any:
    """Its pipeline, as a replica loads it."""
    return load(config(model, task, **more)).pipe


def logits(pipe: Any) -> list[Any]:
    """Scores of every token of each text, shape (tokens, vocabulary)."""
    import torch

    with torch.no_grad():
        return [pipe.model(**pipe.tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]


def halves(model: Any) -> dict[str, str]:
    """A map of every other part of ``model`` to the disk; parts that share a weight stay together."""
    shared = {name.rpartition(".")[0] for pair in model.all_tied_weights_keys.items() for name in pair}
    found: dict[str, str] = {}
    for name, child in model.named_children():
        parts = [f"{name}.{part}" for part, _ in child.named_children()] if _splits(child) else [name]
        for part in parts:
            together = any(one == part or one.startswith(f"{part}.") for one in shared)
            found[part] = "cpu" if together or len(found) % 2 == 0 else "disk"
    own = [*model.named_parameters(recurse=False), *model.named_buffers(recurse=False)]
    return found | {name: "cpu" for name, _ in own}


def _splits(module: Any) -> bool:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return not own and len(list(module.children())) > 1
