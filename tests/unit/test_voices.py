"""Voices in the configuration: parameters of the call, checked where the configuration is read."""

from typing import Any

import pytest

from deployments.errors import ConfigError
from graph.resolve import configure

SAY: dict[str, Any] = {"name": "say", "task": "text-to-speech", "model": "a/b"}


def test_voices_are_parameters_of_the_call() -> None:
    voices = {"anna": {}, "bert": {"forward_params": {"speaker_id": 1}}}
    assert configure({"models": [{**SAY, "voices": voices}]}).models[0].voices == voices


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"voices": {"anna": {"forward_parms": {}}}}, r"args\.models\[0\]\.voices\.anna\.parameters\.forward_parms: "),
        (
            {"voices": {"anna": {"forward_params": 1}}},
            r"anna\.parameters\.forward_params: .* must be an object",
        ),
        ({"voices": {"anna": 1}}, r"args\.models\[0\]\.voices\.anna: "),
        (
            {"voices": {"anna": {}}, "task": "fill-mask"},
            r"models\[0\]\.voices: a model of fill-mask has no voices",
        ),
    ],
)
def test_mistakes_are_told_at_their_path(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configure({"models": [{**SAY, **change}]})
