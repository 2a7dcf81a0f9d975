"""What the server of a run serves: a fake, a text, an image and a text generation model, two replicas each."""

from pathlib import Path
from typing import Any

from tests.serve.served import case_of, endless, served

MAX_BODY_BYTES, MAX_LIST_ITEMS, MAX_PIXELS, BODY_TIMEOUT_S = 1_000_000, 100, 4_000_000, 20
LONG_TOKENS = 100_000
"""Tokens that nobody waits for: minutes of work, if a caller who left is not noticed."""
_SCALE = {"min_replicas": 2}


def models(checkpoints: Path) -> list[dict[str, Any]]:
    """Entries of ``models``; tiny checkpoints are written to ``checkpoints``."""
    small = {"scale": _SCALE, "resources": {"num_cpus": 0.1}}
    return [
        {"name": "echo", "task": "fake", **small},
        served(case_of("text-classification-bert"), checkpoints, name="classify", **small),
        served(case_of("image-classification-vit"), checkpoints, name="photo", **small),
        {
            "name": "write",
            "task": "text-generation",
            "model": str(endless(checkpoints)),
            "batch": {"max_padded_tokens": 10**7},
            **small,
        },
    ]


def arguments() -> dict[str, Any]:
    """The rest of ``args``: limits small enough to be passed cheaply."""
    limits = {
        "max_body_bytes": MAX_BODY_BYTES,
        "max_list_items": MAX_LIST_ITEMS,
        "request_timeout_s": 60,
        "body_timeout_s": BODY_TIMEOUT_S,
    }
    return {"limits": limits, "media": {"max_image_pixels": MAX_PIXELS}}
