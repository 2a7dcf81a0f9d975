"""A model over two ranks in this process and another, on the CPU: what it answers, as JSON on the last line.

``python -m tests.large.ranks_trial MODEL``: torch.distributed, once begun, stays with its process.
"""

import json
import sys
from typing import Any
from unittest.mock import patch

from deployments.config import MediaLimits
from deployments.forward import device_lost
from deployments.load import Loaded
from deployments.run import PipelineRunner
from deployments.warm_up import warm_up
from tests.large.models import TEXTS, config, loaded

SEEDS = (7, 8)
SAMPLED = {"max_new_tokens": 16, "do_sample": True, "temperature": 5.0}
GREEDY = {"max_new_tokens": 8, "do_sample": False}


def main(model: Any) -> dict[str, Any]:
    """Answers, alone and in a batch; a bad input; sampling; what is left when a rank dies."""
    found: dict[str, Any] = {}
    pipe = loaded(model, tp_plan="auto", resources={"num_gpus": 2})
    weight = pipe.model.model.layers[0].mlp.up_proj.weight
    found["share"] = [list(weight.to_local().shape), list(weight.shape)]
    runner = PipelineRunner(config(model), Loaded(pipe, None), MediaLimits())
    warm_up(runner, {})
    found["generation"] = runner.info()["batching"]["generation"]
    found["mode"] = runner.info()["batching"]["mode"]
    found["answers"] = [runner.run(text, GREEDY)[0]["generated_text"] for text in TEXTS]
    outcomes, _ = runner.run_together(list(TEXTS), GREEDY)
    found["together"] = [outcome[0]["generated_text"] for outcome in outcomes]
    found["max_time"] = str(runner.run(TEXTS[0], {**GREEDY, "max_time": 5.0}))
    found["bad"] = type(runner.run(TEXTS[0], {**GREEDY, "num_beams": 2, "num_beam_groups": 3})).__name__
    for seed in SEEDS:
        with patch("secrets.randbits", return_value=seed):
            found[f"sampled {seed}"] = runner.run(TEXTS[0], SAMPLED)[0]["generated_text"]
    found["after"] = runner.run(TEXTS[0], GREEDY)[0]["generated_text"]
    (other,) = pipe.forward._others
    other.kill()
    other.wait()
    try:
        pipe(TEXTS[0], **GREEDY)
    except Exception as error:
        found["lost"] = [type(error).__name__, device_lost(error)]
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
