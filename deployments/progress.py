"""How far a model has come with loading, for whoever watches a server start. No Ray, no torch.

``pipeline-graph serve`` names a folder in the environment (`FOLDER`), which the replicas of the Ray that it starts
inherit. Each keeps one small file there while it loads, which `cluster.announce` reads. Elsewhere nothing is written.
"""

import contextlib
import importlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tqdm.std import tqdm

FOLDER = "PIPELINE_GRAPH_PROGRESS"
"""Variable with the folder."""
Stage = Literal["download", "weights", "check"]
_EVERY_S = 0.3  # between two writes of one stage


def report(name: str, stage: Stage, done: int = 0, total: int = 0) -> None:
    """Tell how far the model ``name`` is in this process.

    Args:
        name: of the model.
        stage: ``download`` of its files, ``weights`` on their way into it, or ``check``, the warm-up.
        done: bytes of a download, tensors of the weights.
        total: of the same; 0 where it is not known.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    file = Path(folder, f"{os.getpid()}.json")
    draft = file.with_suffix(".draft")
    with contextlib.suppress(OSError):  # whoever watched has gone, and its folder with it
        draft.write_text(json.dumps({"name": name, "stage": stage, "done": done, "total": total}))
        draft.replace(file)


@contextmanager
def watched(name: str) -> Iterator[None]:
    """Within, the progress bars of transformers and huggingface_hub are reported instead of drawn.

    In a replica's log, which is no terminal, they would be hundreds of lines or, those of the hub, none.
    """
    from transformers.utils.logging import set_tqdm_hook

    hub: Any = importlib.import_module("huggingface_hub.utils.tqdm")  # by this name the package has the class of it
    snapshots: Any = importlib.import_module("huggingface_hub._snapshot_download")

    class Shown(_Bar):
        def display(self, *_: Any, **__: Any) -> None:
            if self.told and (self.n or self.total):
                stage: Stage = "download" if self.unit == "B" else "weights"
                report(name, stage, int(self.n), int(self.total or 0))

    hook = set_tqdm_hook(lambda _, args, kwargs: Shown(*args, **kwargs))
    drawn = hub.tqdm
    hub.tqdm = snapshots.hf_tqdm = Shown  # the hub has no hook: it makes its bars of the class of these names
    try:
        yield
    finally:
        hub.tqdm = snapshots.hf_tqdm = drawn
        set_tqdm_hook(hook)


class _Bar(tqdm):  # type: ignore[misc]
    """A progress bar that draws nothing, and counts either bytes of a download or tensors."""

    monitor_interval = 0  # no thread that watches it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # of files together, the hub has a bar of bytes received too, and one of files
        apart = kwargs.pop("name", None) == "huggingface_hub.snapshot_download.transfer"
        self.told = not apart and not str(kwargs.get("desc")).startswith("Fetching")
        super().__init__(*args, **{**kwargs, "disable": False, "file": io.StringIO(), "mininterval": _EVERY_S})
