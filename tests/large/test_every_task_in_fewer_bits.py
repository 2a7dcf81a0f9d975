"""Each task's model in eight and in four bits: it answers, or is refused in a sentence when it starts."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.config import MediaLimits, ModelConfig
from deployments.errors import ModelLoadError
from deployments.footprint import weights
from deployments.load import load
from deployments.run import PipelineRunner, failed
from deployments.warm_up import warm_up
from tests.tiny import CASES, Case, checkpoint, stand_in

pytestmark = [pytest.mark.pipelines, pytest.mark.slow, pytest.mark.timeout(120)]
# measured with transformers 5.23 and bitsandbytes 0.50: these read the numbers of layers themselves
UNSUPPORTED = {"image-segmentation-detr", "image-segmentation-maskformer", "mask-generation-sam"}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bits-tiny")


def _config(case: Case, checkpoints: Path, bits: str) -> ModelConfig:
    stand_in.install()
    source = str(checkpoint(case, checkpoints))
    given: dict[str, Any] = {"name": "m", "task": case.task, "model": source, "init": case.init, "quantization": bits}
    return ModelConfig.model_validate(given)


@pytest.mark.parametrize("case", [case for case in CASES if case.id not in UNSUPPORTED], ids=lambda case: case.id)
def test_eight_bits_answer(case: Case, checkpoints: Path) -> None:
    given = _config(case, checkpoints, "8bit")
    loaded = load(given)
    found = weights(loaded.pipe.model)
    assert found["quantization"] == "8bit"
    assert any(one.dtype == torch.int8 for one in loaded.pipe.model.parameters())
    assert not failed(PipelineRunner(given, loaded, MediaLimits()).run(case.inputs[0], case.always))


@pytest.mark.parametrize("case", [case for case in CASES if case.id in UNSUPPORTED], ids=lambda case: case.id)
def test_a_model_that_cannot_is_refused_when_it_starts(case: Case, checkpoints: Path) -> None:
    given = _config(case, checkpoints, "8bit")
    with pytest.raises(ModelLoadError, match="it may without `quantization`"):
        warm_up(PipelineRunner(given, load(given), MediaLimits()), {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes layers of any width")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_four_bits_on_a_cpu_refuse_layers_that_are_too_narrow(case: Case, checkpoints: Path) -> None:
    """Those of the tiny models all are; wider ones are in `test_quantized`."""
    with pytest.raises(ModelLoadError, match="four bits on a CPU need layers that read a multiple of 64 numbers"):
        load(_config(case, checkpoints, "4bit"))
