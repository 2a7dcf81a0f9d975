"""Tiny seeded models of every pipeline task, built here, so that served answers can be compared with local ones.

    for case in CASES:
        local = pipeline(case.task, model=str(checkpoint(case, root)), **case.init)
        answers = [local(value, **case.always) for value in case.inputs]

Nothing is downloaded. ``Case`` says what each field means, ``stand_in`` serves the one case that needs torchvision.
"""

from . import conversation, detection, documents, generation, multimodal, sound, speech, text, vision
from .common import Case, checkpoint

CASES: tuple[Case, ...] = (
    *text.CASES,
    *generation.CASES,
    *sound.CASES,
    *speech.CASES,
    *vision.CASES,
    *detection.CASES,
    *multimodal.CASES,
    *documents.CASES,
    *conversation.CASES,
)

__all__ = ["CASES", "Case", "checkpoint"]
