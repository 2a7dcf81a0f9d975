"""Answer ``calls.json`` with the pipelines of transformers 4.57 and write ``golden/text.json`` beside this file.

Run with an interpreter that has that release, on a folder made by ``python -m tests.legacy.text_models``.
"""

import json
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(sys.argv[1])


@cache
def pipe(case: str, task: str) -> Any:
    """The pipeline of a checkpoint, its tokenizer's file put as that release reads it."""
    path = ROOT / case / "tokenizer_config.json"
    config = json.loads(path.read_text())
    if "extra_special_tokens" in config:
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
        path.write_text(json.dumps(config))
    return transformers.pipeline(task, model=str(ROOT / case), device="cpu")


def plain(value: Any) -> Any:
    """An answer as JSON; tensors as ``{"$tensor": [...]}``."""
    if isinstance(value, torch.Tensor):
        return {"$tensor": value.tolist()}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def main() -> None:
    """Record."""
    assert transformers.__version__.startswith("4.57"), transformers.__version__
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    answers = []
    for call in json.loads((ROOT / "calls.json").read_text()):
        answer = pipe(call["case"], call["task"])(*call["args"], **call["kwargs"])
        answers.append({**call, "answer": plain(answer)})
    golden = {"transformers": transformers.__version__, "answers": answers}
    target = Path(__file__).parent / "golden" / "text.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
