"""``model:`` takes a hub id, a directory, data of a package, or a GGUF file; anything else is refused with a reason."""

import importlib
import json
import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

from deployments.model_ref import ModelRef, ModelReferenceError, gguf_architecture, parse_model_ref, read_config


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights.Q4_1.gguf").write_bytes(b"GGUF")
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that must not be imported, with a model in ``data/``."""
    package = tmp_path / "site" / "shipped_model"
    (package / "data").mkdir(parents=True)
    (package / "data" / "config.json").write_text("{}")
    (package / "small.gguf").write_bytes(b"GGUF")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    return package


@pytest.mark.parametrize(
    ("text", "name", "revision", "gguf"),
    [
        ("gpt2", "gpt2", None, None),
        ("owner/name", "owner/name", None, None),
        ("owner/name@v1.0", "owner/name", "v1.0", None),
        ("owner/name@refs/pr/1", "owner/name", "refs/pr/1", None),
        ("owner/name/file.Q4.gguf", "owner/name", None, "file.Q4.gguf"),
        ("owner/name/file.Q4.gguf@main", "owner/name", "main", "file.Q4.gguf"),
        ("owner/name/sub/file.gguf", "owner/name", None, "sub/file.gguf"),
        ("owner/name-GGUF", "owner/name-GGUF", None, None),
    ],
)
def test_hub_ids(text: str, name: str, revision: str | None, gguf: str | None) -> None:
    assert parse_model_ref(text) == ModelRef(text, name, revision, gguf, is_local=False)


def test_revision_may_stand_apart_but_not_twice() -> None:
    assert parse_model_ref("owner/name", "v2").revision == "v2"
    assert parse_model_ref("owner/name@v2", "v2").revision == "v2"
    with pytest.raises(ModelReferenceError, match="two revisions"):
        parse_model_ref("owner/name@v1", "v2")
    with pytest.raises(ModelReferenceError, match="names no revision"):
        parse_model_ref("owner/name@")


def test_directories_and_gguf_files(model: Path) -> None:
    assert parse_model_ref(str(model)) == ModelRef(str(model), str(model), is_local=True)
    file = model / "weights.Q4_1.gguf"
    assert parse_model_ref(str(file)) == ModelRef(str(file), str(model), gguf_file=file.name, is_local=True)


def test_an_adapter_is_a_model_too(model: Path) -> None:
    (model / "config.json").rename(model / "adapter_config.json")
    assert parse_model_ref(str(model)).is_local


@pytest.mark.parametrize("text", ["~/model", "./model", "model", "model/", "../cwd/model", "model/weights.Q4_1.gguf"])
def test_what_is_on_this_machine_comes_first(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cwd = tmp_path / "cwd"
    (cwd / "model").mkdir(parents=True)
    (cwd / "model" / "config.json").write_text("{}")
    (cwd / "model" / "weights.Q4_1.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(cwd)
    monkeypatch.setenv("HOME", str(cwd))
    ref = parse_model_ref(text)
    assert (ref.source, ref.is_local) == (text, True)
    assert Path(ref.name_or_path).resolve() == (cwd / "model").resolve()


def test_a_local_model_has_no_revisions(model: Path, shipped: Path) -> None:
    for text in (str(model), "package:shipped_model/data"):
        with pytest.raises(ModelReferenceError, match="no revision 'v2': leave it out"):
            parse_model_ref(text, "v2")
    with pytest.raises(ModelReferenceError, match="leave out what follows @"):
        parse_model_ref(f"{model}@v2")


def test_data_of_a_package_is_found_without_importing_it(shipped: Path) -> None:
    ref = parse_model_ref("package:shipped_model/data")
    assert ref == ModelRef("package:shipped_model/data", str(shipped / "data"), is_local=True)
    ref = parse_model_ref("package:shipped_model/small.gguf")
    assert (ref.name_or_path, ref.gguf_file) == (str(shipped), "small.gguf")
    assert "shipped_model" not in sys.modules


def test_a_package_may_itself_be_the_model_or_link_to_it(shipped: Path, tmp_path: Path) -> None:
    (shipped / "config.json").write_text("{}")
    assert parse_model_ref("package:shipped_model").name_or_path == str(shipped)
    cache = tmp_path / "cache"  # `uv pip install --link-mode symlink` puts the files elsewhere
    (shipped / "data").rename(cache)
    (shipped / "data").symlink_to(cache)
    assert parse_model_ref("package:shipped_model/data").name_or_path == str(shipped / "data")


def test_the_parts_of_a_namespace_package_are_all_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("one", "two"):
        (tmp_path / part / "shared_models" / part).mkdir(parents=True)
        (tmp_path / part / "shared_models" / part / "config.json").write_text("{}")
        monkeypatch.syspath_prepend(str(tmp_path / part))
    importlib.invalidate_caches()
    assert Path(parse_model_ref("package:shared_models/one").name_or_path).name == "one"
    assert Path(parse_model_ref("package:shared_models/two").name_or_path).name == "two"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("package:no_such_package/model", r"'no_such_package' is installed here; `pip install`.* no-such-package"),
        ("package:shipped-model/data", "write package:shipped_model/data"),
        ("package:shipped_model/date", "no 'date'; it has data, small.gguf"),
        ("package:shipped_model/../x", "leads out"),
        ("package:shipped_model/data/../../x", "leads out"),
        ("package:shipped_model//etc", "leads out"),
        ("package:shipped_model", r"no config\.json.*did you mean package:shipped_model/data or .*/small\.gguf\?"),
        ("package:", "no Python package ''"),
        ("package:shipped_model.data/x", "'shipped_model.data' is installed"),  # looking would import the parent
        ("package:module_without_spec/x", "'module_without_spec' is installed"),
        ("package:struct/x", "'struct' is installed"),  # one file, no directory
        ("./nowhere", r"no \./nowhere on this machine"),
        ("~/nowhere", "no ~/nowhere on this machine"),
        ("~nobody_at_all/x", "no ~nobody_at_all/x on this machine"),
        ("/nowhere/at/all", "no /nowhere/at/all on this machine"),
        ("/nowhere/file.gguf", "no /nowhere/file.gguf on this machine"),
        ("a/b/c", "hub id"),
        ("owner/na me", "hub id"),
        ("owner/name.git", "hub id"),
        ("öwner/name", "hub id"),
        ("https://huggingface.co/owner/name", "hub id"),
        ("x" * 5000, "hub id"),
        ("", "hub id"),
        ("file.gguf", "owner/name/file.gguf"),
        ("owner/file.gguf", "owner/name/file.gguf"),
        ("owner/name/../file.gguf", "owner/name/file.gguf"),
    ],
)
@pytest.mark.usefixtures("shipped")
def test_what_leads_nowhere_is_refused_with_the_reason(text: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "module_without_spec", ModuleType("module_without_spec"))
    with pytest.raises(ModelReferenceError, match=says):
        parse_model_ref(text)


def test_a_missing_path_is_answered_with_what_is_there(model: Path) -> None:
    with pytest.raises(ModelReferenceError, match=f"{model} has config.json, weights.Q4_1.gguf"):
        parse_model_ref(str(model / "weights.gguf"))


def test_a_folder_or_file_that_is_no_model_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelReferenceError, match=rf"no config\.json.*did you mean {model}\?"):
        parse_model_ref(str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelReferenceError, match=r"no config\.json.*it has nothing"):
        parse_model_ref(str(empty))
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(ModelReferenceError, match="is a file"):
        parse_model_ref(str(tmp_path / "x.bin"))


def test_long_listings_are_cut(tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / f"part{index:02}").touch()
    with pytest.raises(ModelReferenceError, match="part07 and 4 more"):
        parse_model_ref(str(tmp_path))


def test_configs_are_read_or_refused(model: Path) -> None:
    config = model / "config.json"
    config.write_text(json.dumps({"model_type": "bert"}))
    assert read_config(model, "m") == {"model_type": "bert"}
    for wrong, says in (("{", "the config.json of m cannot be read"), ("[]", "not a JSON object")):
        config.write_text(wrong)
        with pytest.raises(ModelReferenceError, match=says):
            read_config(model, "m")
    config.unlink()
    with pytest.raises(ModelReferenceError, match="cannot be read"):
        read_config(model, "m")


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(("key", "value", "read"), [(b"general.architecture", b"llama", "llama"), (b"x", b"y", "")])
def test_a_gguf_file_says_what_it_holds(key: bytes, value: bytes, read: str, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    file.write_bytes(header + _string(key) + struct.pack("<I", 8) + _string(value) + bytes(64))
    assert gguf_architecture(file) == read


@pytest.mark.parametrize("content", [b"", b"GGUF", b"version https://git-lfs.github.com/spec/v1\n" + bytes(100)])
def test_what_is_no_gguf_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelReferenceError, match="no GGUF file"):
        gguf_architecture(tmp_path / "m.gguf")


def test_the_reader_agrees_with_the_gguf_library(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "qwen2")
    writer.add_name("a name long enough to fill the head of the file")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert gguf_architecture(tmp_path / "m.gguf") == "qwen2"


def test_the_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(ModelReferenceError("gone")))
    assert (type(error), str(error)) == (ModelReferenceError, "gone")
