"""Image to image, such as super-resolution: ``image-to-image``.

Behaviour of transformers 4.57, ``transformers/pipelines/image_to_image.py``.
"""

from typing import Any

import numpy as np
from PIL import Image
from transformers.image_utils import load_image
from transformers.pipelines.base import Pipeline


class ImageToImagePipeline(Pipeline):
    """``pipe(image)`` → ``PIL.Image``; a list of images gives a list.

    Call parameters: ``timeout`` (seconds, for images by URL).
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {"timeout": kwargs["timeout"]} if "timeout" in kwargs else {}
        return preprocess, {}, {}

    def __call__(self, images: Any, **kwargs: Any) -> Any:
        """Transform one image or a list of images."""
        return [] if isinstance(images, list) and not images else super().__call__(images, **kwargs)

    def preprocess(self, image: Any, timeout: float | None = None) -> Any:
        """Prepare one image."""
        return self.image_processor(images=[load_image(image, timeout=timeout)], return_tensors="pt").to(self.dtype)

    def _forward(self, model_inputs: Any) -> Any:
        return self.model(**model_inputs)

    def postprocess(self, model_outputs: Any) -> Any:
        """The reconstruction as 8 bit images."""
        images = []
        for output in model_outputs.reconstruction:
            pixels = output.squeeze().float().clamp(0, 1).numpy()
            images.append(Image.fromarray((np.moveaxis(pixels, 0, -1) * 255.0).round().astype(np.uint8)))
        return images if len(images) > 1 else images[0]
