"""What may import what, how long a file may be, and what the router's process does not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("deployments", "graph", "cluster", "embedded")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NO_RAY = [
    *(f"deployments/{name}.py" for name in ("codec", "payload", "errors", "config", "media", "parameters", "blame")),
    *(f"deployments/{name}.py" for name in ("run", "load", "warm_up", "fake")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "deployments/tasks").rglob("*.py")),
]


def _of(package: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in SOURCES if path.is_relative_to(ROOT / package)]


def imports(file: str) -> Iterator[tuple[str, int]]:
    """Every module that ``file`` imports anywhere in it, with the line; ``from a import b`` is ``a.b``."""
    parents = Path(file).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def _within(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def test_the_check_sees_every_package() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)
    assert "ray.serve" in {name for name, _ in imports("graph/app.py")}


@pytest.mark.parametrize("file", _of("deployments"))
def test_deployments_know_nothing_of_who_uses_them(file: str) -> None:
    upward = [(name, line) for name, line in imports(file) if _within(name, "graph", "cluster", "embedded", "tests")]
    assert upward == []


@pytest.mark.parametrize("file", _of("graph"))
def test_the_graph_imports_only_deployments_and_three_modules_of_the_cluster(file: str) -> None:
    own = [(name, line) for name, line in imports(file) if _within(name, *PACKAGES, "tests")]
    allowed = ("deployments", "graph", "cluster.options", "cluster.version", "cluster.plan.capacity")
    assert [(name, line) for name, line in own if not _within(name, *allowed)] == []


@pytest.mark.parametrize("file", NO_RAY)
def test_the_part_that_runs_models_needs_no_ray(file: str) -> None:
    assert [(name, line) for name, line in imports(file) if _within(name, "ray")] == []


@pytest.mark.parametrize("file", sorted({*NO_RAY} - {"deployments/run.py", "deployments/load.py"}))
def test_the_light_part_loads_no_torch_when_imported(file: str) -> None:
    """At the top level; inside functions it may."""
    tree = ast.parse((ROOT / file).read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
    assert [name for name in names if _within(name, "torch", "transformers")] == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "module", ["graph.app", "graph.router", "graph.client", "deployments.codec", "deployments.tasks"]
)
def test_a_fresh_interpreter_loads_no_torch_for(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert module.partition(".")[0] in loaded
    assert loaded & {"torch", "transformers"} == set()


@pytest.mark.parametrize("kind", ["_REPLICA", "_GROUP_REPLICA"])
def test_the_class_that_the_builder_names_is_there(kind: str) -> None:
    from graph import app

    path = str(getattr(app, kind).func_or_class)
    program = f"from ray.serve._private.replica import _load_deployment_def_from_import_path as f; print(f({path!r}))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"<class '{path}'>"
    assert "decorated" not in run.stderr  # whose settings would be ignored


def test_the_command_line_sets_the_switches_of_ray_before_it_is_imported() -> None:
    """`cluster.start` sets them; Ray reads them once."""
    program = "import sys, cluster.cli; print('ray' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("file", [str(path.relative_to(ROOT)) for path in SOURCES])
def test_no_source_file_is_longer_than_250_lines(file: str) -> None:
    assert len((ROOT / file).read_text().splitlines()) <= 250


@pytest.mark.parametrize("file", [str(path.relative_to(ROOT)) for path in SOURCES])
def test_no_function_is_longer_than_60_lines(file: str) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    spans = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in spans.items() if lines > 60} == {}
