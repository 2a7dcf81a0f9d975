"""What operators see of a real server: Prometheus series, the dashboard's queries, the status table, JSON logs."""

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from ray.serve._private.logging_utils import get_serve_logs_dir

import deployments.group_metrics
import deployments.metrics
import graph.metrics
from cluster.figures import Figures, figures
from tests.serve.cluster import deploy, until
from tests.serve.gate import Gate
from tests.serve.minute import early_in_a_minute
from tests.serve.served import case_of, served
from tests.unit.test_metrics import queries

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SERIES = (*deployments.metrics.SERIES, *deployments.group_metrics.SERIES, *graph.metrics.SERIES)
NEVER_HERE = {"ray_pipeline_graph_batch_cost_ceiling"}  # only once memory ran out
SHARED = ("seen-one", "seen-two")
ANSWERS = {
    ("/models/{name}", "seen-echo", "200", "visitor"),
    ("/models/{name}", "seen-echo", "500", "visitor"),
    ("/models/{name}", "none", "404", "visitor"),
    ("none", "none", "404", "visitor"),
    ("/models", "none", "200", "seldom"),
    ("none", "none", "429", "none"),
}
SECRET = "the-words-of-a-caller"
KEY = "key of visitor"


def headers(**more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}", **more}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    small = {"task": "fake", "resources": {"num_cpus": 0.1}}
    gate = Gate(tmp_path_factory.mktemp("gate"))
    models = [
        {"name": "seen-echo", **small},
        {"name": "seen-steady", **small, "init": {"forward_s": 0.2, **gate.init}},
        served(case_of("text-generation-llama"), checkpoints, name="seen-write"),
        served(case_of("text-classification-bert"), checkpoints, name="classify", cache={"max_bytes": 1_000_000}),
        *({"name": name, "task": "fake", "group": "seen-group"} for name in SHARED),
    ]
    groups = {"seen-group": {"max_models": 1, "resources": {"num_cpus": 0.1}}}
    sha256 = hashlib.sha256(KEY.encode()).hexdigest()
    few = hashlib.sha256(b"key of few").hexdigest()
    keys = [{"name": "visitor", "sha256": sha256}, {"name": "seldom", "sha256": few, "requests_per_minute": 1}]
    deploy(url, {"models": models, "groups": groups, "access": {"keys": keys}}, logging_config={"encoding": "JSON"})
    ask(url, gate)
    yield url
    deploy(url, {"models": [{"name": "seen-echo", **small}]})  # for whoever comes next: the router lives on


def ask(url: str, gate: Gate) -> None:
    """Something of everything that is counted."""

    def post(name: str, body: Any, **sent: str) -> httpx.Response:
        return httpx.post(f"{url}/models/{name}", json=body, headers=headers(**sent), timeout=120)

    for name in SHARED:  # the first goes when the second comes
        assert post(name, {"inputs": "x"}).status_code == 200
    for _ in range(2):
        assert post("classify", {"inputs": SECRET}).status_code == 200
    parameters = {"max_new_tokens": 5, "do_sample": False}
    prompt = {"inputs": "Once upon a time " * 8, "parameters": parameters}
    for body in (prompt, {**prompt, "stream": True}):  # the second begins as the first did
        assert post("seen-write", body).status_code == 200
    bodies = [{"inputs": f"{index}", "parameters": {"fail_on": "7"}} for index in range(8)]
    with ThreadPoolExecutor(8) as callers:
        with gate.closed():  # while the first holds the model, the others come; one spoils their batch
            answers = [callers.submit(post, "seen-steady", bodies[0])]
            gate.busy()
            answers += [callers.submit(post, "seen-steady", body) for body in bodies[1:]]
            info = f"{url}/models/seen-steady/info"
            until(lambda: httpx.get(info, headers=headers(), timeout=60).json().get("waiting", -1) == 7)
        assert sum(answer.result().is_success for answer in answers) == 7
    bad, good = ({"x-request-id": name} for name in ("bad-one", "good-one"))
    assert post("seen-echo", {"inputs": SECRET, "parameters": {"fail_on": SECRET}}, **bad).is_error
    assert post("seen-echo", {"inputs": SECRET}, **good).json()["echo"] == SECRET
    assert post(SECRET, {"inputs": "x"}).status_code == 404
    assert httpx.get(f"{url}/{SECRET}", headers=headers(), timeout=30).status_code == 404
    early_in_a_minute()
    limited = [httpx.get(f"{url}/models", headers={"authorization": "Bearer key of few"}, timeout=30) for _ in range(2)]
    assert [answer.status_code for answer in limited] == [200, 429]


def scrape() -> str:
    """What this node exports."""
    (node,) = ray.nodes()
    return httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=30).text


@cache
def parsed(text: str) -> tuple[Any, ...]:
    """Its samples. After other tests there are many, which take seconds to read."""
    return tuple(sample for family in text_string_to_metric_families(text) for sample in family.samples)


def names(text: str) -> set[str]:
    return {sample.name for sample in parsed(text)}


@pytest.fixture(scope="module")
def scraped(server: str) -> str:
    """Once everything that was asked for is in it: each of Ray's processes reports its own, every ten seconds."""
    wanted = {series.exported + "_count" * (series.kind == "histogram") for series in SERIES} - NEVER_HERE
    text, missing = "", wanted

    def complete() -> bool:
        nonlocal text, missing
        text = scrape()
        missing = wanted - names(text) | {name for name, there in whole(text).items() if not there}
        return not missing

    try:
        until(complete, every_s=1)
    except AssertionError:
        pytest.fail(f"never exported: {sorted(missing)}")
    return text


def whole(text: str) -> dict[str, bool]:
    """Whether what each process counted last is in ``text``."""
    found, nothing = figures([text]), Figures()
    steady, write, echo = (found.get(f"seen-{name}", nothing) for name in ("steady", "write", "echo"))
    return {
        "requests of steady": steady.requests == 8,
        "batches of steady": (steady.batch_size or 0) > 1,
        "tokens of write": tokens(text).get("seen-write", 0) >= 10,
        "memory of write": write.memory_bytes is not None,
        "waiting of echo": echo.waiting is not None,
        "answers of the router": answers(text) >= ANSWERS,
        "forwards of the group": all(of_group(text, "forward_seconds_count").get(name, 0) >= 2 for name in SHARED),
    }


def answers(text: str) -> set[tuple[str, ...]]:
    """Route, model, status and key of the requests that the router counted."""
    found = samples(text, "ray_pipeline_graph_requests_total")
    return {tuple(labels[name] for name in ("route", "model", "status", "key")) for labels, _ in found}


def of_group(text: str, name: str) -> dict[str, float]:
    """A series of the models that share replicas, by model."""
    found = samples(text, f"ray_pipeline_graph_{name}")
    return {labels["model"]: value for labels, value in found if labels["deployment"] == "seen-group"}


def tokens(text: str) -> dict[str, float]:
    return {labels["model"]: value for labels, value in samples(text, "ray_pipeline_graph_output_tokens_total")}


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for sample in parsed(text) if sample.name == name]


def test_every_series_is_exported_with_its_tags_and_no_other_is(scraped: str) -> None:
    ours = {name for name in names(scraped) if name.startswith("ray_pipeline_graph_")}
    endings = re.compile(r"_(bucket|sum|count)$")
    histograms = {series.exported for series in SERIES if series.kind == "histogram"}
    found = {endings.sub("", name) if endings.sub("", name) in histograms else name for name in ours}
    assert found == {series.exported for series in SERIES} - NEVER_HERE
    for series in SERIES:
        if series.exported in NEVER_HERE:
            continue
        for labels, _ in samples(scraped, series.exported + "_count" * (series.kind == "histogram")):
            assert set(series.tags) | {"application", "deployment", "replica"} <= set(labels)


def test_the_queries_of_the_dashboard_name_what_is_exported(scraped: str) -> None:
    for query in queries():
        used = set(re.findall(r"ray_\w+", promql_parser.parse(query).prettify()))
        assert used, query
        assert used <= names(scraped), query


def test_requests_are_told_apart_by_route_model_status_and_key(scraped: str) -> None:
    assert answers(scraped) >= ANSWERS
    limited = {labels["key"]: count for labels, count in samples(scraped, "ray_pipeline_graph_rate_limited_total")}
    assert limited["seldom"] == 1


def test_nothing_that_a_caller_wrote_is_a_tag(scraped: str) -> None:
    assert SECRET not in scraped
    assert KEY not in scraped


def test_tokens_are_counted(scraped: str) -> None:
    assert tokens(scraped)["seen-write"] == 10
    counts = samples(scraped, "ray_pipeline_graph_first_token_seconds_count")
    assert {labels["model"]: count for labels, count in counts}["seen-write"] == 1


def test_models_of_a_group_are_told_apart(scraped: str) -> None:
    assert of_group(scraped, "model_loads_total") == {"seen-one": 1, "seen-two": 1}
    assert of_group(scraped, "model_evictions_total") == {"seen-one": 1}
    # the one at start, and the caller's
    assert of_group(scraped, "forward_seconds_count") == {"seen-one": 2, "seen-two": 2}
    # gauges are told every ten seconds, and forgotten once they are read
    until(lambda: of_group(scrape(), "weight_bytes") == {"seen-two": 0}, every_s=1)
    until(lambda: of_group(scrape(), "memory_bytes").get("seen-group", 0) > 50 * 2**20, every_s=1)


def test_the_figures_of_the_status_table(scraped: str) -> None:
    found = figures([scraped])
    assert found["seen-steady"].requests == 8
    assert 0.2 <= (found["seen-steady"].p50_s or 0) <= (found["seen-steady"].p95_s or 0)
    assert (found["seen-steady"].batch_size or 0) > 1
    assert (found["seen-write"].memory_bytes or 0) > 50 * 2**20
    assert found["seen-echo"].waiting == 0


def log_lines() -> list[dict[str, Any]]:
    """Every line of the replicas' logs that is an object; those of earlier modules are plain text."""
    paths = Path(get_serve_logs_dir()).glob("replica_pipelines_*.log")
    lines = (line for path in paths for line in path.read_text().splitlines())
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_logs_are_objects_with_the_request_id_and_without_content(server: str) -> None:
    until(lambda: {"good-one", "bad-one"} <= {line.get("request_id") for line in log_lines()}, every_s=1)
    lines = [line for line in log_lines() if line.get("request_id") == "good-one"]
    assert {line["deployment"] for line in lines} == {"pipelines_router", "pipelines_seen-echo"}
    assert all({"levelname", "message", "replica", "application"} <= set(line) for line in lines)
    failed = [line for line in log_lines() if line.get("request_id") == "bad-one" and line["levelname"] == "ERROR"]
    assert {line["deployment"] for line in failed} == {"pipelines_seen-echo"}
    assert "request bad-one failed" in {line["message"] for line in failed}  # the engine's own, from its thread
    written = json.dumps(log_lines())
    assert KEY not in written
    assert SECRET not in written
