"""Stage one: a request → the chunks that the model runs. No Ray; one thread.

How ``pipeline()`` reads its arguments is left to ``pipeline()``: its own ``__call__`` runs on a copy whose
``run_single`` and ``get_iterator`` only note what they were asked for. What it returns is the template of the answer,
into which `deployments.finish` puts the real ones.
"""

import copy
import inspect
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from deployments import collate, similarity
from deployments.blame import explain, explain_parameters
from deployments.dual_encoder import label_width
from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.generation import new_tokens, prompt_matters, settings
from deployments.keys import parameters_key
from deployments.stepwise.admission import Admission
from deployments.stepwise.options import GenerationOptions, split_options
from deployments.tasks import TaskSpec
from deployments.tasks.spec import BatchMode
from deployments.tensors import unpack_tensors
from deployments.token_ids import check_token_ids
from deployments.usage import read_tokens
from deployments.work import MANY_CHUNKS, Call, Chunk, Combined, Work

_MANY_CALLS = 16
MOST_PIECES, MOST_PIECE_BYTES = 20_000, 2**31
"""Of one input that is cut up: windows, sounds in pieces, a pair for each label."""
PARTS = ("tokenizer", "feature_extractor", "image_processor", "processor")


def copy_for_thread(pipe: Any) -> Any:
    """``pipe`` with parts of its own: fast tokenizers share padding and truncation settings between threads.

    The model is shared. Parts that hold each other (a processor and its tokenizer) still do.
    """
    mine, memo = copy.copy(pipe), {}  # type: ignore[var-annotated]
    for name in PARTS:
        if getattr(pipe, name, None) is not None:
            setattr(mine, name, copy.deepcopy(getattr(pipe, name), memo))
    return mine


class Preparer:
    """Reads and preprocesses requests of one pipeline.

    Args:
        pipe: the pipeline.
        spec: its task.
        sampling_rate: of the sound it takes (Hz), or None.
    """

    def __init__(self, pipe: Any, spec: TaskSpec, sampling_rate: int | None) -> None:
        self.mode: BatchMode = spec.batching
        self._pipe = copy_for_thread(pipe)
        self._spec = spec
        self._sampling_rate = sampling_rate
        self._positions = position_limit(_reader(pipe, spec)) if spec.unit == "tokens" else None
        # of text generation token by token
        self.steps = Admission(self._pipe, spec, self._positions) if spec.streams else None
        self._pipe.run_single = _run_single
        self._pipe.get_iterator = _get_iterator

    def prepare(self, work: Work) -> list[Chunk]:
        """The chunks of ``work``; fills its template and calls.

        Raises:
            PipelineGraphError: the caller's fault, or ours, as `deployments.blame` has it.
        """
        # upstream takes keys out of the caller's own dictionaries
        parameters = copy.deepcopy(unpack_tensors(work.parameters))
        options = GenerationOptions()
        if self.steps is not None:
            options, parameters = split_options(parameters)
        try:
            self._pipe._sanitize_parameters(**copy.deepcopy(parameters))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise explain_parameters(error) from error
        try:
            work.template = self.read(work.inputs, parameters)
            work.calls = list(_placeholders(work.template))
            chunks = [chunk for call in work.calls for chunk in self._named(work, call, options)]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a tokenizer's panic is no `Exception`
            raise explain(error) from error
        # stands behind single requests, as a list does
        work.bulk = work.bulk or len(work.calls) > _MANY_CALLS or len(chunks) > MANY_CHUNKS
        work.pending = len(chunks)
        return chunks

    def read(self, one: Any, parameters: dict[str, Any]) -> Any:
        """The pipeline's call on one input, in the form of its task: the template of the answer, or a `Call` alone."""
        if similarity.compares(self._spec, one):
            return similarity.ask(self._pipe, one, parameters)
        if self._spec.name == "any-to-any" and isinstance(one, dict):
            return self._pipe(**one, **parameters)
        if self._spec.name == "image-text-to-text" and isinstance(one, str):
            return self._pipe(text=one, **parameters)
        return self._pipe(one, **parameters)

    def _named(self, work: Work, call: Call, options: GenerationOptions) -> list[Chunk]:
        """The chunks of ``call``; an error says which part of the input is at fault."""
        try:
            return self._chunks(work, call, options)
        except InvalidInputError as error:
            if error.field != "inputs" or call.path == "inputs":
                raise
            raise InvalidInputError(error.message.replace("`inputs`", f"`{call.path}`"), call.path) from error

    def _chunks(self, work: Work, call: Call, options: GenerationOptions) -> list[Chunk]:
        if self._spec.prepares_with_model:  # its preprocessing runs the model, so it waits for the model's thread
            call.outputs = [None]
            return [Chunk(work, call, 0, {}, 1.0, None)]
        if self._spec.reply != "audio":  # of models of sound, settings are about codes, each kind in its own way
            check_token_ids(self._pipe, call.forward)
        prepared = self._pipe.preprocess(call.inputs, **copy.deepcopy(call.preprocess))
        rows = bounded(prepared) if inspect.isgenerator(prepared) else [prepared]
        call.outputs = [None] * len(rows)
        if self.steps is not None:
            rows = [_truncated(row, options.truncate) for row in rows]
        if self._spec.unit == "tokens":
            call.tokens = read_tokens(rows)
        if self.steps is not None:
            call.generation = self.steps.admit(work, call, rows[0], options)
        shared = None if call.streamed is not None else self._forward_key(work, call)
        force = settings(self._pipe, call.forward)
        return [self._chunk(work, call, index, row, shared, force) for index, row in enumerate(rows)]

    def _chunk(self, work: Work, call: Call, index: int, row: Any, shared: Hashable, force: Mapping[str, Any]) -> Chunk:
        if isinstance(row, str | bytes) or not hasattr(row, "keys"):
            return Chunk(work, call, index, row, 1.0, None)
        tokens = int(row["input_ids"].shape[-1]) if self._positions and "input_ids" in row else 0
        if self._positions is not None and tokens > self._positions:
            # on a GPU an index out of range would end the whole replica
            raise InvalidInputError(
                f"`inputs` has {tokens} tokens and this model takes at most {self._positions}: shorten it, or send "
                + (
                    "`truncate: true`."
                    if "truncate" in self._spec.parameters
                    else "`truncation` where the task has it."
                ),
                "inputs",
            )
        size = collate.size(row, self._spec.unit, self._sampling_rate)
        if self._spec.unit == "tokens":
            size += new_tokens(force)
        if shared is None or self.mode == "alone":
            return Chunk(work, call, index, row, size, None)
        signature = collate.signature(row, self._mode_for(force))
        if signature is None:
            return Chunk(work, call, index, row, size, None)
        return Chunk(work, call, index, row, size, (shared, signature, label_width(self._pipe, row)))

    def _mode_for(self, force: Mapping[str, Any]) -> BatchMode:
        """Only prompts of one length share a batch where the generation looks at padding."""
        return "equal" if prompt_matters(self._pipe, force) else self.mode

    def _forward_key(self, work: Work, call: Call) -> Hashable:
        """Equal for calls of equal forward parameters; None where the request must run alone."""
        for entry in self._spec.alone_with:
            name, _, value = entry.partition("=")
            given = work.parameters.get(name)
            if given not in (None, False) and value in ("", given):
                return None
        return parameters_key(call.forward)


def bounded(rows: Iterable[Any]) -> list[Any]:
    """The pieces of one input; parameters may ask for very many.

    Raises:
        PayloadTooLargeError: more than `MOST_PIECES`, or `MOST_PIECE_BYTES` in all.
    """
    found, size = [], 0
    for row in rows:
        found.append(row)
        size += sum(getattr(value, "nbytes", 0) for value in row.values()) if hasattr(row, "values") else 0
        if len(found) > MOST_PIECES or size > MOST_PIECE_BYTES:
            raise PayloadTooLargeError(
                f"`inputs` comes to more than {MOST_PIECES} pieces, or {MOST_PIECE_BYTES // 2**20} MiB of them: send "
                "less of it, fewer labels, or parameters that cut it into longer pieces.",
                "inputs",
            )
    return found


def _truncated(row: Any, most: int | None) -> Any:
    """A prompt's last ``most`` tokens."""
    if most is not None:
        for name in {"input_ids", "attention_mask"} & set(row):
            row[name] = row[name][:, -most:]
    return row


def _reader(pipe: Any, spec: TaskSpec) -> Any:
    """The model that reads the tokens: what reads pictures and sounds beside it has positions of its own."""
    model = getattr(pipe, "model", None)
    decoder = getattr(model, "get_decoder", None) if spec.streams and spec.generation_dicts else None
    return model if decoder is None else decoder()


def position_limit(model: Any) -> int | None:
    """Tokens that a model with a table of positions takes (>=1), or None for models that know no such limit."""
    import torch

    if not isinstance(model, torch.nn.Module):
        return None
    most: list[int] = []
    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if isinstance(module, torch.nn.Embedding) and leaf in ("position_embeddings", "wpe", "embed_positions"):
            # RoBERTa and BART begin to count behind some rows of the table
            skipped = getattr(module, "offset", 0) if module.padding_idx is None else module.padding_idx + 1
            most.append(module.num_embeddings - int(skipped))
    return min(most, default=None)


def _run_single(inputs: Any, preprocess: Any, forward: Any, postprocess: Any) -> Call:
    return Call(inputs, preprocess, forward, postprocess)


def _get_iterator(inputs: Any, _workers: Any, _batch_size: Any, *stages: Any) -> list[Call]:
    return [Call(one, *stages) for one in inputs]


def _placeholders(template: Any) -> Iterable[Call]:
    if isinstance(template, Call):
        yield template
    elif isinstance(template, Combined):
        yield from template.calls
    elif isinstance(template, list | tuple):
        for part in template:
            yield from _placeholders(part)
    elif isinstance(template, dict):
        for part in template.values():
            yield from _placeholders(part)
