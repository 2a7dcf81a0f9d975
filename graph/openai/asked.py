"""One request to an OpenAI route: what it may use, and which model it means."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from deployments.errors import InvalidInputError, MalformedRequestError, UnknownModelError
from graph.config import GraphConfig
from graph.dispatch import Dispatcher, Target
from graph.json_body import parse_json
from graph.received import read_bytes

# what clients send that know an address alone: huggingface_hub's, and examples for text-generation-inference
_NO_NAME = (None, "dummy", "tgi")


@dataclass(frozen=True)
class Asked:
    """A request on its way.

    Args:
        request: Starlette's.
        graph: the configuration in force.
        dispatcher: calls the models.
        name: of the model in the path, or None where the body says which.
    """

    request: Request
    graph: GraphConfig
    dispatcher: Dispatcher
    name: str | None

    @property
    def request_id(self) -> str:
        """As in the header."""
        return str(self.request.state.request_id)

    async def json(self) -> dict[str, Any]:
        """The body, an object.

        Raises:
            RequestError: it cannot be read.
        """
        root = parse_json(await read_bytes(self.request, self.graph.limits))
        if not isinstance(root, dict):
            raise MalformedRequestError('The body must be a JSON object like {"model": ..., ...}.')
        return root

    def target(self, model: str | None, tasks: tuple[str, ...]) -> Target:
        """The model of the path, else the one called ``model`` (its name or its source).

        Args:
            model: as the body has it; under a path that names a model it does not matter, nor where there is one alone
                and no name is sent.
            tasks: that the route can answer with, the first one preferred where a model has several.

        Raises:
            UnknownModelError: there is none.
            InvalidInputError: it serves none of ``tasks``.
        """
        target = self._target(model, tasks)
        self.request.state.model = target.name  # for the metrics
        return target

    def _target(self, model: str | None, tasks: tuple[str, ...]) -> Target:
        if self.name is not None:
            return _serving(self.dispatcher.by_name(self.name), tasks)
        known = [target for target in self.dispatcher.targets.values() if set(target.tasks) & set(tasks)]
        if model in _NO_NAME and len(known) == 1:
            return known[0]
        if model is None:
            raise InvalidInputError(f"`model` is missing; models for this route: {_names(known)}.", "model")
        chosen = [one for one in self.dispatcher.targets.values() if model in (one.name, one.config.model)]
        if not chosen:
            raise UnknownModelError(
                f"There is no model {model!r} here; models for this route: {_names(known)}.", "model"
            )
        return next((one for one in chosen if one in known), None) or _serving(chosen[0], tasks)


def _serving(target: Target, tasks: tuple[str, ...]) -> Target:
    if set(target.tasks) & set(tasks):
        return target
    raise InvalidInputError(
        f"{target.name} serves {target.spec.name}; this route is for {' and '.join(tasks)}.", "model"
    )


def _names(targets: list[Target]) -> str:
    return ", ".join(sorted(target.name for target in targets)) or "none"
