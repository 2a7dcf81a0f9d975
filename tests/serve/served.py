"""A parity case as an entry of ``models`` in a configuration."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.serve.parity_cases import PARITY_CASES
from tests.tiny import Case, checkpoint


def case_of(name: str) -> Case:
    """The parity case called ``name``."""
    return next(case for case in PARITY_CASES if case.id == name)


def served(case: Case, checkpoints: Path, **more: Any) -> dict[str, Any]:
    """The tiny model of ``case``, named after it; ``more`` goes over what stands here."""
    return {
        "name": case.id,
        "task": case.task,
        "model": str(checkpoint(case, checkpoints)),
        "init": case.init,
        "resources": {"num_cpus": 0.5},
        **more,
    }


def endless(checkpoints: Path) -> Path:
    """A tiny model of text whose context is a million tokens, so that an answer can take minutes."""
    target = checkpoints / "endless"
    if not target.exists():
        shutil.copytree(checkpoint(case_of("text-generation-llama"), checkpoints), target)
        config = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2**20}))
    return target
