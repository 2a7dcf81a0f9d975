"""``GET /v1/models``: the configured models as OpenAI lists them."""

from typing import Any

from starlette.responses import JSONResponse, Response

from graph.dispatch import Target
from graph.openai.asked import Asked


async def listed(asked: Asked) -> Response:
    """``GET /v1/models``."""
    names = [asked.name] if asked.name is not None else list(asked.dispatcher.targets)
    return JSONResponse({"object": "list", "data": [_model(asked.dispatcher.by_name(name)) for name in names]})


async def one(asked: Asked) -> Response:
    """``GET /v1/models/{model}``, by its name or its source, which may have slashes."""
    model = asked.request.path_params["model"]
    every = tuple(task for target in asked.dispatcher.targets.values() for task in target.tasks)
    return JSONResponse(_model(asked.target(model, every)))


def _model(target: Target) -> dict[str, Any]:
    """OpenAI's four fields, and which tasks it serves; ``created`` is not known."""
    source = target.config.model or target.name
    owner = source.split("/")[0] if source.count("/") == 1 else "pipeline-graph"
    return {"id": target.name, "object": "model", "created": 0, "owned_by": owner, "tasks": list(target.tasks)}
