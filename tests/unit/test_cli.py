"""The command line: mistakes listed, exit status told, no traceback, and `check` starts nothing."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cluster import cli, start
from cluster.cli import check_file, main, read_file
from cluster.plan import capacity
from cluster.plan import cli as planning
from deployments.errors import ConfigError
from deployments.progress import FOLDER
from graph.access.config import AccessConfig
from graph.access.keys import KeyRing

ROOT = Path(__file__).parents[2]
GOOD = {"models": [{"task": "fill-mask"}, {"name": "second", "task": "ner"}]}


@pytest.fixture(autouse=True)
def _an_ample_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine is not looked at."""

    @contextmanager
    def connected(_: str | None) -> Iterator[None]:
        yield None

    monkeypatch.setattr(planning, "connected", connected)
    monkeypatch.setattr(planning, "of_this_machine", lambda: [capacity.Node("this machine", 64, (), 2**40)])


def _file(tmp_path: Path, *args: Any, **other: Any) -> str:
    applications = [
        {"name": f"app-{index}", "route_prefix": f"/{index}", "import_path": "graph.app:build", "args": each}
        for index, each in enumerate(args)
    ]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"applications": applications, **other}))
    return str(path)


def test_good_file_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", _file(tmp_path, GOOD)]) == 0
    assert "2 models, no mistakes" in capsys.readouterr().out


def test_file_of_the_repository_is_the_default_and_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["check"]) == 0
    assert "no mistakes" in capsys.readouterr().out


def test_names_of_the_models_are_found_by_application(tmp_path: Path) -> None:
    assert check_file(Path(_file(tmp_path, GOOD))) == {"app-0": ["fill-mask", "second"]}


@pytest.mark.parametrize(
    "args",
    [
        [{"models": [{"task": "ner", "bacth": 1}, {"task": "nre"}]}, {"models": []}],
        [{"models": [{"task": "ner", "parameters": {"strde": 1}}]}, {"models": [{"task": "ner", "typo": 1}]}],
        [{"models": [{"task": "ner", "parameters": {"strde": 1, "delimitr": ","}}]}],
        [{"models": [{"task": "ner", "parameters": {"strde": 1}}, {"task": "vqa", "bacth": 1}]}],
    ],
    ids=["keys", "keys-and-parameters-of-two-applications", "parameters-of-one-model", "keys-and-parameters"],
)
def test_every_mistake_is_listed_with_its_path(
    args: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {
        "bacth": "applications[0].args.models[{}].bacth: ",
        "nre": "applications[0].args.models[1].task: ",
        "strde": "applications[0].args.models[0].parameters.strde: ",
        "delimitr": "applications[0].args.models[0].parameters.delimitr: ",
        "typo": "applications[1].args.models[0].typo: ",
    }
    assert main(["check", _file(tmp_path, *args)]) == 2
    shown = capsys.readouterr().err
    for word, path in paths.items():
        if word in str(args):
            assert (
                path.format(next(i for i, m in enumerate(args[0]["models"]) if word in str(m)) if "{}" in path else "")
                in shown
            )
    if {"models": []} in args:
        assert "applications[1].args.models: " in shown


BAD_FILES = {
    "missing": None,
    "empty": b"",
    "text": b"hello",
    "list": b"- a\n- b\n",
    "no-yaml": b"a: [1, 2",
    "tabs": b"a:\n\t- b",
    "no-applications": b"a: 1\n",
    "applications-none": b"applications:\n",
    "applications-text": b"applications: x\n",
    "unknown-key-of-serve": b"applications:\n- name: a\n  import_path: graph.app:build\n  argz: {}\n",
    "bad-port": b"http_options: {port: x}\napplications: []\n",
    "binary": b"\x89PNG\r\n\x1a\n\xff\xfe",
    "python-object": b"!!python/object/apply:os.system ['exit 3']",
}


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_file_that_is_no_config_is_told_and_exits_with_2(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_serve_run", lambda _: pytest.fail("nothing is to be started"))
    path = tmp_path / "config.yaml"
    content = BAD_FILES[name]
    if content is not None:
        path.write_bytes(content)
    assert main([command, str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_directory_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["chekc"], ["check", "--typo"], ["check", "a", "b"], ["status", "--adress", "x"]]
)
def test_wrong_command_line_is_told_and_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.status.show", lambda _: 0)
    monkeypatch.setattr(cli, "check_file", lambda _: {})
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    commands: list[list[str]] = []
    monkeypatch.setattr(start, "_serve_run", lambda arguments: commands.append(arguments) or 0)
    monkeypatch.setattr(subprocess, "Popen", lambda command: announced.append(command) or SimpleNamespace(wait=int))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (
        FOLDER,
        *start.LONG_MESSAGES,
        *start.QUICK_PROXY,
        *start._QUIET,
    ):  # what it sets is gone after the test
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    return commands


announced: list[list[str]] = []


def test_serve_hands_over_to_serve_run_with_the_rest_of_the_line(
    executed: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = {"models": [{"task": "ner"}], "access": {"open": True}}
    path = _file(tmp_path, args, http_options={"host": "0.0.0.0", "port": 9000})
    assert main(["serve", path, "--reload"]) == 0
    assert executed == [[path, "--reload"]]
    shown = capsys.readouterr().out
    assert "http://0.0.0.0:9000/0/models/ner" in shown
    folder = os.environ[FOLDER]
    command = [sys.executable, "-m", "cluster.announce", "http://127.0.0.1:9000/0", folder, "ner"]
    assert announced[-1] == command
    assert os.environ["RAY_LOG_TO_DRIVER"] == "0"


def test_serve_lets_in_nobody_else_where_the_file_does_not_say_who(
    monkeypatch: pytest.MonkeyPatch, executed: list[list[str]], tmp_path: Path
) -> None:
    """As Serve itself reads the file that it is handed."""
    handed: list[Any] = []

    def run(arguments: list[str]) -> int:
        executed.append(arguments)
        content = yaml.safe_load(Path(arguments[0]).read_text())
        handed.append((content, ServeDeploySchema.model_validate(content).http_options))
        return 0

    monkeypatch.setattr(start, "_serve_run", run)
    for http in (None, {}, {"port": 9000}):
        path = _file(tmp_path, {"models": [{"task": "ner"}]}, **({} if http is None else {"http_options": http}))
        assert main(["serve", path, "--reload"]) == 0
        content, options = handed[-1]
        assert (options.host, options.port) == ("127.0.0.1", (http or {}).get("port", 8000))
        assert content["applications"] == read_file(Path(path))["applications"]
        assert executed[-1][1:] == ["--reload"]
        assert not Path(executed[-1][0]).exists()


@pytest.mark.parametrize(
    ("host", "shown", "asked"),
    [
        ("::", "[::]", "[::1]"),
        ("::1", "[::1]", "[::1]"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("server.example", "server.example", "server.example"),
    ],
)
def test_any_host_makes_an_address(
    host: str,
    shown: str,
    asked: str,
    executed: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = {"models": [{"task": "ner"}], "access": {"open": True}}
    main(["serve", _file(tmp_path, args, http_options={"host": host})])
    assert f"curl http://{shown}:8000/0/models/ner" in capsys.readouterr().out
    assert announced[-1][3] == f"http://{asked}:8000/0"
    assert httpx.URL(announced[-1][3]).host == asked.strip("[]")
    assert executed


def test_serve_run_is_rays_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve import scripts

    called: list[Any] = []
    monkeypatch.setattr(scripts.run, "callback", lambda **given: called.append(given))
    with pytest.raises(SystemExit) as caught:
        start._serve_run([_file(tmp_path, GOOD), "--name", "other"])
    assert caught.value.code == 0
    assert called[0]["config_or_import_path"].endswith("config.yaml")
    assert called[0]["name"] == "other"


def test_who_wants_the_logs_on_the_terminal_gets_them(
    executed: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_LOG_TO_DRIVER", "1")
    main(["serve", _file(tmp_path, {"models": [{"task": "ner"}]})])
    assert executed
    assert os.environ["RAY_LOG_TO_DRIVER"] == "1"


def test_serve_looks_often_whether_the_proxy_lives_unless_told_otherwise(
    executed: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, (name,) = _file(tmp_path, {"models": [{"task": "ner"}]}), start.QUICK_PROXY
    main(["serve", path])
    assert os.environ[name] == "2"
    monkeypatch.setenv(name, "7")
    main(["serve", path])
    assert os.environ[name] == "7"
    assert len(executed) == 2


def test_serve_does_not_open_a_server_without_keys(
    executed: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, {"models": [{"task": "ner"}]}, http_options={"host": "0.0.0.0"})
    assert main(["serve", path]) == 2
    assert executed == []
    assert "listens on 0.0.0.0" in capsys.readouterr().err


def test_key_shows_a_key_and_the_entry_that_lets_it_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "analytics"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    entries = yaml.safe_load("\n".join(rest[1:]))
    ring = KeyRing(AccessConfig.model_validate({"keys": entries}))
    found = ring.find(first.split()[-1])
    assert found is not None
    assert found.name == "analytics"
    assert main(["key", "a b"]) == 2


def test_serve_says_first_what_would_wait(
    executed: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = {"task": "ner", "resources": {"num_gpus": 2}, "scale": {"min_replicas": 3}}
    main(["serve", _file(tmp_path, {"models": [two, {"task": "fill-mask", "resources": {"num_cpus": 65}}]})])
    warning = capsys.readouterr().err
    assert "this machine has no room for all of it" in warning
    assert "ner: 3 replicas would wait: 2 GPUs on one node are wanted, and there is no node with any" in warning
    assert "fill-mask: 1 replica would wait: no node has 65 CPUs free" in warning
    assert executed
    main(["serve", _file(tmp_path, {"models": [{"task": "ner"}]})])
    assert capsys.readouterr().err == ""


def test_first_request_shown_is_one_that_the_server_takes(
    executed: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.parameters import accepted_names, merge_parameters
    from deployments.tasks import TASKS
    from graph.decode import read_body, read_call

    main(
        ["serve", _file(tmp_path, {"models": [{"task": "image-classification"}, {"task": "zero-shot-classification"}]})]
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "curl" in line]
    url, _, body = line.strip().removeprefix("curl ").partition(" -d ")
    assert url == "http://127.0.0.1:8000/0/models/zero-shot-classification"
    spec = TASKS["zero-shot-classification"]
    call = read_call(spec, read_body(body.strip("'").encode(), "application/x-www-form-urlencoded"), 1)
    merge_parameters(spec, accepted_names(spec), {}, call.parameters)
    assert executed


def test_applications_of_others_in_the_file_are_theirs(
    executed: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(_file(tmp_path, {"models": [{"task": "ner"}]}))
    content = yaml.safe_load(path.read_text())
    content["applications"].insert(
        0, {"name": "other", "route_prefix": "/o", "import_path": "other:app", "args": {"a": 1}}
    )
    path.write_text(yaml.safe_dump(content))
    assert main(["check", str(path)]) == 0
    main(["serve", str(path)])
    assert len(executed) == 1
    assert "/0/models/ner" in capsys.readouterr().out


def test_read_file_gives_what_serve_run_reads(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD)
    assert read_file(Path(path)) == yaml.safe_load(Path(path).read_text())
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "none.yaml")


def test_check_in_a_process_of_its_own_starts_no_ray_and_shows_no_traceback(tmp_path: Path) -> None:
    path = _file(tmp_path, {"models": [{"task": "ner", "bacth": 1}]})
    program = (
        "import sys, ray, cluster.cli\n"
        "status = cluster.cli.main(sys.argv[1:])\n"
        "print('started' if ray.is_initialized() else 'not started')\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout.strip() == "not started"
    assert "did you mean 'batch'?" in done.stderr
    assert "Traceback" not in done.stderr
