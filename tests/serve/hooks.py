"""What every Ray worker of the tests does first: offer the stand-in for torchvision when mask-generation is imported.

Only then, so that processes without torch stay without it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_WATCHED = "transformers.pipelines.mask_generation"


class _Watcher(importlib.abc.MetaPathFinder):
    """Sees the import of one module, steps aside, and acts."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == _WATCHED:
            sys.meta_path.remove(self)
            from tests.tiny import stand_in

            stand_in.install()
        return None


def setup_worker(*_: Any) -> None:
    """Ray's ``worker_process_setup_hook``."""
    sys.meta_path.insert(0, _Watcher())
