"""A chat as OpenAI's clients have it: what the model's chat template takes, and its answer told apart.

Which marks a model puts around its reasoning and its calls of tools, transformers reads by the tokenizer's
``response_template``; for those without one, the marks that most models share are read, where their chat template has
them. No Ray; transformers only inside.
"""

import copy
import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.message import MessageReader, with_parts
from deployments.payload import ChatCall, Usage

_REASONING = {"open_pattern": r"<think>\s*", "close_pattern": r"\s*</think>\s*", "content_args": {"strip": False}}
_CALLS = {
    "open_pattern": r"\s*<tool_call>",
    "close_pattern": r"</tool_call>\s*",
    "content": "json",
    "repeats": True,
    "transform": {"type": "function", "function": "{content}"},
}
# of the template language of transformers.utils.chat_parsing; the anchor is never found, and the prefix read as it is
_USUAL: dict[str, Any] = {"start_anchor_pattern": r"(?!)", "fields": {"content": {"content_args": {"strip": False}}}}
# variables that are set already
_NOT_VARIABLES = frozenset({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"})


class ChatFormat:
    """Chats of one model.

    Args:
        pipe: the pipeline; its chat template is used, and of its tokenizer a copy, so that any thread may.
    """

    def __init__(self, pipe: Any) -> None:
        self._source: Any = getattr(pipe, "processor", None) or getattr(pipe, "tokenizer", None)
        self._tokenizer = getattr(self._source, "tokenizer", None) or self._source
        self._own = getattr(self._tokenizer, "response_template", None)
        self._lock = threading.Lock()
        self._counter: Any = None
        self._takes_text = getattr(pipe, "processor", None) is None

    def begin(
        self, inputs: Any, parameters: dict[str, Any], call: ChatCall
    ) -> tuple[Any, dict[str, Any], MessageReader | None]:
        """What the pipeline is to be called with, and what reads its answer, where there is anything to tell apart.

        Args:
            inputs: the messages.
            parameters: merged call parameters.
            call: what it asks for as a chat.

        Raises:
            InvalidInputError: the model has no chat template, or the template refuses the messages.
            InvalidParameterError: the template has no place for the tools or a variable.
        """
        tools = parameters.get("tools")
        template = self._template(tools)
        _check(template, tools, call.variables)
        if "developer" not in template:
            inputs = [_as_system(message) for message in inputs]
        configured = (parameters.get("tokenizer_encode_kwargs") or {}) if self._takes_text else {}
        arguments = {**configured, **call.variables, **({"tools": tools} if tools else {})}
        parameters = {**parameters, "continue_final_message": call.prefills}
        if call.variables and self._takes_text:
            parameters["tokenizer_encode_kwargs"] = {**configured, **call.variables}
        else:
            parameters |= call.variables
        if parameters.get("grammar"):
            return inputs, parameters, self._reader_of_form()
        return inputs, parameters, self._reader(template, inputs, arguments, call.prefills)

    def told(self, output: Any, usage: Usage | None, reader: MessageReader) -> tuple[Any, Usage | None]:
        """An answer with its parts, and what it took with the tokens of its reasoning."""
        output = with_parts(output, reader)
        if usage is not None:
            usage = dataclasses.replace(usage, reasoning_tokens=self.tokens(reader.reasoning))
        return output, usage

    def tokens(self, text: str) -> int:
        """How many tokens ``text`` comes to, encoded again."""
        if not text:
            return 0
        with self._lock:
            if self._counter is None:
                self._counter = copy.deepcopy(self._tokenizer)
            return len(self._counter.encode(text, add_special_tokens=False))

    def _template(self, tools: Any) -> str:
        found = getattr(self._source, "chat_template", None)
        if isinstance(found, Mapping):
            found = found.get("tool_use" if tools and "tool_use" in found else "default")
        if not isinstance(found, str):
            raise InvalidInputError("This model has no chat template: send text to its other routes.", "inputs")
        return found

    def _reader_of_form(self) -> MessageReader | None:
        """Of an answer that a grammar makes: all of it is content, whatever the prompt began and the answer quotes."""
        if not self._own:
            return None
        content = self._own["fields"].get("content", {})
        return MessageReader({**_USUAL, "fields": {"content": content}}, "", None)

    def _reader(self, template: str, inputs: Any, arguments: dict[str, Any], prefills: bool) -> MessageReader | None:
        tools = arguments.get("tools")
        marks = self._own or _usual(template, bool(tools))
        if marks is None:
            return None
        try:
            prompt = self._source.apply_chat_template(
                inputs,
                tokenize=False,
                add_generation_prompt=not prefills,
                continue_final_message=prefills,
                **arguments,
            )
        except Exception as error:
            raise InvalidInputError(f"The model's chat template refuses these messages: {error}", "inputs") from error
        if not self._own:
            prompt = "<think>" if prompt.rstrip().endswith("<think>") else ""
        return MessageReader(marks, prompt, tools)


def _usual(template: str, tools: bool) -> dict[str, Any] | None:
    """The usual marks, as far as ``template`` has them."""
    fields = {
        **({"reasoning_content": _REASONING} if "<think>" in template else {}),
        **({"tool_calls": _CALLS} if tools and "<tool_call>" in template else {}),
    }
    return {**_USUAL, "fields": {**fields, **_USUAL["fields"]}} if fields else None


def _check(template: str, tools: Any, variables: Mapping[str, Any]) -> None:
    from transformers.utils.chat_template_utils import _get_template_variables

    known = _get_template_variables(template)
    if tools and "tools" not in known:
        raise InvalidParameterError("The chat template of this model has no place for `tools`.", "parameters.tools")
    for name in variables:
        if name in _NOT_VARIABLES or name not in known:
            path = f"chat_template_kwargs.{name}"
            raise InvalidParameterError(f"`{path}` is nothing that this model's chat template reads.", path)


def _as_system(message: Any) -> Any:
    return {**message, "role": "system"} if message.get("role") == "developer" else message
