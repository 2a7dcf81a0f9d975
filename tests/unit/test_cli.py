"""The command line: mistakes listed, exit status told, no traceback, and `check` starts nothing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import cli
from cluster.cli import check_file, main, read_file
from deployments.errors import ConfigError

ROOT = Path(__file__).parents[2]
GOOD = {"models": [{"task": "fill-mask"}, {"name": "second", "task": "ner"}]}


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
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("nothing is to be started"))
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
    monkeypatch.setattr(cli, "_status", lambda _: 0)
    monkeypatch.setattr(cli, "check_file", lambda _: {})
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append([program, *command]))
    return commands


def test_serve_hands_over_to_serve_run_with_the_rest_of_the_line(
    executed: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, {"models": [{"task": "ner"}]}, http_options={"host": "0.0.0.0", "port": 9000})
    main(["serve", path, "--reload"])
    serve = str(Path(sys.executable).with_name("serve"))
    assert executed == [[serve, serve, "run", path, "--reload"]]
    assert Path(serve).exists()
    shown = capsys.readouterr().out
    assert "http://0.0.0.0:9000/models/ner" in shown


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
    assert url == "http://127.0.0.1:8000/models/zero-shot-classification"
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
    assert "/models/ner" in capsys.readouterr().out


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


@pytest.mark.parametrize(("status", "expected"), [("HEALTHY", 0), ("UNHEALTHY", 1), ("UPDATING", 1)])
def test_status_is_a_table_and_an_exit_code(
    status: str, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    deployment = {
        "status": status,
        "message": "a\nlast line",
        "replicas": [{"state": "RUNNING"}, {"state": "STARTING"}],
    }

    class Client:
        def __init__(self, address: str) -> None:
            asked.append(address)

        def get_serve_details(self) -> dict[str, Any]:
            return {"applications": {"pipelines": {"deployments": {"embed": deployment}}}}

    from ray.dashboard.modules.serve import sdk

    monkeypatch.setattr(sdk, "ServeSubmissionClient", Client)
    assert main(["status", "--address", "http://127.0.0.1:1"]) == expected
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["APPLICATION", "DEPLOYMENT", "STATUS", "REPLICAS", "MESSAGE"]
    assert row.split() == ["pipelines", "embed", status, "1", "last", "line"]
    assert asked == ["http://127.0.0.1:1"]
