"""Stage three: the model's outputs → the answer, in the shape that ``pipeline()`` returns. No Ray; one thread."""

import copy
from collections.abc import Sequence
from typing import Any

from deployments.blame import explain
from deployments.hearing import Hearer, Unfinished
from deployments.prepare import copy_for_thread
from deployments.stepwise.details import Teller
from deployments.tasks import TaskSpec
from deployments.tensors import pack_tensors
from deployments.usage import usage_of
from deployments.work import Call, Chunk, Combined, Outcome, Work


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
        self.teller = Teller(self._pipe.tokenizer) if spec.streams else None
        self.hearer = Hearer(self._pipe) if spec.name == "automatic-speech-recognition" else None

    def finish(self, work: Work) -> Outcome:
        """The answer to ``work``, or the error that is its caller's.

        An error that an earlier stage left is handed on.
        """
        if work.error is not None:
            return explain(work.error)
        try:
            work.usage = usage_of(self._pipe, work)
            answers = {id(call): self._answer(call) for call in work.calls}
            answer = pack_tensors(_filled(work.template, answers))
            if work.emit is not None and self.teller is not None:
                (call,) = work.calls
                if call.streamed is not None and work.usage is not None:
                    (call.streamed.rows[0].finish,) = work.usage.finish
                work.emit([self.teller.last(call, answer)])
            if work.emit is not None and self.hearer is not None:
                work.emit([self.hearer.last(work, answer)])
            return answer
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as a tokenizer's panic
            work.error = error
            return explain(error)

    def tell(self, news: Sequence[tuple[Chunk, int]]) -> None:
        """Emit the events of tokens of streamed requests: each chunk with the index of the token."""
        for chunk, index in news:
            work = chunk.work
            if work.emit is not None and self.teller is not None and not work.abandoned:
                work.emit([self.teller.step(chunk.call, index)])

    def hear(self, unfinished: Unfinished) -> None:
        """Emit what the first pieces of sounds say, of streamed requests."""
        for work in unfinished.works:
            if work.emit is None or self.hearer is None or work.abandoned:
                continue
            if more := self.hearer.more(work):
                work.emit(more)

    def _answer(self, call: Call) -> Any:
        outputs = call.outputs if self._chunked else call.outputs[0]
        answer = self._pipe.postprocess(outputs, **copy.deepcopy(call.postprocess))
        if self.teller is not None and call.generation is not None and call.generation.options.details:
            for record, row in zip(answer, call.generation.rows, strict=True):
                record["details"] = self.teller.details(call, row)
        return answer


def _is_chunked(pipe: Any) -> bool:
    from transformers.pipelines.base import ChunkPipeline

    return isinstance(pipe, ChunkPipeline)


def _filled(template: Any, answers: dict[int, Any]) -> Any:
    """``template`` with the answer in place of each `Call`."""
    if isinstance(template, Call):
        return answers[id(template)]
    if isinstance(template, Combined):
        return template.combine([answers[id(call)] for call in template.calls])
    if isinstance(template, list):
        return [_filled(part, answers) for part in template]
    if isinstance(template, tuple):
        return tuple(_filled(part, answers) for part in template)
    if isinstance(template, dict):
        return {key: _filled(part, answers) for key, part in template.items()}
    return template
