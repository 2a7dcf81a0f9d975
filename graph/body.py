"""Request → root object of a call, whatever the body is: JSON, a file, text, a form, or nothing but a query.

The kind is decided by the first bytes; the header decides where they say nothing.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from deployments.codec import MEDIA_TYPE
from deployments.errors import MalformedRequestError, UnsupportedMediaError
from deployments.tasks import TaskSpec
from graph.config import LimitsConfig
from graph.decode import read_body
from graph.fields import merge, read_fields
from graph.multipart import read_multipart
from graph.parts import files_of, part_forms
from graph.received import joined, read_pieces, refuse_encoded
from graph.sniff import HEAD, sniff
from graph.upload import FILES, FORM, UNSPECIFIC, named, read_file

_JSON = frozenset({"application/json", "text/json", MEDIA_TYPE})
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1", "windows-1252", "utf-16"})
_FORM_FIELD = re.compile(rb"[\w.+%-]+=")


async def read_root(request: Request, spec: TaskSpec, limits: LimitsConfig) -> dict[str, Any]:
    """The root object of the call in ``request``: its body's, and its query's beside ``model``.

    Raises:
        PayloadTooLargeError: the body is over ``limits.max_body_bytes``; it is not read further.
        SlowBodyError: it does not come in time.
        UnsupportedMediaError: the body is of a kind that the task does not take, or compressed.
        MalformedRequestError: the body is not what it says it is, or a name is given in body and query.
        InvalidParameterError: a parameter is given in body and query, or ``parameters`` is no object.
    """
    refuse_encoded(request)
    content_type = request.headers.get("content-type", "")
    pieces = read_pieces(request, limits)
    if named(content_type) == "multipart/form-data":
        root = await read_multipart(request.headers, pieces, spec, limits)
    else:
        root = read_raw(spec, await joined(pieces), content_type)
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "model"]
    return merge(root, read_fields(spec, query)) if query else root


def read_raw(spec: TaskSpec, body: bytes, content_type: str) -> dict[str, Any]:
    """The root object of a body that is no multipart form.

    Raises:
        UnsupportedMediaError: neither JSON, nor text, nor a file that the task takes.
        MalformedRequestError: JSON, or text in the charset it claims, that cannot be read.
    """
    kind, found = named(content_type), sniff(body[:HEAD])
    if FILES.isdisjoint(found):
        if kind in _JSON or (found == ("json",) and kind != "text/plain"):
            return read_body(body, content_type)
        if kind == "text/plain":
            return _plain_text(spec, body, content_type)
        if found == ("text",) and kind in UNSPECIFIC:
            return _text(spec, body, kind)
    return dict([read_file(spec, body, content_type)])


def _text(spec: TaskSpec, body: bytes, kind: str) -> dict[str, Any]:
    """Text under a content type that says nothing: the fields of a form, or the input."""
    if not body:
        return {}
    if kind == FORM and _FORM_FIELD.match(body) and not body.split(None, 1)[1:]:
        fields = parse_qsl(body.decode().strip(), keep_blank_values=True)
        if any(name == "inputs" or name in part_forms(spec.inputs) for name, _ in fields):
            return read_fields(spec, fields)
    return _plain_text(spec, body, "")


def _plain_text(spec: TaskSpec, body: bytes, content_type: str) -> dict[str, Any]:
    """The text as ``inputs``; but a JSON object that has them is that: browsers call any string plain text."""
    if body.lstrip()[:1] == b"{":
        try:
            root = read_body(body, "")
        except MalformedRequestError:
            root = {}
        if "inputs" in root:
            return root
    charset = re.search(r";\s*charset=\"?([\w-]+)", content_type, re.IGNORECASE)
    name = charset[1].lower() if charset else "utf-8"
    if name not in _CHARSETS:
        raise UnsupportedMediaError(f"Text in {name!r} is not read here; send UTF-8.")
    try:
        text = body.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise MalformedRequestError(f"The body is not text in {name}.") from None
    return {"inputs": text.strip() if files_of(spec.inputs) else text}  # a URL or base64 has a line to itself
