"""``pipeline-graph status``: one readable table of what runs."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from ray.exceptions import RayError

from cluster.figures import Figures, figures

_HEADINGS = ("model", "state", "replicas", "requests", "waiting", "p50", "p95", "batch", "padding", "memory", "")
_DASHBOARD = "http://127.0.0.1:8265"


class UnreachableError(Exception):
    """Raised when Ray's dashboard does not answer; the message says what to do."""


def show(address: str | None) -> int:
    """Print the table.

    Args:
        address: of Ray's dashboard; None for this machine's, or what ``RAY_DASHBOARD_ADDRESS`` says.

    Returns:
        0 where every application runs and every deployment is healthy, 1 where one is not or there is none, 2 where
        nothing answers.
    """
    try:
        details, scraped = _asked(address or os.environ.get("RAY_DASHBOARD_ADDRESS", _DASHBOARD))
    except UnreachableError as error:
        print(error)
        return 2
    found, applications = figures(scraped), details["applications"]
    if not applications:
        print("Nothing is deployed.")
        return 1
    rows = [row for name, each in applications.items() for row in (_head(name, each), *_rows(each, found))]
    print(table([_HEADINGS, *rows]))
    healthy = all(
        each["status"] == "RUNNING" and all(one["status"] == "HEALTHY" for one in each["deployments"].values())
        for each in applications.values()
    )
    return 0 if healthy else 1


def _asked(address: str) -> tuple[dict[str, Any], list[str]]:
    """What Serve says of its deployments, and what each node exports."""
    # Ray protects the dashboard of a local cluster with a token, and reads it only when told to
    if (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    try:
        client = ServeSubmissionClient(address)
        details: dict[str, Any] = client.get_serve_details()
        places = client._do_request("GET", "/api/prometheus/sd").json()
    except (OSError, ValueError, RuntimeError, RayError) as error:  # those of requests are among the first
        raise UnreachableError(
            f"Ray's dashboard does not answer at {address}: {_first_line(error)} Is the server running, and "
            "with its dashboard? Another address: --address."
        ) from None
    nodes = [node for place in places for node in place["targets"]]
    return details, [text for node in nodes if (text := _scrape(node)) is not None]


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."


def _scrape(node: str) -> str | None:
    """A node's endpoint; one that is not reached from here is left out."""
    try:
        return httpx.get(f"http://{node}/metrics", timeout=5).text
    except httpx.HTTPError:
        return None


def _head(name: str, application: Mapping[str, Any]) -> tuple[str, ...]:
    """The row of an application: where it could not be deployed, it has no other."""
    message = "" if application["status"] == "RUNNING" else _last_line(application)
    return (f"{name}:", application["status"].lower(), *[""] * (len(_HEADINGS) - 3), message)


def _rows(application: Mapping[str, Any], found: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for name, deployment in application["deployments"].items():
        running = sum(replica["state"] == "RUNNING" for replica in deployment["replicas"])
        wanted = deployment.get("target_num_replicas", running)
        message = "" if deployment["status"] == "HEALTHY" else _last_line(deployment)
        replicas = f"{running}" if running == wanted else f"{running} of {wanted}"
        yield (name, deployment["status"].lower(), replicas, *_cells(found.get(name, Figures())), message)
        for member in _members(deployment):
            mine = found.get(member, Figures())
            state = "asleep" if mine.weight_bytes is None else "loaded"
            yield (f"  {member}", state, "", *_cells(replace(mine, memory_bytes=mine.weight_bytes)), "")


def _last_line(told: Mapping[str, Any]) -> str:
    """Of Serve's message: what went wrong in the end."""
    return ((told.get("message") or "").strip().splitlines() or [""])[-1][:80]


def _members(deployment: Mapping[str, Any]) -> list[str]:
    """Models that share the replicas of a deployment; none where it is that of one model."""
    live = (deployment.get("deployment_config") or {}).get("user_config") or {}
    return [str(model["name"]) for model in live["models"]] if "bounds" in live else []


def _cells(each: Figures) -> tuple[str, ...]:
    return (
        str(each.requests or "-"),
        "-" if each.waiting is None else str(each.waiting),
        _seconds(each.p50_s),
        _seconds(each.p95_s),
        "-" if each.batch_size is None else f"{each.batch_size:.1f}",
        "-" if each.padding_waste is None else f"{each.padding_waste:.0%}",
        "-" if each.memory_bytes is None else f"{each.memory_bytes / 2**20:.0f} MiB",
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
