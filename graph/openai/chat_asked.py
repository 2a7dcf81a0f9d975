"""What a chat asks of a model, whichever route it came by: the calls, and what their answers are to be made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deployments.errors import InvalidParameterError
from deployments.payload import ChatCall
from graph.dispatch import Target
from graph.openai.choice import Wishes
from graph.openai.sampling import Sampling, call_parameters, seeded
from graph.openai.tools import Tool, ToolChoice, call_grammar, forced, template_tools

TASKS = ("text-generation", "image-text-to-text", "any-to-any")


@dataclass(frozen=True)
class Chat:
    """A chat as a request has it.

    Args:
        messages: for a model of the given task, in the pipeline's form, files not fetched yet.
        names: of fields in errors, by the pipelines' names.
        sampling: how tokens are chosen.
        most: tokens of an answer, or None.
        tools: that are offered.
        choice: which of them are to be called.
        one_call: whether all calls but the first are left out.
        grammar: of the answer, or None.
        form: the field that ``grammar`` comes of.
        at: before the fields of a tool's function, in errors.
        logprobs: whether tokens are told.
        top_logprobs: likeliest tokens told beside each.
        variables: of the chat template.
        prefills: whether the last message is gone on with.
        answers: that are wanted.
    """

    messages: Callable[[str], list[dict[str, Any]]]
    names: dict[str, str]
    sampling: Sampling
    most: int | None = None
    tools: list[Tool] = field(default_factory=list)
    choice: ToolChoice | None = None
    one_call: bool = False
    grammar: dict[str, Any] | None = None
    form: str = "response_format"
    at: str = "function."
    logprobs: bool = False
    top_logprobs: int | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    prefills: bool = False
    answers: int = 1


@dataclass(frozen=True)
class ChatAsked:
    """What a request asks of a model.

    Args:
        inputs: the messages in the pipeline's form, files not fetched yet.
        calls: parameters of each answer.
        chat: of all of them.
        wishes: about each answer.
        names: of fields in errors.
    """

    inputs: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    chat: ChatCall
    wishes: Wishes
    names: dict[str, str]


def asked_of(chat: Chat, target: Target) -> ChatAsked:
    """``chat`` for the model ``target``.

    Raises:
        RequestError: the model cannot be asked so; in words of the pipelines, see `graph.openai.names`.
    """
    must = forced(chat.tools, chat.choice, chat.at)
    if must and chat.grammar is not None:
        raise InvalidParameterError(f"`{chat.form}` and a call that is required exclude each other.", "tool_choice")
    grammar = call_grammar(must) if must else chat.grammar  # a call has no stop texts: its arguments would be cut
    offered = [] if chat.choice == "none" else chat.tools
    seed = chat.sampling.seed
    options = {
        **{name: value for name, value in chat.sampling.options().items() if not (must and name == "stop")},
        **({"seed": seed} if seed is not None else {}),
        **({"grammar": grammar} if grammar else {}),
        **({"tools": template_tools(offered)} if offered else {}),
        **({"details": True} if chat.logprobs else {}),
        **({"top_n_tokens": chat.top_logprobs} if chat.top_logprobs else {}),
    }
    parameters = call_parameters(target.spec, target.config, chat.sampling.generation(chat.most), options)
    return ChatAsked(
        chat.messages(target.spec.name),
        [seeded(parameters, seed, index) for index in range(chat.answers)],
        ChatCall(chat.variables, chat.prefills),
        Wishes(chat.sampling.stops, bool(must), chat.one_call),
        chat.names,
    )
