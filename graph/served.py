"""What calls of a served pipeline are made of, whether its caller waits or awaits: see `graph.client`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from deployments import errors
from deployments.tasks import TASKS, TaskSpec, row_for
from deployments.tensors import pack_tensors, unpack_tensors
from graph.about import ServedModel, load_tokenizer
from graph.answers import Answers, Errors
from graph.arguments import load_media, split_arguments
from graph.decode import read_item
from graph.encode import element
from graph.parts import files_of
from graph.passes import Ways
from graph.portal import portal
from graph.transport import Transport

# what pipeline() takes about where and how a model is loaded: the configuration of the graph has decided that
PLACEMENT = frozenset(
    {"config", "tokenizer", "feature_extractor", "image_processor", "processor", "framework", "revision", "use_fast"}
    | {"token", "device", "device_map", "dtype", "torch_dtype", "trust_remote_code", "model_kwargs", "pipeline_class"}
    | {"batch_size", "num_workers"}
)
_MEDIA_CALLS = 32


class Served:
    """What the synchronous and the asynchronous form have in common.

    Args:
        transport: over which the model is reached.
        resolved: name, task and defaults of the model.
        timeout_s: of one input.
        parameters: defaults of the calls.
    """

    def __init__(
        self, transport: Transport, resolved: dict[str, Any], timeout_s: float, parameters: dict[str, Any]
    ) -> None:
        self.name: str = resolved["name"]
        self.task: str = resolved["task"]
        self._given = {name: value for name, value in parameters.items() if name not in PLACEMENT}
        self.defaults: dict[str, Any] = {**resolved["defaults"], **self._given}
        self._transport = transport
        self._timeout_s = timeout_s
        self.model = ServedModel(self._about)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(task={self.task!r}, name={self.name!r})"

    @property
    def _spec(self) -> TaskSpec:
        return TASKS[self.task]

    def _about(self) -> dict[str, Any]:
        return portal().wait(self._transport.about(self.name))

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, loaded here; for what is done beside the calls, such as counting tokens.

        Raises:
            AttributeError: it cannot be loaded on this machine.
        """
        return load_tokenizer(self.model.name_or_path)

    @property
    def feature_extractor(self) -> Any:
        """What is known of it: ``sampling_rate`` (Hz) of the sound that the model takes."""
        return self.model.feature_extractor

    def _split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any], TaskSpec]:
        given, parameters = split_arguments(self._spec, args, kwargs)
        # an embedding model meant by its name compares sentences too
        spec = row_for(self._spec, given) if self.task == "feature-extraction" else self._spec
        return given, {**self._given, **parameters}, spec

    async def _one(self, spec: TaskSpec, given: Any, parameters: dict[str, Any]) -> Any:
        item = await self._read(spec, given)
        [outcome] = await self._transport.infer(self.name, [item], pack_tensors(parameters), False)
        if isinstance(outcome, Exception):
            raise outcome
        return unpack_tensors(outcome)

    def _answers(self, spec: TaskSpec, dataset: Any, parameters: dict[str, Any], on_error: Errors) -> Answers:
        merged = {**self.defaults, **parameters}
        return Answers(
            dataset,
            pack_tensors(parameters),
            self.ways(spec),
            lambda outcome: element(self._spec, unpack_tensors(outcome), merged),
            on_error,
        )

    def ways(self, spec: TaskSpec) -> Ways:
        """How the items of a dataset are answered."""
        transport, media = self._transport, bool(files_of(spec.inputs))

        async def infer(items: Sequence[Any], parameters: dict[str, Any]) -> list[Any]:
            return await transport.infer(self.name, items, parameters, True)

        return Ways(
            prepare=lambda given: self._item(spec, given),
            blocks=media,
            infer=infer,
            hopeless=lambda: transport.is_failed(self.name),
            together=1 if media else transport.together,
            calls=_MEDIA_CALLS if media else transport.calls,
            retry_s=self._timeout_s,
        )

    def _check_streams(self, one: bool) -> None:
        if not self._spec.streams or not one:
            raise errors.InvalidParameterError("`stream` is for answers in text, and takes one input.", "stream")

    def _events(self, item: Any, parameters: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        return self._transport.stream(self.name, item, pack_tensors(parameters))

    def _wanted(self, event: dict[str, Any], parameters: dict[str, Any]) -> Any:
        """What the caller gets of an event of a stream."""
        return event if {**self.defaults, **parameters}.get("details") else event["token"]["text"]

    def _listed(self, outputs: list[Any]) -> Any:
        """What the local pipeline returns for a list with these answers."""
        return outputs[0] if self._spec.list_of_one_unwraps and len(outputs) == 1 else outputs

    async def _read(self, spec: TaskSpec, given: Any) -> Any:
        """`_item`, on a thread where it reads files: the loop that runs this has other calls to answer."""
        if files_of(spec.inputs):
            return await asyncio.to_thread(self._item, spec, given)
        return self._item(spec, given)

    @staticmethod
    def _item(spec: TaskSpec, given: Any) -> Any:
        """One input with its files read, checked as the server checks what comes over HTTP."""
        return read_item(spec.inputs, load_media(spec.inputs, given), {}, "inputs")

    def _is_one(self, given: Any, parameters: dict[str, Any]) -> bool:
        if parameters.get("is_split_into_words") and isinstance(given, list):
            return not isinstance(given[0], list)
        if isinstance(given, tuple) and self.task == "keypoint-matching":
            return True
        return self._spec.inputs.is_one(given)
