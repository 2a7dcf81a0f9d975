"""A model that writes what it was built to: each token is followed by the one that the script has next.

Every block of the network adds nothing, embeddings are unit vectors, and the head leads from each to its successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import LlamaConfig, LlamaForCausalLM

from . import tokenizers
from .common import save
from .generation import greedy_config

THINKS = ("<think>", "They want", " the weather.", "</think>", "\n\n")
CALLS = ("<tool_call>", '\n{"name": "weather", ', '"arguments": {"city": "Oslo"}}\n', "</tool_call>")
SECOND = ("\n<tool_call>", '\n{"name": "time", "arguments": {}}\n', "</tool_call> ")
SAYS = ("Oslo", " is ", "cold.")
PLAIN = ("Hello", ", ", "STOP", " world", "!")

TEMPLATE = (
    "{% for tool in tools or [] %}<tool>{{ tool | tojson }}{% endfor %}"
    "{% if mood is defined %}{{ mood }}{% endif %}"
    "{% for message in messages %}{% if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('There is no role ' + message['role']) }}{% endif %}"
    "<|{{ message['role'] if message['role'] != 'tool' else 'user' }}|>"
    "{% if message['reasoning_content'] %}<think>{{ message['reasoning_content'] }}</think>{% endif %}"
    "{{ message['content'] }}{% for call in message['tool_calls'] or [] %}<tool_call>{{ call['function']['arguments']"
    "['city'] }}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if tools %}<|tools|>{% endif %}{% endif %}"
)


def build(directory: Path) -> Path:
    """Write the checkpoint: with tools it thinks, calls two of them and says something, without it greets."""
    tokenizer = tokenizers.chat(("<|tools|>",))
    tools = [tokenizer.convert_tokens_to_ids("<|tools|>"), *_ids(tokenizer, (*THINKS, *CALLS, *SECOND, *SAYS))]
    plain = [tokenizer.convert_tokens_to_ids("<|assistant|>"), *_ids(tokenizer, PLAIN)]
    tokenizer.chat_template = TEMPLATE
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=-(-size // 8) * 8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        model.model.embed_tokens.weight.copy_(torch.eye(size, config.hidden_size))
        for script in (tools, plain):
            for one, following in zip(script, [*script[1:], tokenizer.eos_token_id], strict=True):
                model.lm_head.weight[following, one] = 1
    model.generation_config = greedy_config(tokenizer)
    model.generation_config.suppress_tokens = None
    save(directory, model, tokenizer)
    return directory


def _ids(tokenizer: tokenizers.PreTrainedTokenizerBase, pieces: Sequence[str]) -> list[int]:
    """New tokens, one for each piece, none of them special."""
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in dict.fromkeys(pieces)])
    return [tokenizer.convert_tokens_to_ids(piece) for piece in pieces]
