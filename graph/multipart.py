"""Multipart form → root object of a call: files and fields together, as ``curl -F`` and browsers send them."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deployments.codec import MEDIA_TYPE
from deployments.errors import InvalidInputError, MalformedRequestError, PayloadTooLargeError
from deployments.tasks import TaskSpec
from graph.config import LimitsConfig
from graph.fields import read_fields
from graph.json_body import parse_typed
from graph.parts import files_of, part_forms
from graph.upload import named, read_file

MOST_PARTS = 1000
"""Files, and fields, of one form."""
# names of a file that is the input, or the part of it that is a file; beside them the name of the kind
_GENERIC = ("inputs", "file", "data")


# it warns of a bad form with what stands in it
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class _Parser(MultiPartParser):
    """Starlette's, which takes a form that breaks off for a short one."""

    spool_max_size = 16 * 2**20  # all of it comes to memory anyway: this much needs no disk on the way
    ended = False

    def on_end(self) -> None:
        self.ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self.ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("the form breaks off")
        return form


async def read_multipart(
    headers: Headers, pieces: AsyncGenerator[bytes, None], spec: TaskSpec, limits: LimitsConfig
) -> dict[str, Any]:
    """The root object of a form.

    Args:
        headers: of the request.
        pieces: of its body, bounded by the caller.
        spec: the task.
        limits: ``max_list_items`` bounds the files.

    Raises:
        MalformedRequestError: not a multipart form, or one that breaks off.
        PayloadTooLargeError: too many parts.
        UnsupportedMediaError: a file is of a kind that the task does not take.
        InvalidInputError: a file stands under a name that takes none.
    """
    form = await parse_form(headers, pieces, limits)
    try:
        return read_fields(spec, [field async for field in _fields(spec, form)])
    finally:
        await form.close()


async def parse_form(headers: Headers, pieces: AsyncGenerator[bytes, None], limits: LimitsConfig) -> FormData:
    """The fields and files of a form; close it after use.

    Raises:
        MalformedRequestError: not a multipart form, or one that breaks off.
        PayloadTooLargeError: too many parts.
    """
    most = min(MOST_PARTS, limits.max_list_items)
    parser = _Parser(headers, pieces, max_files=most, max_fields=MOST_PARTS, max_part_size=limits.max_body_bytes)
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many"):
            raise PayloadTooLargeError(f"The form has more than {most} files or {MOST_PARTS} fields.") from None
        raise MalformedRequestError("The body is not a multipart form that can be read, or it breaks off.") from None


async def _fields(spec: TaskSpec, form: FormData) -> AsyncGenerator[tuple[str, Any], None]:
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            yield name, value
        elif value.filename or value.size:  # a browser sends a file without name or content where none was chosen
            yield _file(spec, name, await value.read(), value.content_type or "")


def _file(spec: TaskSpec, name: str, data: bytes, content_type: str) -> tuple[str, Any]:
    """The field that a file is: a `Media` under the name of its part, or the text in it."""
    files = files_of(spec.inputs)
    if name == "parameters" and named(content_type) == MEDIA_TYPE:
        return name, parse_typed(data)
    if name == "parameters" or (name in part_forms(spec.inputs) and name not in files.values()):
        return name, _text(name, data)
    if name in _GENERIC:
        return read_file(spec, data, content_type) if files else ("inputs", _text(name, data))
    kinds = [kind for kind, part in files.items() if name in (part, kind, f"{kind}s")]
    if not kinds:
        raise InvalidInputError(f"`{name}` is a file, and {spec.name} takes none under that name.", name)
    return read_file(spec, data, content_type, kinds)


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise MalformedRequestError(f"`{name}` is not UTF-8 text.", name) from None
