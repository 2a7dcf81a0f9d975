"""Tensor parallelism over the GPUs of a replica: one process for each, all of which run each batch. No Ray.

The replica is rank 0. It starts the others, which load their own shares of the weights, and from then on it hands every
call of ``pipe.forward`` to all of them; where the model needs a sum over the ranks, they meet in torch.distributed. All
ranks draw the same random numbers. A rank that fails alone leaves the others waiting for it, so the whole replica is
given up then.

    rank 0   forward(batch) ── pipe ──> rank 1 ... n - 1
                 └──────── sums over NCCL (Gloo on CPUs) ───────┘
"""

import contextlib
import json
import os
import pickle
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from deployments.config import ModelConfig
from deployments.errors import InvalidParameterError
from deployments.tasks import TASKS

_ANSWER_S = 60  # for the others to end a batch that this rank has ended
_FAIL_S = 5  # for the others to fail as this rank has: if they have not, they wait for it in a sum
_START_S = 600  # for a rank to begin, and to load its weights once this one has
_LOCAL_ONLY = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
_ROLE = "PIPELINE_GRAPH_RANK"


class RankLostError(RuntimeError):
    """Raised when a rank failed alone or is gone; the others cannot be used any more."""


def ranks_of(config: ModelConfig) -> int:
    """Processes of a replica: one for each of its GPUs with ``tp_plan``, else 1."""
    return int(config.resources.num_gpus or 1) if config.tp_plan is not None else 1


def distribution(config: ModelConfig) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that give a rank its share."""
    from transformers.distributed.configuration_utils import DistributedConfig

    rules = config.tp_plan if isinstance(config.tp_plan, dict) else None
    return {"distributed_config": DistributedConfig(tp_size=ranks_of(config), tp_plan=rules)}


def load_over_ranks(config: ModelConfig, load_one: Callable[[ModelConfig], Any]) -> Any:
    """The pipeline of rank 0, whose ``forward`` runs on all ranks.

    Args:
        config: with ``tp_plan``; `ranks_of` gives more than one.
        load_one: loads the pipeline in one process; ``torch.distributed`` is ready when it is called.

    Raises:
        RankLostError: another rank could not load.
        ValueError: calls of this task's model go past ``pipe.forward``.
    """
    if TASKS[config.canonical_task].prepares_with_model:
        raise ValueError(f"{config.task} runs its model before the batch too, which `tp_plan` does not reach")
    count = ranks_of(config)
    folder = Path(tempfile.mkdtemp(prefix="ranks-"))
    key = secrets.token_bytes(32)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        listener = undo.enter_context(Listener(str(folder / "socket"), family="AF_UNIX", authkey=key))
        others = []
        for rank in range(1, count):
            others.append(_start(config, rank, folder, key))
            undo.callback(_end, others[-1])
        connections = [_accept(listener, others) for _ in others]
        _join(0, count, folder)
        pipe = load_one(config)
        for connection in connections:
            _answer(connection, None, _START_S)
        listener.close()
        undo.pop_all()  # from here on, all of it lives as long as the pipeline
    weakref.finalize(pipe, shutil.rmtree, folder, ignore_errors=True)
    pipe.forward = Leader(pipe.forward, connections, others)
    return pipe


def _start(config: ModelConfig, rank: int, folder: Path, key: bytes) -> "subprocess.Popen[str]":
    role = {"rank": rank, "config": config.model_dump(mode="json"), "folder": str(folder)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), _ROLE: key.hex()}
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.ranks"], env=environment, stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(role) + "\n")
    process.stdin.flush()
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    """At once: it may wait in a sum for a rank that does not come."""
    process.kill()
    process.wait()
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def _accept(listener: Listener, others: list["subprocess.Popen[str]"]) -> Connection:
    listener._listener._socket.settimeout(1)  # type: ignore[attr-defined]
    for _ in range(_START_S):
        with contextlib.suppress(TimeoutError):
            return listener.accept()
        if any(process.poll() is not None for process in others):
            break
    raise RankLostError("a process of the model's ranks did not start; the log has its reason")


def _join(rank: int, count: int, folder: Path) -> None:
    """Let torch.distributed know the ranks, through a file, so that no port is opened to others."""
    import torch

    where = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ.update({**where, **_LOCAL_ONLY})
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=count,
        device_id=torch.device("cuda", rank) if cuda else None,
    )


class Leader:
    """Stands in for ``pipe.forward`` of rank 0.

    Args:
        forward: its own.
        connections: to the other ranks.
        others: their processes, kept for as long as the pipeline.
    """

    def __init__(self, forward: Any, connections: list[Connection], others: list["subprocess.Popen[str]"]) -> None:
        self._forward, self._connections, self._others = forward, connections, others

    def __call__(self, inputs: Any, **parameters: Any) -> Any:
        """One batch, on all ranks.

        Raises:
            RankLostError: another rank failed where this one did not, or did not answer.
            InvalidParameterError: with ``max_time``, ranks would stop at different tokens.
            Exception: what all ranks raised alike.
        """
        import torch

        if "max_time" in parameters or "max_time" in (parameters.get("generate_kwargs") or {}):
            raise InvalidParameterError(
                "`max_time` is not for a model over several GPUs: use `max_new_tokens`.", "max_time"
            )
        seed = secrets.randbits(63)
        for connection in self._connections:
            _send(connection, (inputs, parameters, seed))
        torch.manual_seed(seed)
        failure: Exception | None = None
        try:
            outputs = self._forward(inputs, **parameters)
        except Exception as error:
            failure = error
        for connection in self._connections:
            _answer(connection, failure, _ANSWER_S if failure is None else _FAIL_S)
        if failure is not None:
            raise failure
        return outputs


def _send(connection: Connection, message: Any) -> None:
    try:
        connection.send_bytes(pickle.dumps(message))  # `send` would share memory, which needs more than this connection
    except OSError as error:
        raise RankLostError("a rank of the model is gone") from error


def _answer(connection: Connection, mine: Exception | None, wait_s: float) -> None:
    """Wait for a rank to end; it must have failed as this one did, or not at all."""
    try:
        if not connection.poll(wait_s):
            raise RankLostError("a rank of the model does not answer")
        theirs = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError) as error:
        raise RankLostError("a rank of the model is gone") from error
    if theirs != (None if mine is None else type(mine).__name__):
        raise RankLostError(f"a rank of the model failed alone ({theirs})")


def _end_with_rank_0() -> None:
    """Leave once standard input ends: rank 0 holds its other end, and a sum that waits for rank 0 waits for minutes."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _follow() -> None:
    """What the other ranks do: load, then run each batch that rank 0 sends, until rank 0 is gone."""
    import torch

    from deployments.load import load_pipeline

    role = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    config, folder = ModelConfig.model_validate(role["config"]), Path(role["folder"])
    connection = Client(str(folder / "socket"), family="AF_UNIX", authkey=bytes.fromhex(os.environ.pop(_ROLE)))
    torch.set_num_threads(max(1, int(config.resources.num_cpus) // ranks_of(config)))
    _join(role["rank"], ranks_of(config), folder)
    pipe = load_pipeline(config)
    _send(connection, None)
    while True:
        try:
            inputs, parameters, seed = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        torch.manual_seed(seed)
        failed = None
        try:
            pipe.forward(inputs, **parameters)
        except Exception as error:
            failed = type(error).__name__
        _send(connection, failed)


if __name__ == "__main__":
    _follow()
