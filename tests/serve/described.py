"""Real answers against the running server's own description of them."""

from typing import Any

import httpx
import jsonschema


def validate(server: str, path: str, answer: Any) -> None:
    """Fail unless ``answer`` is as the document has it for ``POST path``."""
    document = httpx.get(f"{server}/openapi.json", timeout=60).json()
    schema = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer)
