"""The body of ``/v1/responses``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from deployments.errors import InvalidParameterError
from graph.openai.chat_asked import Chat
from graph.openai.fields import Body, Idle
from graph.openai.items import Conversation, Item
from graph.openai.sampling import Sampling
from graph.openai.tools import FunctionDefinition, NamedFunction, NamedTool, Tool, ToolChoice

LOGPROBS = "message.output_text.logprobs"


class FunctionTool(FunctionDefinition):
    """A function that the model may call."""

    idle: ClassVar[Idle] = {"allowed_callers": (), "async": (False,), "defer_loading": (False,), "output_schema": ()}

    type: Literal["function"]

    def tool(self) -> Tool:
        """As a chat has it."""
        given = {name: getattr(self, name) for name in self.model_fields_set & set(FunctionDefinition.model_fields)}
        return Tool(type="function", function=FunctionDefinition(**given))


class NamedFunctionTool(Body):
    """The function that is to be called."""

    type: Literal["function"]
    name: str


class TextForm(Body):
    """The form of the answer."""

    type: Literal["text", "json_object"]


class SchemaForm(Body):
    """A JSON schema that the answer fits."""

    type: Literal["json_schema"]
    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class TextOptions(Body):
    """``text``."""

    idle: ClassVar[Idle] = {"verbosity": ("medium",)}

    format: Annotated[TextForm | SchemaForm, Field(discriminator="type")] | None = None

    def grammar(self) -> dict[str, Any] | None:
        """The parameter ``grammar`` of text generation; None for any text."""
        if isinstance(self.format, SchemaForm):
            return {"type": "json", "value": self.format.schema_}
        return {"type": "json_object"} if self.format is not None and self.format.type == "json_object" else None


class Reasoning(Body):
    """``reasoning``."""

    idle: ClassVar[Idle] = {"context": ("auto",), "generate_summary": (), "mode": ("standard",), "summary": ()}

    effort: str | None = None


class ResponseBody(Sampling):
    """The body of a request for a response."""

    idle: ClassVar[Idle] = {
        "access_programs": (),
        "background": (False,),
        "background_options": (),
        "context_management": (),
        "conversation": (),
        "image": (),
        "max_tool_calls": (),
        "moderation": (),
        "previous_response_id": (),
        "prompt": (),
        "prompt_cache_options": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "truncation": ("disabled",),
    }

    input: str | Annotated[list[Item], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    include: list[Literal["message.output_text.logprobs"]] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunctionTool | None = None
    parallel_tool_calls: bool = True
    reasoning: Reasoning | None = None
    chat_template_kwargs: dict[str, bool | int | float | str] | None = None

    @property
    def logprobs(self) -> bool:
        """Whether tokens are told."""
        return LOGPROBS in (self.include or ())

    def check(self) -> None:
        """Refuse what fits no other field.

        Raises:
            InvalidParameterError: names it.
        """
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise InvalidParameterError(f'`top_logprobs` needs `include: ["{LOGPROBS}"]`.', "top_logprobs")

    def chat(self) -> Chat:
        """What it asks."""
        variables: dict[str, Any] = dict(self.chat_template_kwargs or {})
        if self.reasoning is not None and self.reasoning.effort is not None:
            variables["reasoning_effort"] = self.reasoning.effort
        return Chat(
            self._messages,
            self.names,
            self,
            self.max_output_tokens,
            [tool.tool() for tool in self.tools or ()],
            self._choice_of_tool(),
            not self.parallel_tool_calls,
            None if self.text is None else self.text.grammar(),
            "text.format",
            "",
            self.logprobs,
            self.top_logprobs,
            variables,
        )

    @property
    def names(self) -> dict[str, str]:
        """Its fields by the pipelines' names."""
        formed = self.text is not None and self.text.grammar() is not None
        return {
            "inputs": "input",
            "max_new_tokens": "max_output_tokens",
            "details": "include",
            "chat_template_kwargs.reasoning_effort": "reasoning.effort",
            "grammar": "text.format" if formed else "tool_choice",
        }

    def _messages(self, task: str) -> list[dict[str, Any]]:
        """The conversation, the instructions first."""
        conversation = Conversation(task)
        if self.instructions:
            conversation.say("system", self.instructions)
        if isinstance(self.input, str):
            conversation.say("user", self.input)
        else:
            conversation.add(self.input)
        return conversation.messages

    def _choice_of_tool(self) -> ToolChoice | None:
        if isinstance(self.tool_choice, NamedFunctionTool):
            return NamedTool(function=NamedFunction(name=self.tool_choice.name))
        return self.tool_choice
