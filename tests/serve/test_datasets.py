"""Datasets through the served twin: the local pipeline's answers, for every kind of dataset, over HTTP and handles.

The oracle is the local ``transformers.pipeline`` over the same dataset.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import httpx
import psutil
import pytest
import ray
import torch
from ray.serve.context import _get_global_client
from transformers.pipelines.pt_utils import KeyDataset, KeyPairDataset

import graph
from deployments.errors import InferenceError, InvalidInputError, InvalidParameterError
from tests.serve.cluster import deploy, until
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, served
from tests.tiny import checkpoint, samples
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

CLASSIFY, VQA, SPEECH, WRITE, FILL, LOOK = (
    "text-classification-bert",
    "visual-question-answering-vilt",
    "asr-whisper",
    "text-generation-llama",
    "fill-mask-bert",
    "image-classification-vit",
)
TEXTS = [f"The city of {place} is {what} for my dog." for place in ("Paris", "London") for what in ("bad", "great")] * 5


def _fake(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "task": "fake", "resources": {"num_cpus": 0.1}, **more}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    models = [served(case_of(name), checkpoints) for name in (CLASSIFY, VQA, SPEECH, WRITE, FILL, LOOK)]
    slow = {"init": {"forward_s": 0.02}, "batch": {"max_items": 4}}
    twins = _fake("twins", **slow, scale={"min_replicas": 2})
    slower = {**slow, "init": {"forward_s": 0.2}}  # or all that was read may be answered before anybody has looked
    roomy = _fake("slow", **slower, scale={"max_ongoing_requests": 1000})
    deploy(url, {"models": [*models, _fake("quick"), roomy, twins]})
    return url


@pytest.fixture(params=["http", "handle"])
def over(request: pytest.FixtureRequest, server: str) -> str | None:
    """What `graph.pipeline` is given as ``url``."""
    return server if request.param == "http" else None


class MapStyle(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Only ``__len__`` and ``__getitem__``, and no error behind the last item, as many have it."""

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, index: int) -> str:
        return TEXTS[index % len(TEXTS)]


class Streamed(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[str]:
        return iter(TEXTS)


def generator() -> Iterator[str]:
    yield from TEXTS


TABLE = datasets.Dataset.from_dict({"text": TEXTS, "other": TEXTS[::-1]})
KINDS: dict[str, Any] = {
    "generator": generator,
    "torch map-style": MapStyle,
    "KeyDataset": lambda: KeyDataset(TABLE, "text"),
    "KeyPairDataset": lambda: KeyPairDataset(TABLE, "text", "other"),
}
OURS: dict[str, Any] = {
    "torch iterable": Streamed,
    "datasets": lambda: TABLE.select_columns("text"),
    "datasets streaming": lambda: TABLE.select_columns("text").to_iterable_dataset(),
    "column": lambda: TABLE["text"],
    "iterator": lambda: iter(TEXTS),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameters", [{}, {"top_k": 2}], ids=["default", "top_k"])
def test_datasets_answer_as_locally(over: str | None, kind: str, parameters: dict[str, Any], checkpoints: Path) -> None:
    local = local_pipeline(case_of(CLASSIFY), checkpoints)
    remote = graph.pipeline("text-classification", CLASSIFY, url=over)
    want = list(local(KINDS[kind](), batch_size=4, **parameters))
    got = list(remote(KINDS[kind](), batch_size=4, num_workers=2, **parameters))
    assert len(got) == len(TEXTS)
    assert difference(want, got) is None


@pytest.mark.parametrize("kind", OURS)
def test_datasets_that_the_local_pipeline_does_not_take_itself(over: str | None, kind: str, checkpoints: Path) -> None:
    local = local_pipeline(case_of(CLASSIFY), checkpoints)
    remote = graph.pipeline("text-classification", CLASSIFY, url=over)
    assert difference(list(local(generator())), list(remote(OURS[kind]()))) is None


def test_lists_answer_as_locally(over: str | None, checkpoints: Path) -> None:
    for name, texts in ((CLASSIFY, TEXTS), (FILL, [f"{text} [MASK]" for text in TEXTS]), (FILL, ["A [MASK]."])):
        want = local_pipeline(case_of(name), checkpoints)(texts)
        assert difference(want, graph.pipeline(model=name, url=over)(texts)) is None


def test_images_with_one_question(over: str | None, checkpoints: Path) -> None:
    images = [given["image"] for given in case_of(VQA).inputs]
    pictures = datasets.Dataset.from_dict({"image": images}, features=datasets.Features({"image": datasets.Image()}))
    want = local_pipeline(case_of(VQA), checkpoints)([{"image": row["image"], "question": "why?"} for row in pictures])
    remote = graph.pipeline("visual-question-answering", url=over)
    assert difference(want, list(remote(KeyDataset(pictures, "image"), question="why?"))) is None
    assert difference(want, list(remote(image=KeyDataset(pictures, "image"), question="why?"))) is None
    assert difference(want, list(remote({**row, "question": "why?"} for row in pictures))) is None


def test_sounds_of_a_dataset(over: str | None, checkpoints: Path) -> None:
    sounds = list(samples.tones())
    rows = [{"array": sound, "sampling_rate": 16000} for sound in sounds]
    local = local_pipeline(case_of(SPEECH), checkpoints)
    always = case_of(SPEECH).always
    remote = graph.pipeline("automatic-speech-recognition", url=over)
    assert difference([local(dict(row), **always) for row in rows], list(remote(iter(rows), **always))) is None
    assert (
        difference([local(sound, **always) for sound in sounds], list(remote(map(torch.tensor, sounds), **always)))
        is None
    )


def test_chats_of_a_generator(over: str | None, checkpoints: Path) -> None:
    chats = [[{"role": "user", "content": text}] for text in TEXTS[:4]]
    greedy = {"max_new_tokens": 4, "do_sample": False}
    want = list(local_pipeline(case_of(WRITE), checkpoints)((chat for chat in chats), **greedy))
    remote = graph.pipeline("text-generation", url=over, **greedy)
    assert difference(want, list(remote(chat for chat in chats))) is None


def test_an_error_stands_at_its_item(over: str | None) -> None:
    remote = graph.pipeline(model="quick", url=over)
    answers = iter(remote((f"{number}" for number in range(60)), fail_on="7"))
    assert [next(answers)["echo"] for _ in range(7)] == [f"{number}" for number in range(7)]
    with pytest.raises(InferenceError):
        next(answers)
    assert [answer["echo"] for answer in answers] == [f"{number}" for number in range(8, 60)]
    values = list(remote((f"{number}" for number in range(60)), fail_on="7", errors="return"))
    assert [isinstance(value, InferenceError) for value in values] == [number == 7 for number in range(60)]
    values = remote([f"{number}" for number in range(60)], fail_on="7", errors="return")
    assert [isinstance(value, InferenceError) for value in values] == [number == 7 for number in range(60)]
    with pytest.raises(InferenceError):
        remote([f"{number}" for number in range(60)], fail_on="7")


def test_a_wrong_item_and_a_wrong_parameter_are_named(over: str | None) -> None:
    remote = graph.pipeline("text-classification", CLASSIFY, url=over)
    values = list(remote(iter(["good", 7, "good"]), errors="return"))
    assert [type(value) for value in values] == [dict, InvalidInputError, dict]
    with pytest.raises(InvalidParameterError, match="topp_k"):
        next(remote(iter(["good"] * 3), topp_k=2))


def _asked(server: str, name: str) -> int:
    return int(httpx.get(f"{server}/models/{name}/info", timeout=30).json().get("waiting", -1))


def test_whoever_leaves_leaves_nothing_running(server: str, over: str | None) -> None:
    """The rest would take ten minutes."""
    read = []

    def source() -> Iterator[str]:
        for number in range(12_000):
            read.append(number)
            yield f"{number}"

    for _ in graph.pipeline(model="slow", url=over)(source()):
        until(lambda: _asked(server, "slow") > 20, every_s=0.01)
        break
    until(lambda: _asked(server, "slow") == 0, every_s=0.05)
    until(lambda: not any(thread.name == "read-dataset" for thread in threading.enumerate()))
    assert len(read) < 600


def _replicas(name: str) -> list[Any]:
    """Actors of the running replicas of a deployment."""
    details = ray.get(_get_global_client()._controller.get_serve_instance_details.remote())
    replicas = details["applications"]["pipelines"]["deployments"][name]["replicas"]
    return [replica for replica in replicas if replica["state"] == "RUNNING"]


def _alive(name: str) -> list[int]:
    """Processes of the running replicas; Serve lists one that was killed for a while."""
    return [replica["pid"] for replica in _replicas(name) if psutil.pid_exists(replica["pid"])]


def test_a_replica_that_is_killed_repeats_and_loses_nothing(over: str | None) -> None:
    until(lambda: len(_alive("twins")) == 2)
    answers = iter(graph.pipeline(model="twins", url=over)(f"{number}" for number in range(1500)))
    found = [next(answers)["echo"] for _ in range(100)]
    os.kill(_alive("twins")[0], signal.SIGKILL)
    found += [answer["echo"] for answer in answers]
    assert found == [f"{number}" for number in range(1500)]


def test_asynchronous_calls(server: str, over: str | None, checkpoints: Path) -> None:
    local = local_pipeline(case_of(CLASSIFY), checkpoints)
    greedy = {"max_new_tokens": 4, "do_sample": False, "return_full_text": False}

    async def ask() -> tuple[Any, ...]:
        classify = await graph.async_pipeline("text-classification", CLASSIFY, url=over)
        write = await graph.async_pipeline("text-generation", url=over)
        one, listed, whole = await asyncio.gather(classify(TEXTS[0]), classify(TEXTS), write("Paris is", **greedy))
        rows = [answer async for answer in classify(KeyDataset(TABLE, "text"))]
        pieces = [piece async for piece in write("Paris is", stream=True, **greedy)]
        return one, listed, rows, whole, pieces

    one, listed, rows, whole, pieces = asyncio.run(ask())
    assert difference(local(TEXTS[0]), one) is None
    assert difference(local(TEXTS), listed) is None
    assert difference(local(TEXTS), rows) is None
    assert "".join(pieces) == whole[0]["generated_text"]


def test_attributes_that_code_relies_on(over: str | None, checkpoints: Path) -> None:
    local = local_pipeline(case_of(CLASSIFY), checkpoints)
    remote = graph.pipeline("sentiment-analysis", CLASSIFY, device=0, dtype=torch.bfloat16, url=over)
    assert remote.task == local.task
    assert remote.model.config.id2label == local.model.config.id2label
    assert type(remote.model.config) is type(local.model.config)
    assert remote.tokenizer("I love Paris")["input_ids"] == local.tokenizer("I love Paris")["input_ids"]
    assert remote.feature_extractor is None
    speech = graph.pipeline("automatic-speech-recognition", url=over)
    assert speech.feature_extractor.sampling_rate == 16000


def test_one_pool_of_connections_serves_them_all(server: str) -> None:
    first, second = (graph.pipeline(model=name, url=server) for name in ("quick", CLASSIFY))
    assert first._transport._client is second._transport._client


# as the pipeline guide of transformers has them; models and data are those of the tests
DOCUMENTED = {
    "one, list and parameters": """
from transformers import pipeline
pipe = pipeline(task="text-classification", model=CLASSIFY, device=-1, batch_size=2)
out = [pipe("This was a masterpiece."), pipe(["the", "a baguette is "]), pipe("good", top_k=None)]
""",
    "data type and placement": """
import torch
from transformers import pipeline
pipeline = pipeline(task="text-generation", model=WRITE, dtype=torch.float32, device_map="cpu")
out = pipeline("the secret to baking a really good cake is ", max_new_tokens=4, do_sample=False)
""",
    "dataset": """
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
dataset = KeyDataset(Dataset.from_dict({"text": TEXTS}), "text")
pipeline = pipeline(task="text-classification", model=CLASSIFY)
out = []
for answer in pipeline(dataset, batch_size=8, truncation="only_first"):
    out.append(answer)
""",
    "generator": """
from transformers import pipeline

def data():
    for i in range(30):
        yield f"My example {i}"

pipe = pipeline("text-generation", model=WRITE, device=-1)
out = 0
for answer in pipe(data(), max_new_tokens=3, do_sample=False):
    out += len(answer[0]["generated_text"])
""",
    "speech": """
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset
pipe = pipeline("automatic-speech-recognition", model=SPEECH, chunk_length_s=0)
rate = pipe.feature_extractor.sampling_rate
dataset = Dataset.from_dict({"audio": [{"array": sound, "sampling_rate": rate} for sound in SOUNDS]})
dataset = dataset.with_format("numpy")
out = [answer for answer in pipe(KeyDataset(dataset, "audio"), generate_kwargs=GENERATE)]
""",
    "vision": """
from transformers import pipeline
vision_classifier = pipeline(model=LOOK, task="image-classification")
out = vision_classifier(PICTURES[0], top_k=2)
""",
}


@pytest.mark.parametrize("example", DOCUMENTED)
def test_documented_examples_run_with_only_the_import_changed(
    example: str, server: str, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_GRAPH_URL", server)
    names = {"CLASSIFY": CLASSIFY, "WRITE": WRITE, "SPEECH": SPEECH, "LOOK": LOOK}
    there: dict[str, Any] = {name: str(checkpoint(case_of(case), checkpoints)) for name, case in names.items()}
    there |= {"TEXTS": TEXTS, "SOUNDS": samples.tones(), "PICTURES": samples.pictures()}
    there["GENERATE"] = case_of(SPEECH).always["generate_kwargs"]
    local, remote = dict(there), dict(there)
    exec(DOCUMENTED[example], local)
    exec(DOCUMENTED[example].replace("from transformers import pipeline", "from graph import pipeline"), remote)
    assert difference(local["out"], remote["out"]) is None
