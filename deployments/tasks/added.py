"""Parameters of our own, beyond what the pipelines take: those of text-generation-inference.

What they do stands in ``deployments/stepwise/options.py``.
"""

from deployments.tasks.forms import Any_
from deployments.tasks.parameter import Parameter
from deployments.tasks.values import Flag, Items, Number, Object, OneOf, String, whole

_PENALTY = Number(-2, 2)
_NOT_OFFERED = "Not offered; taken only with the value that asks for nothing"

ADDED: dict[str, Parameter] = {
    "adapter_id": Parameter(Any_(), _NOT_OFFERED),
    "best_of": Parameter(Any_(), _NOT_OFFERED),
    "decoder_input_details": Parameter(Flag(), "Tell the tokens of the prompt too; needs `details`", False),
    "details": Parameter(Flag(), "Tell the tokens of the answer, with their log-probabilities", False),
    "frequency_penalty": Parameter(_PENALTY, "Taken off a token's score for each time it was generated", 0.0),
    "grammar": Parameter(
        Object(),
        'What the answer must fit: `{"type": "json", "value": JSON schema}`, `{"type": "regex", "value": pattern}` or '
        '`{"type": "json_object"}`',
    ),
    "presence_penalty": Parameter(_PENALTY, "Taken off the score of a token that was generated", 0.0),
    "seed": Parameter(Number(0, 2**63 - 1, whole=True), "Of this call's own random numbers"),
    "stop": Parameter(OneOf((String(), Items(String()))), "Strings that end the answer"),
    "top_n_tokens": Parameter(whole(0, 20), "Likeliest tokens told beside each generated one", 0),
    "truncate": Parameter(whole(1), "Tokens of the prompt kept, the last ones"),
    "watermark": Parameter(Any_(), _NOT_OFFERED),
}
