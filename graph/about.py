"""What code expects of a pipeline's ``model`` beside calls: its configuration, asked for once and when it is used."""

import functools
import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class ServedModel:
    """Stands for ``pipe.model``: the weights are with the replicas.

    Args:
        ask: gets what a replica says of its configuration.
    """

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self._ask = ask

    @functools.cached_property
    def _about(self) -> dict[str, Any]:
        return self._ask()

    @functools.cached_property
    def config(self) -> Any:
        """The configuration that the model was loaded with: transformers' own object, where that is installed."""
        return _config(dict(self._about["config"]))

    @property
    def name_or_path(self) -> str:
        """Where the replicas loaded the model from."""
        return str(self._about["name_or_path"])

    @property
    def feature_extractor(self) -> Any:
        """``sampling_rate`` (Hz) of the sound that the model takes; None where it takes none."""
        rate = self._about["sampling_rate"]
        return None if rate is None else SimpleNamespace(sampling_rate=rate)


def _config(values: dict[str, Any]) -> Any:
    if importlib.util.find_spec("transformers") is None:
        return SimpleNamespace(**values)
    import transformers

    try:
        return transformers.AutoConfig.for_model(**values)
    except (ValueError, TypeError):  # a kind of model that transformers does not have
        return transformers.PretrainedConfig.from_dict(values)


def load_tokenizer(source: str) -> Any:
    """The tokenizer of ``source``, loaded in this process.

    Raises:
        AttributeError: it cannot be loaded here.
    """
    try:
        return _tokenizer(source)
    except Exception as error:
        raise AttributeError(f"the tokenizer of {source!r} cannot be loaded on this machine") from error


@functools.lru_cache(maxsize=4)
def _tokenizer(source: str) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(source)
