"""Tiny tokenizers built here, no files: every printable ASCII text tokenises, byte-level ones take any text.

WordPiece for the BERT family, byte-level BPE for GPT-like, RoBERTa and Whisper models.
"""

from __future__ import annotations

import string

from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerBase,
    RobertaTokenizer,
    WhisperTokenizer,
)

_WORDS = """
the a an is was in on at of to and or not it this that i you we they he she my your love hate like good bad great
terrible movie film book food city river house dog cat red blue green what who where how many much when which why does
do capital france paris london berlin total name date invoice number photo picture sound music news sport science
politics about people more less table year
"""

_MERGES = """
Ġ+t h+e Ġt+he i+n a+n Ġ+a e+r o+n r+e Ġ+s Ġ+w o+u a+t Ġ+i e+n Ġi+n in+g Ġ+b Ġ+c Ġ+m Ġ+f an+d Ġ+p l+l Ġ+o Ġo+f Ġt+o
Ġ+and Ġ+d o+r e+s Ġi+s Ġ+l Ġ+h c+h Ġ+I a+r s+t Ġ+n v+e i+t Y+es N+o
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% else %}<{{ part['type'] }}>{% endif %}{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_alphabet() -> list[str]:
    """The 256 characters GPT-2 writes bytes with, ordered by byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(extra)) for byte in range(256)]


def byte_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges of a byte-level vocabulary: 256 bytes and 42 English pairs."""
    merges = [(left, right) for left, right in (pair.split("+") for pair in _MERGES.split())]
    return byte_alphabet() + [left + right for left, right in merges], merges


def _numbered(tokens: list[str]) -> dict[str, int]:
    """Token to its place."""
    return {token: index for index, token in enumerate(tokens)}


def wordpiece_tokens() -> list[str]:
    """Special tokens, 90 words, then every ASCII letter, digit and sign, first and continuing."""
    signs = [*string.ascii_lowercase, *string.digits]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]"]
    return list(
        dict.fromkeys([*special, *_WORDS.split(), *signs, *string.punctuation, *(f"##{sign}" for sign in signs)])
    )


def wordpiece(model_max_length: int = 128) -> BertTokenizer:
    """A lower-casing BERT tokenizer."""
    return BertTokenizer(vocab=_numbered(wordpiece_tokens()), model_max_length=model_max_length)


def roberta(model_max_length: int = 128, **options: object) -> RobertaTokenizer:
    """A byte-level tokenizer with RoBERTa's special tokens (BART and CLAP use it too)."""
    tokens, merges = byte_pairs()
    vocab = _numbered(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *tokens])
    return RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=model_max_length, **options)


def gpt2(model_max_length: int = 256) -> GPT2Tokenizer:
    """A GPT-2 tokenizer: one special token, no pad token."""
    tokens, merges = byte_pairs()
    vocab = _numbered([*tokens, "<|endoftext|>"])
    return GPT2Tokenizer(vocab=vocab, merges=merges, model_max_length=model_max_length)


def chat(extra: tuple[str, ...] = (), model_max_length: int = 512) -> GPT2Tokenizer:
    """A byte-level chat tokenizer: pad token distinct from the end token, roles, a chat template.

    Args:
        extra: further special tokens, such as ``<image>``.
        model_max_length: in tokens.

    Returns:
        Padding is on the left, as generation wants it.
    """
    tokens, merges = byte_pairs()
    special = ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", *extra]
    tokenizer = GPT2Tokenizer(
        vocab=_numbered([*special, *tokens]),
        merges=merges,
        unk_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        padding_side="left",
        model_max_length=model_max_length,
        extra_special_tokens=special[3:],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def clip(model_max_length: int = 16) -> CLIPTokenizer:
    """A CLIP tokenizer over single letters; pads with its end token as CLIP does."""
    letters = byte_alphabet()
    ends = [f"{letter}</w>" for letter in letters]
    vocab = _numbered([*letters, *ends, "<|startoftext|>", "<|endoftext|>"])  # OWL-ViT ignores texts starting with 0
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=model_max_length)


def whisper() -> WhisperTokenizer:
    """A multilingual Whisper tokenizer of two languages with timestamp tokens up to 4 seconds, in Whisper's order."""
    tokens, merges = byte_pairs()
    special = ["<|startoftranscript|>", "<|en|>", "<|fr|>", "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(
        vocab=_numbered([*tokens, "<|endoftext|>"]), merges=merges, pad_token="<|endoftext|>", model_max_length=64
    )
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_tokens([f"<|{index * 0.02:.2f}|>" for index in range(201)])
    tokenizer.set_prefix_tokens()
    return tokenizer


def unprintable(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token numbers that do not decode to printable ASCII; suppressed, so that generated text is readable."""
    special = set(tokenizer.all_special_ids)
    return [
        index
        for index in range(len(tokenizer))
        if index not in special and not _readable(tokenizer.decode([index], skip_special_tokens=False))
    ]


def chat_template(tags: dict[str, str]) -> str:
    """The chat template with its own tag for a kind of content, such as ``{"audio": "<|AUDIO|>"}``."""
    cases = "".join(f"{{% elif part['type'] == '{kind}' %}}{tag}" for kind, tag in tags.items())
    return CHAT_TEMPLATE.replace("{% else %}<{{", cases + "{% else %}<{{")


def _readable(text: str) -> bool:
    """Printable ASCII and not empty."""
    return bool(text) and all(" " <= sign <= "~" for sign in text)
