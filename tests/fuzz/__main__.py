"""Fuzz for a while: ``python -m tests.fuzz`` all targets, each in a process of its own; what is found is kept.

libFuzzer, through atheris, changes the seeds; it follows which lines of Pillow's Python, of Starlette's parser and of
ours they reach. A target fails on any exception but a refusal, a crash, 20 s for one input, or 2 GiB of memory. Change
``FUZZ_S`` (seconds for each target, 60) and ``TARGETS`` (names, all) in the environment.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> int:
    """Fuzz the targets of the environment; 1 if any has findings."""
    from tests.fuzz.seeds import seeds
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in os.environ.get("TARGETS", "").split() or TARGETS:
        with tempfile.TemporaryDirectory() as corpus:
            for at, seed in enumerate(seeds(name)):
                Path(corpus, f"seed-{at}").write_bytes(seed)
            print(f"== {name}", flush=True)
            if subprocess.run(_command(name, corpus), check=False).returncode:
                failed.append(name)
    print(f"findings in: {', '.join(failed)}; see tests/fuzz/found" if failed else "no findings")
    return 1 if failed else 0


def _command(name: str, corpus: str) -> list[str]:
    found = _HERE / "found"
    found.mkdir(exist_ok=True)
    bounds = [f"-max_total_time={os.environ.get('FUZZ_S', '60')}", "-timeout=20", "-rss_limit_mb=2048"]
    rest = ["-max_len=65536", "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={found}/{name}-"]
    return [sys.executable, "-W", "ignore", "-m", "tests.fuzz.one", name, *bounds, *rest, corpus]


if __name__ == "__main__":
    sys.exit(main())
