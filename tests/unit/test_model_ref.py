"""``model:`` takes a hub id, a directory, data of a package, or a GGUF file; anything else is refused with a reason."""

import pickle
from pathlib import Path

import pytest

from deployments.model_ref import ModelReferenceError, parse_model_ref


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.Q4_1.gguf").write_bytes(b"GGUF")
    return folder


@pytest.mark.parametrize(
    ("text", "name", "revision", "gguf"),
    [
        ("gpt2", "gpt2", None, None),
        ("owner/name", "owner/name", None, None),
        ("owner/name@v1.0", "owner/name", "v1.0", None),
        ("owner/name@refs/pr/1", "owner/name", "refs/pr/1", None),
        ("owner/name/file.Q4.gguf@main", "owner/name", "main", "file.Q4.gguf"),
        ("owner/name/sub/file.gguf", "owner/name", None, "sub/file.gguf"),
    ],
)
def test_hub_ids(text: str, name: str, revision: str | None, gguf: str | None) -> None:
    ref = parse_model_ref(text)
    assert (ref.name_or_path, ref.revision, ref.gguf_file, ref.is_local) == (name, revision, gguf, False)


def test_revision_may_stand_apart_but_not_twice() -> None:
    assert parse_model_ref("owner/name", "v2").revision == "v2"
    assert parse_model_ref("owner/name@v2", "v2").revision == "v2"
    with pytest.raises(ModelReferenceError, match="two revisions"):
        parse_model_ref("owner/name@v1", "v2")


def test_directories_and_gguf_files(model: Path) -> None:
    ref = parse_model_ref(str(model))
    assert (ref.name_or_path, ref.gguf_file, ref.is_local) == (str(model), None, True)
    ref = parse_model_ref(str(model / "weights.Q4_1.gguf"))
    assert (ref.name_or_path, ref.gguf_file, ref.is_local) == (str(model), "weights.Q4_1.gguf", True)


def test_home_is_expanded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(model.parent))
    assert parse_model_ref("~/model").name_or_path == str(model)


def test_data_of_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shipped_model" / "data"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    ref = parse_model_ref("package:shipped_model/data")
    assert (Path(ref.name_or_path), ref.is_local) == (folder.resolve(), True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("package:no_such_package/model", "no_such_package"),
        ("package:json/nothing", "nothing"),
        ("package:json/../../..", "leads out"),
        ("./nowhere", "nowhere"),
        ("/nowhere/at/all", "nowhere"),
        ("a/b/c", "hub id"),
        ("owner/na me", "hub id"),
        ("", "hub id"),
        ("file.gguf", "hub id"),
    ],
)
def test_what_leads_nowhere_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(ModelReferenceError, match=says):
        parse_model_ref(text)


def test_a_folder_or_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelReferenceError, match=r"config\.json"):
        parse_model_ref(str(tmp_path))
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(ModelReferenceError, match="is a file"):
        parse_model_ref(str(tmp_path / "x.bin"))


def test_the_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(ModelReferenceError("gone")))
    assert str(error) == "gone"
