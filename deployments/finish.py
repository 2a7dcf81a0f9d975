"""Stage three: the model's outputs → the answer, in the shape that ``pipeline()`` returns. No Ray; one thread."""

import copy
from typing import Any

from deployments.blame import explain
from deployments.prepare import copy_for_thread
from deployments.tasks import TaskSpec
from deployments.tensors import pack_tensors
from deployments.work import Call, Outcome, Work


class Finisher:
    """Postprocesses requests of one pipeline, with its own tokenizer.

    Args:
        pipe: the pipeline.
        spec: its task.
    """

    def __init__(self, pipe: Any, spec: TaskSpec) -> None:
        self._pipe = copy_for_thread(pipe)
        self._chunked = _is_chunked(pipe)
        self._spec = spec

    def finish(self, work: Work) -> Outcome:
        """The answer to ``work``, or the error that is its caller's.

        An error that an earlier stage left is handed on.
        """
        if work.error is not None:
            return explain(work.error)
        try:
            answers = {id(call): self._answer(call) for call in work.calls}
            return pack_tensors(_filled(work.template, answers))
        except Exception as error:
            work.error = error
            return explain(error)

    def _answer(self, call: Call) -> Any:
        outputs = call.outputs if self._chunked else call.outputs[0]
        return self._pipe.postprocess(outputs, **copy.deepcopy(call.postprocess))


def _is_chunked(pipe: Any) -> bool:
    from transformers.pipelines.base import ChunkPipeline

    return isinstance(pipe, ChunkPipeline)


def _filled(template: Any, answers: dict[int, Any]) -> Any:
    """``template`` with the answer in place of each `Call`."""
    if isinstance(template, Call):
        return answers[id(template)]
    if isinstance(template, list):
        return [_filled(part, answers) for part in template]
    if isinstance(template, tuple):
        return tuple(_filled(part, answers) for part in template)
    if isinstance(template, dict):
        return {key: _filled(part, answers) for key, part in template.items()}
    return template
