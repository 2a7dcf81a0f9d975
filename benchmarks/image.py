"""Images of mixed size as JPEG: decoded inside the measure on both sides, base64 in JSON on the served one."""

import io

from PIL import Image

from benchmarks import data, models
from benchmarks.comparison import Comparison, Part
from benchmarks.settings import Settings

_COUNT = 128
_MANY = 64  # clients


def make(settings: Settings) -> Comparison:
    """The comparison on images."""
    files = data.images(settings.count(_COUNT, _MANY), settings.seed)
    part = Part(
        name="image",
        task="image-classification",
        model=models.image_classifier(settings.seed),
        unit="images",
        inputs=lambda: [Image.open(io.BytesIO(file)) for file in files],
        sent=list(files),
        parameters={},
        batch_sizes=(1, 4, 8),
        clients={1: 1, 16: 2, _MANY: 3},
    )
    return Comparison(part, settings)
