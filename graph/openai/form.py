"""Multipart form with one file → the fields of a request and the file, as OpenAI's clients send sounds."""

from typing import Any

from starlette.datastructures import FormData, UploadFile

from deployments.errors import InvalidInputError, InvalidParameterError, UnsupportedMediaError
from deployments.payload import Media
from deployments.tasks import TASKS
from graph.multipart import parse_form
from graph.openai.asked import Asked
from graph.received import read_pieces, refuse_encoded
from graph.upload import named, read_file

FILE = "file"


async def read_sound(asked: Asked, lists: frozenset[str]) -> tuple[dict[str, Any], Media]:
    """The fields of a form, and the sound in it.

    Args:
        asked: the request.
        lists: names of the fields that are lists, to be written ``name[]`` or ``name``.

    Returns:
        The fields, strings or lists of strings; those that are empty are left out.

    Raises:
        RequestError: not such a form, or its file is no sound.
    """
    refuse_encoded(asked.request)
    headers, limits = asked.request.headers, asked.graph.limits
    if named(headers.get("content-type", "")) != "multipart/form-data":
        raise UnsupportedMediaError(f"This route takes a multipart form with the sound under `{FILE}`.")
    form = await parse_form(headers, read_pieces(asked.request, limits), limits)
    try:
        return _fields(form, lists), await _sound(form)
    finally:
        await form.close()


def _fields(form: FormData, lists: frozenset[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for written, value in form.multi_items():
        name = written.removesuffix("[]")
        if name == FILE or value == "":
            continue
        if isinstance(value, UploadFile):
            raise InvalidInputError(f"`{name}` is a file; the only one that this route takes is `{FILE}`.", name)
        if name in lists or written.endswith("[]"):
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise InvalidParameterError(f"`{name}` is given more than once.", name)
        else:
            fields[name] = value
    return fields


async def _sound(form: FormData) -> Media:
    given = form.getlist(FILE)
    if len(given) != 1:
        raise InvalidInputError(f"`{FILE}` is {'given more than once' if given else 'missing'}.", FILE)
    file = given[0]
    if not isinstance(file, UploadFile):
        raise InvalidInputError(f"`{FILE}` must be a file, with a filename in its part of the form.", FILE)
    spec = TASKS["automatic-speech-recognition"]
    _, media = read_file(spec, await file.read(), file.content_type or "")
    return Media(media.data, media.kind, FILE)
