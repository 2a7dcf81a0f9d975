"""Replicas that start at once on a node download a file once between them."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

pytestmark = pytest.mark.pipelines
CONTENT = b"weights" * 100_000
PROGRAM = (
    "import sys, huggingface_hub\n"
    "print('ready', flush=True)\n"
    "sys.stdin.readline()\n"
    "print(huggingface_hub.hf_hub_download('owner/model', 'model.safetensors'))\n"
)
REPLICAS = 3


class Hub(BaseHTTPRequestHandler):
    """One file of one repository; counts who takes it, and gives the others time to ask."""

    taken: ClassVar[Counter[str]] = Counter()
    asked = threading.Semaphore(0)

    def _head(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()

    def do_HEAD(self) -> None:
        self.asked.release()
        self._head()

    def do_GET(self) -> None:
        if not self.path.endswith(".safetensors"):  # the client asks for settings of its own
            self.send_error(404)
            return
        self.taken[self.path] += 1
        for _ in range(REPLICAS):  # every replica has asked for the file before the first has it
            self.asked.acquire(timeout=30)
        self._head()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once_for_all(hub: str, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "PATH": ""}
    environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "100", "HF_HUB_ETAG_TIMEOUT": "100"}  # after ten seconds they ask again
    replicas = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(REPLICAS)
    ]
    try:
        for replica in replicas:
            assert replica.stdout is not None
            assert replica.stdout.readline() == "ready\n"
        for replica in replicas:  # all begin before the first is waited for
            assert replica.stdin is not None
            replica.stdin.write("\n")
            replica.stdin.flush()
        paths = {replica.communicate(timeout=110)[0].strip() for replica in replicas}
    finally:
        for replica in replicas:
            replica.kill()
            replica.wait()
            for pipe in (replica.stdin, replica.stdout):
                if pipe is not None:
                    pipe.close()
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == CONTENT
    assert Hub.taken == {"/owner/model/resolve/main/model.safetensors": 1}
