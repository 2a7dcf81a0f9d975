"""Models are built in another dtype only while no other model of the process runs."""

import threading
from collections.abc import Iterator

import pytest
import torch
import transformers
from transformers import modeling_utils

from deployments.gate import Gate, guard


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr(modeling_utils, "local_torch_dtype", modeling_utils.local_torch_dtype)
    gate = Gate()
    guard(gate)
    yield gate
    assert torch.get_default_dtype() is torch.float32


def build(dtype: torch.dtype, seen: list[torch.dtype]) -> None:
    """Have transformers build a small model."""

    class Watched(transformers.BertModel):
        def __init__(self, config: transformers.BertConfig) -> None:
            seen.append(torch.get_default_dtype())
            super().__init__(config)

    config = transformers.BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    Watched._from_config(config, dtype=dtype)


class Stage:
    """Work that goes on until it is released, and notes what dtype it met."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()
        self.dtypes: list[torch.dtype] = []

    def run(self) -> None:
        self.dtypes.append(torch.get_default_dtype())
        self.begun.set()
        assert self.release.wait(20)
        self.dtypes.append(torch.get_default_dtype())

    prepare = finish = tell = hear = run


def test_a_model_in_half_precision_is_built_between_pieces_of_work(gate: Gate) -> None:
    stage, seen = Stage(), list[torch.dtype]()
    gate.hold_stages((stage, stage, stage), None)
    running = threading.Thread(target=stage.run)
    running.start()
    assert stage.begun.wait(20)
    building = threading.Thread(target=build, args=(torch.bfloat16, seen))
    building.start()
    while not gate._building:  # it wants to
        building.join(0.001)
    assert seen == []
    stage.release.set()
    running.join(20)
    building.join(20)
    assert seen == [torch.bfloat16]
    assert stage.dtypes == [torch.float32] * 2


def test_work_waits_while_one_is_built(gate: Gate) -> None:
    stage = Stage()
    stage.release.set()
    gate.hold_stages((stage, stage, stage), None)
    with gate.building():
        running = threading.Thread(target=stage.run)
        running.start()
        running.join(0.05)
        assert not stage.begun.is_set()
    running.join(20)
    assert stage.begun.is_set()


def test_a_model_of_the_default_dtype_stops_nobody(gate: Gate) -> None:
    stage, seen = Stage(), list[torch.dtype]()
    gate.hold_stages((stage, stage, stage), None)
    running = threading.Thread(target=stage.run)
    running.start()
    assert stage.begun.wait(20)
    build(torch.float32, seen)
    assert seen == [torch.float32]
    stage.release.set()
    running.join(20)


def test_neither_work_nor_building_waits_for_itself(gate: Gate) -> None:
    with gate.running(), gate.running(), gate.building():
        pass
    with gate.building(), gate.building(), gate.running():
        pass
    with gate.building():  # and nothing is left over
        pass
    with gate.running():
        pass
