"""A replica's model in a process of its own: what is in memory once, on the word of another that loads the same.

``python -m tests.large.shared_pages MODEL PACKED`` prints bytes as JSON, after a line of input for each look.
"""

import json
import sys
from pathlib import Path

import psutil
import torch

from deployments.footprint import weights
from deployments.load import load
from tests.large.models import TEXTS, config


def main() -> None:
    """Load, use every weight, and tell of the memory of this process as often as asked."""
    model, packed = sys.argv[1:]
    torch.set_num_threads(1)
    process = psutil.Process()
    small = load(config(Path(model, "small"))).pipe  # what libraries take comes first
    small(TEXTS[0], max_new_tokens=2)
    before = process.memory_full_info()
    pipe = load(config(Path(model, "large"), packed_linear=packed == "packed")).pipe
    pipe(TEXTS[0], max_new_tokens=2)
    print("loaded", flush=True)
    for _ in sys.stdin:
        now = process.memory_full_info()
        found = {"private": now.uss - before.uss, "share": now.pss - before.pss, "all": now.rss - before.rss}
        print(json.dumps({**found, "weights": weights(pipe.model)["weight_bytes"]}), flush=True)


if __name__ == "__main__":
    main()
