"""The calls whose answers by transformers 4.57 are kept in ``golden.json``, as plain data.

    python -m tests.legacy.calls DIR       builds the checkpoints, pictures and calls.json there (this environment)
    PY4 tests/legacy/record.py DIR         answers them, with an interpreter that has transformers 4.57

Pictures are written ``{"$image": "name.png"}``; a call is ``{"case", "task", "args", "kwargs"}``.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.legacy.models import CASES, CONTEXT
from tests.tiny import Case, checkpoint

_QUESTION = "What is the book about?"
_MORE: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("question-answering-bert", [], {"question": _QUESTION, "context": CONTEXT, "handle_impossible_answer": True}),
    ("question-answering-bert", [], {"question": _QUESTION, "context": CONTEXT, "max_answer_len": 1, "top_k": 4}),
    ("question-answering-bert", [], {"question": _QUESTION, "context": CONTEXT, "align_to_words": False, "top_k": 2}),
    (
        "question-answering-bert",
        [],
        {"question": _QUESTION, "context": CONTEXT * 2, "max_seq_len": 40, "doc_stride": 8, "top_k": 3},
    ),
    ("question-answering-bert", [], {"question": [_QUESTION, "Where is my cat?"], "context": CONTEXT}),
    ("question-answering-bert", [], {"question": [_QUESTION, "Who?"], "context": [CONTEXT, "My dog is red."]}),
    ("question-answering-bert", [], {"question": [_QUESTION], "context": [CONTEXT]}),
    (
        "question-answering-roberta",
        [],
        {"question": _QUESTION, "context": CONTEXT, "top_k": 5, "handle_impossible_answer": True},
    ),
    ("text2text-generation-t5", ["I love it"], {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 4}),
    (
        "text2text-generation-t5",
        [["I love it", "Paris"]],
        {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 4},
    ),
    ("text2text-generation-t5", [["I love it", "Paris is bad"]], {"max_new_tokens": 4}),
    ("text2text-generation-t5", ["I love it"], {"return_tensors": True, "max_new_tokens": 4, "num_beams": 1}),
    ("translation-t5", [["I love it", "Paris is bad"]], {"max_new_tokens": 5, "num_beams": 1}),
    ("summarization-bart", ["I love the city"], {"min_length": 4, "max_new_tokens": 9, "num_beams": 2}),
]


def calls() -> list[dict[str, Any]]:
    """Every call: three inputs and one changed parameter of each case, and the further forms above."""
    found = []
    for case in CASES:
        for parameters in (case.always, {**case.always, **case.parameters}):
            found += [{"case": case.id, "args": [value], "kwargs": parameters} for value in case.inputs]
    return found + [{"case": case_id, "args": args, "kwargs": kwargs} for case_id, args, kwargs in _MORE]


def export(root: Path, cases: Sequence[Case], asked: list[dict[str, Any]]) -> None:
    """Write checkpoints, pictures and ``calls.json`` for the recorder."""
    tasks = {case.id: case.task for case in cases}
    for case in cases:
        checkpoint(case, root)
    written = [{**call, "task": tasks[call["case"]]} for call in asked]
    (root / "calls.json").write_text(json.dumps([_plain(call, root, f"{i}") for i, call in enumerate(written)]))


def _plain(value: Any, root: Path, name: str) -> Any:
    if isinstance(value, Image.Image):
        value.save(root / f"{name}.png")
        return {"$image": f"{name}.png"}
    if isinstance(value, dict):
        return {key: _plain(part, root, f"{name}-{key}") for key, part in value.items()}
    return [_plain(part, root, f"{name}-{i}") for i, part in enumerate(value)] if isinstance(value, list) else value


if __name__ == "__main__":
    export(Path(sys.argv[1]), CASES, calls())
