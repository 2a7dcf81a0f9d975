"""The curl commands of the documents, run as they stand."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serve.cluster import ROOT, deploy
from tests.serve.served import case_of, served

pytestmark = [
    pytest.mark.ray,
    pytest.mark.pipelines,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]

WORDS = {"max_new_tokens": 8, "language": "en", "task": "transcribe"}
# the names in the documents → a tiny model of the same task
NAMED = {
    "embed": ("feature-extraction-bert", {}),
    "chat": ("text-generation-llama", {"max_new_tokens": 4}),
    # whose window is shorter than the sound: it needs time stamps to go on
    "transcribe": ("asr-whisper", {"return_timestamps": True, "generate_kwargs": WORDS}),
    "classify-image": ("image-classification-vit", {}),
    "ask": ("visual-question-answering-vilt", {}),
}
COMMANDS = [
    line.removeprefix("$ ")
    for document in ("README.md", "docs/http.md", "docs/embeddings.md")
    for line in (ROOT / document).read_text().splitlines()
    if re.match(r"\$ .*curl ", line)
]


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    models = [
        served(case_of(case), checkpoints, name=name, parameters=parameters)
        for name, (case, parameters) in NAMED.items()
    ]
    deploy(url, {"models": models})
    return url


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_is_answered(server: str, command: str) -> None:
    asked = command.replace("http://127.0.0.1:8000", server).replace("curl ", "curl -sS --fail-with-body ")
    done = subprocess.run(["bash", "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
