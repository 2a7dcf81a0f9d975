"""Parts of a model on the disk, or bounded in memory: every task answers as if all of it were in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.integrations.accelerate import compute_module_sizes

from deployments.config import MediaLimits, ModelConfig
from deployments.errors import ModelLoadError
from deployments.footprint import weights
from deployments.load import load
from deployments.run import PipelineRunner
from deployments.warm_up import warm_up
from tests.engine.conftest import Served
from tests.large.models import TEXTS, config, halves, loaded
from tests.serve.local import local_pipeline
from tests.tiny import CASES, Case, checkpoint, stand_in
from tests.tiny.compare import difference

pytestmark = pytest.mark.pipelines
# measured with transformers 5.23 and accelerate 1.15: these look at weights themselves, past the hooks that fetch them
UNSUPPORTED = {"image-segmentation-maskformer", "mask-generation-sam", "zero-shot-image-classification-siglip"}


def _config(case: Case, checkpoints: Path, **more: Any) -> ModelConfig:
    given = {"name": "m", "task": case.task, "model": str(checkpoint(case, checkpoints)), "init": case.init, **more}
    return ModelConfig.model_validate(given)


def _load(case: Case, checkpoints: Path, **more: Any) -> Any:
    return load(_config(case, checkpoints, **more)).pipe


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match")  # parameters of the model itself
@pytest.mark.parametrize("case", [case for case in CASES if case.id not in UNSUPPORTED], ids=lambda case: case.id)
def test_every_other_part_on_the_disk_answers_as_in_memory(case: Case, checkpoints: Path, tmp_path: Path) -> None:
    local = local_pipeline(case, checkpoints)
    expected = [local(one, **case.always) for one in case.inputs]
    pipe = _load(case, checkpoints, device_map=halves(local.model), offload_folder=str(tmp_path))
    spread = weights(pipe.model)["device_map"]
    assert set(spread) == {"cpu", "disk"}
    assert sum(parameter.device.type == "meta" for parameter in pipe.model.parameters()) > 0
    for one, answer in zip(case.inputs, expected, strict=True):
        assert difference(pipe(one, **case.always), answer) is None


@pytest.mark.filterwarnings("ignore:The following device_map keys do not match")
@pytest.mark.parametrize("case", [case for case in CASES if case.id in UNSUPPORTED], ids=lambda case: case.id)
def test_what_does_not_run_in_parts_is_refused_when_it_starts(case: Case, checkpoints: Path, tmp_path: Path) -> None:
    stand_in.install()
    spread = halves(local_pipeline(case, checkpoints).model)
    given = _config(case, checkpoints, device_map=spread, offload_folder=str(tmp_path))
    with pytest.raises(ModelLoadError, match="it may without `device_map`"):
        warm_up(PipelineRunner(given, load(given), MediaLimits()), {})


def test_what_exceeds_max_memory_goes_to_the_disk(language_model: Path) -> None:
    whole = loaded(language_model)
    sizes, _ = compute_module_sizes(whole.model)
    most = int(0.7 * sizes[""])
    pipe = loaded(language_model, device_map="auto", max_memory={"cpu": most})
    spread = weights(pipe.model)["device_map"]
    assert 0 < spread["cpu"] <= most
    assert spread["cpu"] + spread["disk"] == sum(one.numel() * 4 for one in whole.model.parameters())
    for text in TEXTS:
        assert pipe(text, max_new_tokens=8, do_sample=False) == whole(text, max_new_tokens=8, do_sample=False)


def test_a_model_of_which_nothing_fits_is_told(language_model: Path) -> None:
    with pytest.raises(ModelLoadError, match="max_memory"):
        loaded(language_model, device_map="auto", max_memory={"cpu": 1000})


@pytest.mark.parametrize("first", ["model.embed_tokens", "model.layers.0", "lm_head"])
def test_generation_token_by_token_works_with_any_part_on_the_disk(language_model: Path, first: str) -> None:
    whole = loaded(language_model)
    parts = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head"]
    device_map = {part: "disk" if part == first else "cpu" for part in parts}
    served = Served(
        loaded(language_model, device_map=device_map), "text-generation", config(language_model).batch, True
    )
    try:
        assert served.turns is not None, served.runner.preparer.steps
        for text in TEXTS:
            expected = whole(text, max_new_tokens=8, do_sample=False)
            assert served.runner.run(text, {"max_new_tokens": 8, "do_sample": False}) == expected
        assert set(served.runner.info()["device_map"]) == {"cpu", "disk"}
    finally:
        served.engine.close()


@pytest.mark.parametrize("device_map", ["cpu", "auto", "sequential", {"": "cpu"}])
def test_a_map_of_one_device_is_that_device(language_model: Path, device_map: Any) -> None:
    if torch.cuda.is_available() and device_map in ("auto", "sequential"):
        pytest.skip("accelerate prefers the GPU")
    pipe = loaded(language_model, device_map=device_map)
    assert pipe.device.type == "cpu"
    assert "device_map" not in weights(pipe.model)
