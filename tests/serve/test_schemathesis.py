"""schemathesis against the real server: no 500, no status, header or body that the document does not have."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.cluster import deploy
from tests.serve.served import case_of, served

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.slow, pytest.mark.timeout(1800)]

_SERVED = (
    "text-classification-bert",
    "token-classification-bert",
    "fill-mask-bert",
    "zero-shot-classification-bert",
    "image-classification-vit",
    "object-detection-detr",
    "asr-wav2vec2",
    "visual-question-answering-vilt",
)
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    """Text, images, sound, candidate labels, and a question about an image."""
    deploy(url, {"models": [served(case_of(name), checkpoints) for name in _SERVED]})
    return url


@pytest.mark.parametrize(
    ("phases", "mode"),
    [
        ("examples,coverage", "all"),
        # not "all": schemathesis 4.32 ends with an error of its own while it negates some of our schemas
        ("fuzzing", "positive"),
    ],
)
def test_schemathesis_finds_nothing(server: str, phases: str, mode: str) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server}/openapi.json"),
        *("--checks", ",".join(_CHECKS), "--phases", phases, "--mode", mode, "--max-examples", "60"),
        # one worker: hypothesis parses sources, which Python 3.11 before 3.11.8 cannot do in two threads
        *("--workers", "1", "--seed", "1", "--generation-database", "none", "--continue-on-failure", "--no-color"),
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
