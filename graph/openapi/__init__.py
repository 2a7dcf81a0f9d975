"""The server described: ``/openapi.json``, and the same as a page at ``/docs``."""

from graph.openapi.document import document

__all__ = ["document"]
