"""Series, their table in the documents, the dashboard and the status table, without a server."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import promql_parser
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import deployments.group_metrics
import deployments.metrics
import graph.metrics
from cluster import status
from cluster.cli import main
from cluster.figures import Figures, figures, quantile
from deployments.observe import Observer
from graph.metrics import Measured
from graph.middleware import HANDLERS, RequestId

ROOT = Path(__file__).parents[2]
SERIES = (*graph.metrics.SERIES, *deployments.metrics.SERIES, *deployments.group_metrics.SERIES)
BOARD = json.loads((ROOT / "cluster/grafana/pipeline-graph.json").read_text())


def queries() -> list[str]:
    """Every query of the dashboard, with values for its variables."""
    found = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "5m").replace("$model", ".*") for query in found]


def test_the_table_lists_every_series_as_it_is() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(ray_\w+)` \| (\w+) \| ([\w, ]*) ?\| (.+) \|$", text, re.MULTILINE)
    listed = [(name, kind, tuple(filter(None, tags.replace(" ", "").split(",")))) for name, kind, tags, _ in rows]
    assert sorted(listed) == sorted((series.exported, series.kind, series.tags) for series in SERIES)


def test_what_fails_unforeseen_is_answered_and_counted_as_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A caller who left gets no answer, and nothing else is counted so."""
    ended: list[tuple[Any, ...]] = []
    metrics = SimpleNamespace(began=lambda: None, ended=lambda *told: ended.append(told[:3]))

    async def fails(_: Request) -> Response:
        raise ZeroDivisionError("the secret cause")

    async def fails_too(_: Request) -> Response:
        raise ZeroDivisionError("the secret cause")

    async def breaks_off(_: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            raise ZeroDivisionError("the secret cause")

        return StreamingResponse(body())

    app = Starlette(
        routes=[Route("/models", fails), Route("/v1/models", fails_too), Route("/stream", breaks_off)],
        middleware=[Middleware(RequestId), Middleware(Measured, door=SimpleNamespace(metrics=metrics))],
        exception_handlers=HANDLERS,
    )
    client = TestClient(app, raise_server_exceptions=False)
    plain, openai, begun = (client.get(path) for path in ("/models", "/v1/models", "/stream"))
    assert [answer.status_code for answer in (plain, openai, begun)] == [500, 500, 200]
    assert plain.json()["error_type"] == "internal"
    assert openai.json()["error"]["code"] == "internal"
    assert "secret" not in plain.text + openai.text
    assert ended == [("/models", "none", "500"), ("/v1/models", "none", "500"), ("/stream", "none", "200")]
    failed = [record.message for record in caplog.records if record.name == "ray.serve"]
    ids = [answer.json()["request_id"] for answer in (plain, openai)]
    assert failed[:2] == [f"request {each} failed in the router" for each in ids]
    assert len(failed) == 3


def test_names_have_prometheus_form() -> None:
    for series in SERIES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", series.name)
        assert series.kind != "histogram" or list(series.boundaries) == sorted(set(series.boundaries))


def test_a_replica_has_something_for_each_of_its_series(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: set[str] = set()

    class Spy:
        def __init__(self, name: str) -> None:
            self.set = lambda *_, **__: touched.add(name)
            self.name = name

        def inc(self, value: float = 1, **_: Any) -> None:
            assert value > 0, f"Ray refuses this of {self.name}"
            touched.add(self.name)

        observe = inc

        def set_default_tags(self, _: Any) -> None: ...

    monkeypatch.setattr(deployments.series.Series, "make", lambda self: Spy(self.name))
    metrics = deployments.metrics.Metrics("m")
    assert isinstance(metrics, Observer)
    metrics.batch(4, 0.0, 0.1)
    for tokens in (0, 5):
        metrics.reused(tokens)
    metrics.split(4)
    metrics.ceiling(10)
    metrics.request(0, 0, 0)
    metrics.failure()
    metrics.shared()
    metrics.tokens(deployments.metrics.Usage(3, 2))
    metrics.reused(2)
    metrics.first_token(0.1)
    metrics.loaded(1.5, 10)
    metrics.standing(1, 2, {"host": 3})
    assert touched == {series.name for series in deployments.metrics.SERIES}
    touched.clear()
    shared = deployments.group_metrics.GroupMetrics("g")
    shared.came("m")
    shared.went("m")
    shared.standing({"host": 3})
    assert touched == {series.name for series in deployments.group_metrics.SERIES} | {"memory_bytes"}


def test_every_panel_has_queries_that_parse_and_name_our_series() -> None:
    panels = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
    assert all(panel["targets"] and panel["title"] for panel in panels)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    known = {series.exported for series in SERIES}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    for query in queries():
        used = re.findall(r"ray_\w+", promql_parser.parse(query).prettify())
        assert used, query
        assert set(used) <= known, query


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1.0, 2.0), (0.0, 0.0)])
def test_quantiles_are_linear_within_a_bucket(share: float, expected: float) -> None:
    assert quantile({1.0: 4, 2.0: 8, float("inf"): 8}, share) == expected


def test_quantiles_at_the_edges() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({1.0: 0, float("inf"): 0}, 0.5) is None
    assert quantile({1.0: 1, float("inf"): 4}, 0.9) == 1.0  # above the last bound nothing is known


SCRAPED = """
# TYPE ray_pipeline_graph_waiting gauge
ray_pipeline_graph_waiting{model="embed",replica="a"} 2.0
ray_pipeline_graph_waiting{model="embed",replica="b"} 3.0
# TYPE ray_pipeline_graph_batch_size histogram
ray_pipeline_graph_batch_size_bucket{le="+Inf",model="embed"} 4.0
ray_pipeline_graph_batch_size_count{model="embed"} 4.0
ray_pipeline_graph_batch_size_sum{model="embed"} 10.0
# TYPE ray_pipeline_graph_memory_bytes gauge
ray_pipeline_graph_memory_bytes{kind="host",model="embed",replica="a"} 1048576.0
ray_other{model="embed"} 9.0
"""


def test_figures_add_up_replicas_and_nodes() -> None:
    found = figures([SCRAPED, SCRAPED.replace("10.0", "30.0")])
    assert set(found) == {"embed"}
    assert found["embed"] == Figures(0, 10, None, None, 5.0, None, 2 * 2**20)


DEPLOYMENT = {
    "message": "a\nlast line",
    "replicas": [{"state": "RUNNING"}, {"state": "STARTING"}],
    "target_num_replicas": 2,
}


def of(state: str = "RUNNING", message: str = "", **deployments: Any) -> dict[str, Any]:
    """What Serve says of one application."""
    return {"applications": {"pipelines": {"status": state, "message": message, "deployments": deployments}}}


@pytest.mark.parametrize(("state", "expected"), [("HEALTHY", 0), ("UNHEALTHY", 1), ("UPDATING", 1)])
def test_status_is_a_table_and_an_exit_code(
    state: str, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def answer(address: str) -> Any:
        asked.append(address)
        return of(embed={**DEPLOYMENT, "status": state}), [SCRAPED]

    monkeypatch.setattr(status, "_asked", answer)
    assert main(["status", "--address", "http://127.0.0.1:1"]) == expected
    header, application, row = capsys.readouterr().out.splitlines()
    assert header.split() == [*status._HEADINGS[:-1]]
    assert application.split() == ["pipelines:", "running"]
    message = [] if state == "HEALTHY" else ["last", "line"]
    assert row.split() == [
        *("embed", state.lower(), "1", "of", "2", "-", "5", "-", "-", "2.5", "-", "1", "MiB"),
        *message,
    ]
    assert asked == ["http://127.0.0.1:1"]


def test_status_shows_the_models_of_a_group_below_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live = {"models": [{"name": "embed"}, {"name": "other"}], "bounds": {"max_models": 1}}
    group = {**DEPLOYMENT, "status": "HEALTHY", "deployment_config": {"user_config": live}}
    router = {**DEPLOYMENT, "status": "HEALTHY", "deployment_config": {"user_config": {"models": [{"name": "embed"}]}}}
    scraped = """
# TYPE ray_pipeline_graph_weight_bytes gauge
ray_pipeline_graph_weight_bytes{model="embed",replica="a"} 3145728.0
# TYPE ray_pipeline_graph_memory_bytes gauge
ray_pipeline_graph_memory_bytes{kind="host",model="seldom",replica="a"} 1048576.0
"""
    details = of(router=router, seldom=group)
    monkeypatch.setattr(status, "_asked", lambda _: (details, [scraped]))
    assert main(["status"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["router", "seldom", "embed", "other"]
    assert rows[1][-2:] == ["1", "MiB"]
    assert (rows[2][1], rows[2][-2:]) == ("loaded", ["3", "MiB"])
    assert (rows[3][1], rows[3][-1]) == ("asleep", "-")


@pytest.mark.parametrize("state", ["DEPLOY_FAILED", "DEPLOYING", "UNHEALTHY", "DELETING"])
def test_status_of_an_application_that_does_not_run_is_no_success(
    state: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that could not be built has no deployment to show."""
    details = of(state, "Traceback\nConfigError: models[0].task: unknown\n")
    monkeypatch.setattr(status, "_asked", lambda _: (details, []))
    assert main(["status"]) == 1
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["pipelines:", state.lower(), "ConfigError:", "models[0].task:", "unknown"]


def test_status_where_nothing_is_deployed_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "_asked", lambda _: ({"applications": {}}, []))
    assert main(["status"]) == 1
    assert capsys.readouterr().out == "Nothing is deployed.\n"


@pytest.mark.parametrize("address", ["127.0.0.1:8265", "http://", "nothing://127.0.0.1:1"])
def test_status_of_what_is_no_address_is_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--address", address]) == 2
    assert f"does not answer at {address}: " in capsys.readouterr().out


def test_status_says_where_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--address", "http://127.0.0.1:1"]) == 2
    assert "http://127.0.0.1:1" in capsys.readouterr().out
