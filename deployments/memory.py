"""How much memory this process has."""

import sys

import psutil


def memory_bytes() -> dict[str, int]:
    """Resident memory as ``host``; as ``gpu`` what torch has reserved on CUDA devices, where it uses any."""
    found = {"host": int(psutil.Process().memory_info().rss)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu"] = sum(torch.cuda.memory_reserved(index) for index in range(torch.cuda.device_count()))
    return found
