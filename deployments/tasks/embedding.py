"""The parameters of embeddings, which are this server's own; see ``docs/embeddings.md``."""

from deployments.tasks.nested import NESTED
from deployments.tasks.parameter import Parameter
from deployments.tasks.values import Choice, Flag, String, whole

_POOLINGS = ("auto", "mean", "cls", "max", "last", "mean_sqrt_len_tokens", "weightedmean")

_SHARED = {
    "normalize": Parameter(Flag(), "Length 1, or never; default as the model does it"),
    "dimensions": Parameter(whole(1), "Numbers of each vector that stay, from the first; default all"),
    "truncate": Parameter(Flag(), "Cut a text that is too long rather than refuse it", False),
    "truncation_direction": Parameter(Choice(("left", "right")), "Where it is cut; default as the tokenizer does it"),
    "prompt_name": Parameter(String(), "Name of one of the model's own prompts, which goes before the text"),
    "prompt": Parameter(String(), "What goes before the text"),
    "tokenize_kwargs": Parameter(NESTED["tokenize_kwargs"], "Arguments of the tokenizer"),
}

VECTORS: dict[str, Parameter] = {
    **_SHARED,
    "pooling": Parameter(
        Choice(("none", *_POOLINGS)),
        "How tokens become one vector; default none, but auto with a parameter that only vectors have",
    ),
    "encoding_format": Parameter(
        Choice(("float", "base64")), "Vectors as numbers, or as base64 of little-endian float32", "float"
    ),
}
SIMILARITY: dict[str, Parameter] = {
    **_SHARED,
    "pooling": Parameter(Choice(_POOLINGS), "How the features of tokens become one vector", "auto"),
}
