"""Nothing in a request is ever unpickled, evaluated or run, wherever it stands."""

import ast
import base64
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments import tasks
from deployments.codec import MEDIA_TYPE
from deployments.config import MediaLimits
from deployments.errors import PipelineGraphError
from deployments.media import MediaDecoder
from deployments.parameters import accepted_names, merge_parameters
from deployments.payload import Media
from deployments.tasks import TASKS
from graph.decode import read_body, read_call

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("deployments", "graph") for path in (ROOT / package).rglob("*.py"))
# modules that build objects from bytes, or run text; and the functions of others that do
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "dbm", "code", "runpy", "jinja2"}
# for our own answer, to know how large it is; for Ray, to send a file from our one process to the other; weights of the
# configured model's repository; the /docs page, a template of ours; a compiler that the clock must be able to end; and
# a model's ranks, processes of ours that talk over a socket with a key
ALLOWED = {
    "grammar_source.py": {"subprocess.run"},
    "share.py": {"pickle", "pickle.dumps"},
    "payload.py": {"pickle", "pickle.PickleBuffer"},
    "ranks.py": {"pickle", "pickle.dumps", "pickle.loads", "subprocess.Popen"},
    "sentence_modules.py": {"torch.load"},
    "blame.py": {"jinja2", "jinja2.TemplateError"},
    "page.py": {"jinja2", "jinja2.Environment", "jinja2.FileSystemLoader", "jinja2.StrictUndefined"},
}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"torch.load", "numpy.load", "np.load", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "os.system"}
ATTRIBUTES |= {"subprocess.run", "subprocess.Popen", "np.fromfile", "np.loadtxt"}


def _used(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            yield from (f"{keyword.arg}=" for keyword in node.keywords if keyword.arg == "allow_pickle")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_reaches_for_what_would(path: Path) -> None:
    used = set(_used(path)) - ALLOWED.get(path.name, set())
    assert used & (CALLS | ATTRIBUTES | {"allow_pickle="}) == set()
    assert {name for name in used if name.partition(".")[0] in MODULES} == set()


class _Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[dict[str, bytes]]:
    """Files that run something in whoever unpickles them; the test fails if anybody has."""
    ran = tmp_path / "ran"
    pickled = pickle.dumps(_Runs(ran))
    array, checkpoint = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([_Runs(ran)], object), allow_pickle=True)
    with zipfile.ZipFile(checkpoint, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3")
    yield {"pickle": pickled, "npy": array.getvalue(), "checkpoint": checkpoint.getvalue()}
    assert not ran.exists()
    pickle.loads(pickled)
    assert ran.exists()  # the trap works


NAMES = ["pickle", "npy", "checkpoint"]


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_unpickled(trap: dict[str, bytes], name: str, kind: Any) -> None:
    with pytest.raises(PipelineGraphError):
        MediaDecoder(16_000, MediaLimits()).decode(Media(trap[name], kind))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_no_body_is_unpickled(trap: dict[str, bytes], name: str, task: str) -> None:
    """In each place of a typed body that bytes can stand."""
    data = base64.b64encode(trap[name]).decode()
    shape = [len(trap[name]) // 8]
    values: list[Any] = [
        data,
        f"data:application/octet-stream;base64,{data}",
        {"$type": "bytes", "data": data},
        {"$type": "pickle", "data": data},
        {"$type": "__reduce__", "items": ["os.system", ["true"]]},
        {"py/object": "os.system", "py/reduce": [data]},
        *({"$type": "media", "kind": kind, "data": data} for kind in ("image", "audio", "video")),
        *({"$type": "ndarray", "dtype": dtype, "shape": shape, "data": data} for dtype in ("O", "|O", "object", "O8")),
        {"$type": "tensor", "dtype": "float64", "torch": "load", "shape": shape, "data": data},
        {"$type": "scalar", "dtype": "O", "data": data},
        {"$type": "image", "mode": "RGB", "data": data},
        {"$type": "image", "mode": "RGB", "array": {"dtype": "O", "shape": shape, "data": data}},
    ]
    decoder = MediaDecoder(16_000, MediaLimits())
    for value in values:
        for root in (
            {"inputs": value},
            {"inputs": {"$type": "tuple", "items": [value]}},
            {"inputs": "a", "image": value},
        ):
            with suppress(PipelineGraphError):
                call = read_call(TASKS[task], read_body(json.dumps(root).encode(), MEDIA_TYPE), 10)
                decoder.decode(call.items)
    decoder.close()
    with suppress(PipelineGraphError):
        read_body(trap[name], MEDIA_TYPE)


@pytest.mark.parametrize("key", ["trust_remote_code", "custom_generate", "chat_template"])
@pytest.mark.parametrize("task", sorted(TASKS))
def test_no_parameter_brings_code_at_any_depth(task: str, key: str) -> None:
    spec = TASKS[task]
    accepted = accepted_names(spec)
    for name in sorted(accepted | {key}):
        for value in ({key: "x"}, {"inner": {key: "x"}}, [{key: "x"}], {"a": [{"b": {key: "x"}}]}):
            given = {**spec.example_parameters, name: value}
            with pytest.raises(PipelineGraphError):
                merge_parameters(spec, accepted, {}, given)


@pytest.mark.parametrize(
    "value", ["--psm 6 -c debug_file=/tmp/x", "-c tessedit_write_images=1", "x.cfg", "--user-words /etc/passwd"]
)
def test_the_ocr_programs_arguments_are_not_the_callers(value: str) -> None:
    spec = TASKS["document-question-answering"]
    with pytest.raises(PipelineGraphError, match="tesseract_config"):
        merge_parameters(spec, accepted_names(spec), {}, {"tesseract_config": value})


@pytest.mark.parametrize("value", ["../../tmp/x", "/tmp/x", "-c", "eng/x", "eng --psm 6", 5])
def test_the_ocr_programs_language_is_no_path(value: Any) -> None:
    spec = TASKS["document-question-answering"]
    with pytest.raises(PipelineGraphError, match="lang"):
        merge_parameters(spec, accepted_names(spec), {}, {"lang": value})


@pytest.mark.parametrize(
    "given",
    [{"tesseract_config": "--psm 6 --oem 1"}, {"tesseract_config": ""}, {"lang": "eng"}, {"lang": "chi_sim+deu"}],
)
def test_what_the_ocr_program_may_be_told(given: dict[str, Any]) -> None:
    spec = TASKS["document-question-answering"]
    assert merge_parameters(spec, accepted_names(spec), {}, given) == given


def test_the_configuration_may_tell_the_ocr_program_anything() -> None:
    spec = TASKS["document-question-answering"]
    defaults = {"tesseract_config": "-c preserve_interword_spaces=1"}
    assert merge_parameters(spec, accepted_names(spec), defaults, {}) == defaults


def test_the_table_of_tasks_is_walked() -> None:
    assert len(TASKS) > 25
    assert tasks.TASKS is TASKS
