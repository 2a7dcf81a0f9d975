"""What one writes after reading Ray's page on request batching: the other side of the comparison.

`max_ongoing_requests` is Ray's default, 5, in the plain example, as on that page; ``build`` can raise it.
"""

from typing import Any

import torch
import transformers
from ray import serve
from starlette.requests import Request


@serve.deployment
class Classifier:
    """A text classifier with ``@serve.batch``.

    Args:
        model: folder of the checkpoint.
        threads: torch threads, as many as a replica of the project has.
    """

    def __init__(self, model: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.pipe: Any = transformers.pipeline("text-classification", model=model, device="cpu")

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.1)  # type: ignore[untyped-decorator]
    async def classify(self, texts: list[str]) -> list[Any]:
        """Answers to the texts that came together."""
        return list(self.pipe(texts, batch_size=len(texts)))

    async def __call__(self, request: Request) -> Any:
        """``{"inputs": text}`` → ``{"label", "score"}``."""
        return await self.classify((await request.json())["inputs"])


def build(args: dict[str, Any]) -> serve.Application:
    """The application.

    Args:
        args: ``model``, ``threads``, ``replicas``, and ``max_ongoing_requests`` where Ray's default is not wanted.
    """
    options: dict[str, Any] = {"num_replicas": args["replicas"], "ray_actor_options": {"num_cpus": 0}}
    if "max_ongoing_requests" in args:
        options["max_ongoing_requests"] = args["max_ongoing_requests"]
    return Classifier.options(**options).bind(args["model"], args["threads"])  # type: ignore[attr-defined]
