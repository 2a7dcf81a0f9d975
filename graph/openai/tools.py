"""Tools, and answers of a given form: ``tools``, ``tool_choice`` and ``response_format`` → a grammar of the answer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from deployments.errors import InvalidParameterError
from graph.openai.fields import Body


class FunctionDefinition(Body):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


class Tool(Body):
    """A tool: always a function."""

    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(Body):
    """The function that is to be called."""

    name: str


class NamedTool(Body):
    """The tool that is to be called. huggingface_hub leaves ``type`` out."""

    type: Literal["function"] = "function"
    function: NamedFunction


class NamedSchema(Body):
    """A JSON schema with a name."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema", default_factory=dict)
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of the answer; ``value`` is where huggingface_hub puts a schema."""

    type: Literal["text", "json_object", "json_schema", "regex"]
    json_schema: NamedSchema | None = None
    value: dict[str, Any] | str | None = None

    def grammar(self) -> dict[str, Any] | None:
        """The parameter ``grammar`` of text generation; None for any text.

        Raises:
            InvalidParameterError: the schema is missing.
        """
        if self.type == "text":
            return None
        if self.type == "regex":
            if not isinstance(self.value, str):
                raise InvalidParameterError(
                    "`response_format.value` must be the regular expression.", "response_format.value"
                )
            return {"type": "regex", "value": self.value}
        if self.type == "json_object":
            return {"type": "json_object"} if self.value is None else {"type": "json", "value": self.value}
        if self.json_schema is None:
            raise InvalidParameterError("`response_format.json_schema` is missing.", "response_format.json_schema")
        return {"type": "json", "value": self.json_schema.schema_}


ToolChoice = Literal["none", "auto", "required"] | NamedTool
Tools = Annotated[list[Tool], Field(max_length=128)]


def template_tools(tools: list[Tool]) -> list[dict[str, Any]]:
    """``tools`` as chat templates have them."""
    return [
        {
            "type": "function",
            "function": tool.function.model_dump(include={"name", "description", "parameters"}),
        }
        for tool in tools
    ]


def forced(tools: list[Tool], choice: ToolChoice | None, at: str = "function.") -> list[Tool]:
    """The tools of which the model has to call one; none where it is free.

    Args:
        tools: that are offered.
        choice: of the request.
        at: before the fields of a function, in errors.

    Raises:
        InvalidParameterError: the named one is not among ``tools``, or there is none to call.
    """
    if choice in (None, "none", "auto"):
        for index, tool in enumerate(tools):
            if tool.function.strict:
                path = f"tools[{index}].{at}strict"
                raise InvalidParameterError(
                    f"`{path}` is not offered where the model is free to call: leave it out, or send `tool_choice: "
                    '"required"`.',
                    path,
                )
        return []
    if choice == "required":
        if not tools:
            raise InvalidParameterError('`tool_choice: "required"` needs `tools`.', "tool_choice")
        return tools
    assert isinstance(choice, NamedTool)
    named = [tool for tool in tools if tool.function.name == choice.function.name]
    if not named:
        path = f"tool_choice.{at}name"
        raise InvalidParameterError(f"`{path}` is {choice.function.name!r}, and no tool is called so.", path)
    return named


def call_grammar(tools: list[Tool]) -> dict[str, Any]:
    """The grammar of a call of one of ``tools``: ``{"name": ..., "arguments": {...}}``."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.function.name}, "arguments": tool.function.parameters},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return {"type": "json", "value": calls[0] if len(calls) == 1 else {"anyOf": calls}}
