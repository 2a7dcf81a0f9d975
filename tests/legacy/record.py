"""Answer ``calls.json`` with the pipelines of transformers 4.57 and write the answers beside this file.

    PY4 tests/legacy/record.py DIR [NAME]     NAME: ``golden.json``, or ``golden/images.json``

Run with an interpreter that has that release, on a folder made by ``python -m tests.legacy.calls`` or ``image_models``.
"""

import base64
import io
import json
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

ROOT = Path(sys.argv[1])


@cache
def pipe(case: str, task: str) -> Any:
    """The pipeline of a checkpoint; image processors in their PIL form, as without torchvision."""
    return transformers.pipeline(task, model=str(ROOT / case), device="cpu")


def load(value: Any) -> Any:
    """Pictures opened."""
    if isinstance(value, dict) and "$image" in value:
        return Image.open(ROOT / value["$image"]).convert("RGB")
    if isinstance(value, dict):
        return {key: load(part) for key, part in value.items()}
    return [load(part) for part in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Answers as JSON: pictures as base64 PNG, tensors as lists."""
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        return {"$image": base64.b64encode(buffer.getvalue()).decode()}
    if isinstance(value, torch.Tensor):
        return {"$tensor": value.tolist()}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def main() -> None:
    """Record."""
    assert transformers.__version__.startswith("4.57"), transformers.__version__
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    answers = []
    for call in json.loads((ROOT / "calls.json").read_text()):
        answer = pipe(call["case"], call["task"])(*map(load, call["args"]), **load(call["kwargs"]))
        answers.append({"case": call["case"], "kwargs": call["kwargs"], "answer": plain(answer)})
    golden = {"transformers": transformers.__version__, "answers": answers}
    target = Path(__file__).parent / (sys.argv[2] if len(sys.argv) > 2 else "golden.json")
    target.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
