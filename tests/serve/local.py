"""The oracle: the local ``transformers.pipeline`` of a tiny model, in this process."""

from functools import cache
from pathlib import Path
from typing import Any

import transformers

from deployments import legacy
from deployments.config import ModelConfig
from deployments.load import load
from deployments.tasks import TASKS, canonical_task
from tests.tiny import Case, checkpoint, stand_in


@cache
def local_pipeline(case: Case, checkpoints: Path) -> Any:
    """``pipeline(task, model=...)`` on the CPU."""
    if TASKS[canonical_task(case.task)].removed:
        legacy.register()
    stand_in.install()
    source = str(checkpoint(case, checkpoints))
    if case.task == "decision":  # given only a name, upstream first builds a decision head of billions of parameters
        return load(ModelConfig(name=case.id, task=case.task, model=source, init=case.init)).pipe
    return transformers.pipeline(case.task, model=source, device="cpu", **case.init)


def sampling_rate(case: Case, checkpoints: Path) -> int:
    """Rate of the sound that the case's model takes (Hz)."""
    pipe = local_pipeline(case, checkpoints)
    extractor = pipe.feature_extractor or pipe.processor.feature_extractor
    return int(extractor.sampling_rate)
