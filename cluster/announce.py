"""``python -m cluster.announce URL FOLDER [MODEL ...]``, beside ``serve run``: says what loads, and when all is ready.

Started by ``pipeline-graph serve``. Nothing but the standard library, so that it takes no time from what loads.
"""

import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_LOOK_S = 0.5
_STILL_S = 30.0  # between two lines about what still loads, where there is no terminal
States = dict[str, Any]


def main() -> int:
    """Watch until every model is ready or has failed, or the server has gone; returns the exit status."""
    (url, folder, *names), server = sys.argv[1:], os.getppid()
    # what others print would get between the lines of a terminal that are written over
    board = Board(sys.stdout.isatty() and os.environ.get("RAY_LOG_TO_DRIVER", "1") == "0")
    try:
        return watch(lambda: _look(url), lambda: _read(folder), lambda: os.getppid() == server, url, names, board)
    except KeyboardInterrupt:  # Ctrl-C reaches the server as well, which tells of it
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Board:
    """Where it is told: lines that stay, and on a terminal below them one for each model that loads.

    Args:
        live: whether lines may be written over.
    """

    def __init__(self, live: bool) -> None:
        self._live, self._began_s, self._shown, self._last_s = live, time.monotonic(), 0, 0.0

    def tell(self, lines: Iterable[str], loading: dict[str, str]) -> None:
        """Print ``lines`` for good, and how each model stands that is still ``loading``."""
        now = time.monotonic() - self._began_s
        out = [f"[{now:5.1f} s] {line}" for line in lines]
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            below = [f"[{now:5.1f} s] {name}: {how}"[:width] for name, how in loading.items()]
            up = f"\x1b[{self._shown}A\x1b[J" if self._shown else ""
            self._shown = len(below)
            print(up + "".join(f"{line}\n" for line in [*out, *below]), end="", flush=True)
            return
        if loading and now - self._last_s >= _STILL_S:
            self._last_s = now
            out.append(f"[{now:5.1f} s] loading: {', '.join(f'{name} ({how})' for name, how in loading.items())}")
        for line in out:
            print(line, flush=True)


def watch(
    look: Callable[[], States | None],
    read: Callable[[], dict[str, str]],
    lives: Callable[[], bool],
    url: str,
    names: Iterable[str],
    board: Board,
) -> int:
    """Tell when a model's state changes, how those stand that load, and when there is nothing more to wait for.

    Args:
        look: the states of the models as ``/ready`` tells them; None while nothing answers.
        read: how far models are that load here, in words.
        lives: whether the server's process does.
        url: of the server.
        names: of the models, for the time before it answers.
        board: to tell it on.
    """
    told: dict[str, str] = dict.fromkeys(names, "loading")
    while lives():
        states, stages, lines = look(), read(), []
        for name, state in (states or {}).items():
            word = state["state"]
            if told.get(name) != word and word != "loading":
                # where keys are needed, strangers are not told of it
                why = state.get("reason") or "`pipeline-graph status` has the reason"
                lines.append(f"{name} failed: {why}" if word == "failed" else f"{name} is {word}")
            told[name] = word
        loading = {name: stages.get(name, "starting") for name, word in told.items() if word == "loading"}
        if told and states is not None and not loading:
            ready = sum(word in ("ready", "asleep") for word in told.values())
            board.tell([*lines, f"Ready: {url} serves {ready} of {len(told)} models. What there is: {url}/docs"], {})
            return 0 if ready == len(told) else 1
        # Ray tells of its own start on this terminal; what is written over comes after that
        board.tell(lines, loading if stages or states else {})
        time.sleep(_LOOK_S)
    return 1


def _read(folder: str) -> dict[str, str]:
    """How far each model is, by name: `deployments.progress` writes it; the last word of several replicas."""
    found = {}
    for file in sorted(Path(folder).glob("*.json")):
        try:
            told = json.loads(file.read_text())
        except (OSError, ValueError):  # it has gone meanwhile
            continue
        found[told["name"]] = _words(told["stage"], told["done"], told["total"])
    return found


def _words(stage: str, done: int, total: int) -> str:
    if stage == "check":
        return "first answers"
    share = f"{100 * done // total}%" if total else ""
    if stage == "download":
        size = f"{total / 1e9:.2f} GB" if total else f"{done / 1e9:.2f} GB"
        return f"downloading, {share} of {size}" if total else f"downloading, {size} so far"
    return f"weights, {share} of {total} tensors" if total else "weights"


def _look(url: str) -> States | None:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:  # 503 until all are ready, with the same body
        try:
            body = json.load(error)
        except ValueError:
            return None
    except (OSError, ValueError):
        return None
    models: States | None = body.get("models") if isinstance(body, dict) else None
    return models


if __name__ == "__main__":
    sys.exit(main())
