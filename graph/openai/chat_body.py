"""The body of ``/v1/chat/completions``."""

import functools
from typing import Annotated, Any, ClassVar

from pydantic import Field

from deployments.errors import InvalidParameterError
from graph.openai.chat_asked import Chat
from graph.openai.fields import Idle
from graph.openai.messages import Message, chat
from graph.openai.sampling import Completing
from graph.openai.tools import ResponseFormat, ToolChoice, Tools


class ChatBody(Completing):
    """The body of a request for a chat completion."""

    idle: ClassVar[Idle] = {
        "audio": (),
        "function_call": (),
        "functions": (),
        "modalities": (["text"],),
        "moderation": (),
        "prediction": (),
        "prompt_cache_options": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_prompt": (),
        "verbosity": (),
        "web_search_options": (),
    }

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, bool | int | float | str] | None = None
    continue_final_message: bool = False

    def check(self) -> None:
        """Refuse what fits no other field.

        Raises:
            InvalidParameterError: names it.
        """
        super().check()
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise InvalidParameterError("`max_tokens` and `max_completion_tokens` differ: send one.", "max_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidParameterError("`top_logprobs` needs `logprobs: true`.", "top_logprobs")
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise InvalidParameterError(
                "`continue_final_message` goes on with a message of the assistant; the last one is none.",
                "continue_final_message",
            )

    def chat(self) -> Chat:
        """What it asks.

        Raises:
            InvalidParameterError: its fields contradict each other.
        """
        variables: dict[str, Any] = dict(self.chat_template_kwargs or {})
        if self.reasoning_effort is not None:
            variables["reasoning_effort"] = self.reasoning_effort
        return Chat(
            functools.partial(chat, self.messages),
            self.names,
            self,
            self.max_completion_tokens or self.max_tokens,
            self.tools or [],
            self.tool_choice,
            not self.parallel_tool_calls,
            None if self.response_format is None else self.response_format.grammar(),
            logprobs=self.logprobs,
            top_logprobs=self.top_logprobs,
            variables=variables,
            prefills=self.continue_final_message,
            answers=self.n,
        )

    @property
    def names(self) -> dict[str, str]:
        """Its fields by the pipelines' names."""
        names = {"inputs": "messages"}
        if self.max_completion_tokens is not None:
            names["max_new_tokens"] = "max_completion_tokens"
        if self.response_format is None:
            names["grammar"] = "tool_choice"
        if self.reasoning_effort is not None:
            names["chat_template_kwargs.reasoning_effort"] = "reasoning_effort"
        return names
