"""The call forms of ``transformers`` pipelines → items and parameters of a served call.

``pipe("text", top_k=2)``, ``pipe(["a", "b"])``, ``pipe(question=..., context=...)``, ``pipe(image, question=...)``,
``pipe("photo.jpg")``, ``pipe(text=chat)``: whatever the local pipeline takes. Files and URLs are read here, on the
caller's side, as the local pipeline would.
"""

from pathlib import Path
from typing import Any

import httpx

from deployments.errors import InvalidInputError
from deployments.payload import Media
from deployments.tasks import TaskSpec
from deployments.tasks.compound import Chat, Fields, ListOf, Pair
from deployments.tasks.forms import Form, LocalMedia, MediaOf, Table

# keywords under which pipelines take their first argument
_FIRST = ("inputs", "text_inputs", "sequences", "images", "image", "audio", "videos", "video", "args")
_IGNORED = ("batch_size", "num_workers")  # the server decides on batches


def split_arguments(spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The input (or list of inputs) and the parameters of one call.

    Raises:
        TypeError: no input was given, or more positional arguments than the pipeline takes.
    """
    parameters = {name: value for name, value in kwargs.items() if name not in _IGNORED}
    rest = list(args)
    if len(rest) == 2 and "candidate_labels" in spec.required:
        parameters.setdefault("candidate_labels", rest.pop())
    form = spec.inputs.otherwise if isinstance(spec.inputs, Chat) else spec.inputs
    if spec.name == "decision":
        return _decision(rest, parameters)
    if isinstance(form, Fields) and (len(rest) > 1 or any(name in parameters for name in form.names)):
        return _fields(form, rest, parameters, chat=isinstance(spec.inputs, Chat)), parameters
    if not rest:
        rest = [parameters.pop(name) for name in _FIRST if name in parameters][:1]
    if len(rest) != 1:
        raise TypeError(f"{spec.name} takes one positional argument and keyword parameters, not {len(rest)}")
    return rest[0], parameters


def _decision(rest: list[Any], parameters: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """``decide(state, questions=..., assets=...)`` as one request object."""
    if len(rest) != 1:
        raise TypeError(f"decision takes one positional argument and keyword parameters, not {len(rest)}")
    asked = {name: parameters.pop(name) for name in ("questions", "assets") if name in parameters}
    return ({"state": rest[0], **asked} if asked else rest[0]), parameters


def _fields(form: Fields, rest: list[Any], parameters: dict[str, Any], chat: bool) -> Any:
    """Keyword parts, taken out of ``parameters``, and positional ones in the order of the form."""
    parts = {name: parameters.pop(name) for name in form.names if name in parameters}
    if chat and not rest and set(parts) == {"text"} and Chat._is_chat(parts["text"]):
        return parts["text"]
    absent = [name for name in form.names if name not in parts]
    if len(rest) > len(absent):
        raise TypeError(f"takes {', '.join(form.names)}, not {len(rest)} more positional arguments")
    parts |= dict(zip(absent, rest, strict=False))
    lists = {name: value for name, value in parts.items() if isinstance(value, list) and _is_column(form, name)}
    if not lists:
        return parts
    length = max(len(value) for value in lists.values())
    columns = {name: value if name in lists else [value] * length for name, value in parts.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _is_column(form: Fields, name: str) -> bool:
    """Whether a list under ``name`` means one entry for each input, rather than one value that is a list."""
    part = {**form.required, **form.optional}[name]
    return isinstance(part, MediaOf) or type(part).__name__ == "Text"


def load_media(form: Form, value: Any, path: str = "inputs") -> Any:
    """``value`` with files and URLs read, and tables as columns; PIL images and arrays stay.

    Raises:
        FileNotFoundError: a local file does not exist.
        httpx.HTTPError: a URL cannot be read.
    """
    if isinstance(form, MediaOf):
        return _media(form, value, path)
    if isinstance(form, Table) and hasattr(value, "to_dict"):  # a pandas DataFrame
        return value.astype(str).to_dict(orient="list")
    if isinstance(form, Fields):
        if not isinstance(value, dict):
            return value if form.bare is None else load_media(form.optional.get(form.bare, Form()), value, path)
        forms = {**form.required, **form.optional}
        value = {("images" if name == "image" and "images" in forms else name): part for name, part in value.items()}
        return {name: load_media(forms.get(name, Form()), part, f"{path}.{name}") for name, part in value.items()}
    if isinstance(form, Pair | ListOf) and isinstance(value, list | tuple):
        return [load_media(form.form, part, f"{path}[{index}]") for index, part in enumerate(value)]
    if isinstance(form, ListOf):
        return load_media(form.form, value, path)
    if isinstance(form, Chat):
        return (
            [_message(message, path) for message in value]
            if form._is_chat(value)
            else load_media(form.otherwise, value, path)
        )
    return value


def _message(message: dict[str, Any], path: str) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_part(part, path) for part in content]}


def _part(part: dict[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind not in ("image", "audio", "video"):
        return part
    source = next((part[key] for key in (kind, "url", "path", "base64") if part.get(key) is not None), None)
    return {"type": kind, kind: _media(MediaOf(kind), source, path)}


def _media(form: MediaOf, value: Any, path: str) -> Any:
    value = _of_a_library(value)
    if isinstance(value, bytes):
        return Media(value, form.kind, path)
    if isinstance(value, Path):
        return Media(value.read_bytes(), form.kind, path)
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        return Media(httpx.get(value, follow_redirects=True).raise_for_status().content, form.kind, path)
    if _is_file(value):
        return Media(Path(value).read_bytes(), form.kind, path)
    try:
        read = form.read(value, path)  # a data: URI or base64, as transformers' load_image takes it
    except InvalidInputError:
        read = None
    if read is None or isinstance(read, LocalMedia):  # a path is the caller's here, never the server's
        raise FileNotFoundError(f"there is no file {value[:100]!r}, and it is no URL and no base64 either")
    return read


def _of_a_library(value: Any) -> Any:
    """Tensors of torch as arrays, and the images and sounds of ``datasets`` as pipelines take them."""
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:  # one that is not decoded
        return value["path"] if value["bytes"] is None else value["bytes"]
    if hasattr(value, "get_all_samples"):  # torchcodec's decoder: all channels, which are mixed
        samples = value.get_all_samples()
        return {"raw": samples.data.numpy().mean(axis=0), "sampling_rate": int(samples.sample_rate)}
    if isinstance(value, dict) and hasattr(value.get("sampling_rate"), "item"):  # a number of numpy or torch
        return {**value, "sampling_rate": value["sampling_rate"].item()}
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _is_file(name: str) -> bool:
    """Whether a file of that name exists; base64 is too long for a name."""
    try:
        return not name.startswith("data:") and Path(name).is_file()
    except OSError:
        return False
