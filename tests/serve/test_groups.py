"""Models that share replicas on a real server: loaded when asked for, gone when others need room, failing alone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import transformers
from openai import OpenAI
from ray import serve
from ray.exceptions import RayTaskError

from deployments.config import ModelConfig
from deployments.errors import ModelUnavailableError, UnknownModelError
from deployments.load import load
from deployments.payload import TaskRequest
from graph import async_pipeline, pipeline
from tests.serve.cluster import deploy, until
from tests.serve.gate import Gate
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, endless, served
from tests.serve.test_nothing_lost import pids
from tests.serve.test_scaling import QUICK
from tests.serve.test_seen import samples, scrape
from tests.serve.test_text_generation import ENDLESS
from tests.tiny import Case, checkpoint
from tests.tiny.common import seeded
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def member(name: str, **more: Any) -> dict[str, Any]:
    """Names are used once: the replica of the group may live on from test to test, and what it holds with it."""
    return {"name": name, "task": "fake", "group": "rare", **more}


def args(*models: dict[str, Any], **group: Any) -> dict[str, Any]:
    return {"models": list(models), "groups": {"rare": {"resources": {"num_cpus": 0.1}, **group}}}


def deployed(url: str, arguments: dict[str, Any]) -> None:
    """Deploy, and wait for a replica of the group: its models need not be in memory for that."""
    deploy(url, arguments)
    until(lambda: set(states(url)) == {model["name"] for model in arguments["models"]})


def states(url: str) -> dict[str, str]:
    body = httpx.get(f"{url}/ready", timeout=30).json()
    return {name: state["state"] for name, state in body["models"].items()}


def held(url: str) -> set[str]:
    return {name for name, state in states(url).items() if state == "ready"}


def ask(url: str, name: str, timeout: float = 120, **parameters: Any) -> httpx.Response:
    return httpx.post(f"{url}/models/{name}", json={"inputs": name, "parameters": parameters}, timeout=timeout)


def loads() -> dict[str, float]:
    """How often each model was loaded, as Prometheus has it."""
    return {labels["model"]: count for labels, count in samples(scrape(), "ray_pipeline_graph_model_loads_total")}


def test_models_are_loaded_when_asked_for_and_the_least_recently_used_goes(url: str) -> None:
    deployed(url, args(member("one"), member("two"), member("three"), max_models=2))
    assert httpx.get(f"{url}/ready", timeout=30).status_code == 200  # they answer whoever asks
    assert set(states(url).values()) == {"asleep"}
    assert len(pids("rare")) == 1
    for name in ("one", "two", "one", "three"):
        answer = ask(url, name)
        assert (answer.status_code, answer.json()["echo"]) == (200, name)
    until(lambda: held(url) == {"one", "three"})
    assert httpx.get(f"{url}/models/two/health", timeout=30).json() == {"state": "asleep", "replicas": 0}
    assert len(pids("rare")) == 1


def test_first_requests_at_once_load_once_and_batch_together(url: str) -> None:
    deployed(url, args(member("slow", init={"load_s": 2.0, "forward_s": 0.2}), member("other"), max_models=2))
    with ThreadPoolExecutor(9) as callers:
        first = [callers.submit(ask, url, "slow") for _ in range(8)]
        until(lambda: states(url)["slow"] != "asleep", every_s=0.05)
        assert ask(url, "other").status_code == 200  # a neighbour is loaded after it, and waits for nothing else
        answers = [call.result() for call in first]
    assert [answer.status_code for answer in answers] == [200] * 8
    info = httpx.get(f"{url}/models/slow/info", timeout=30).json()
    assert (info["state"], info["group"], info["load_seconds"]) == ("ready", "rare", 0.0)
    assert max(int(answer.headers["x-batch-size"]) for answer in answers) > 1
    until(lambda: loads().get("slow") is not None, 60, 1)
    assert loads()["slow"] == 1


def test_a_model_in_memory_answers_while_another_is_loaded(url: str, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    deployed(url, args(member("in-memory"), member("coming", init=gate.init), max_models=2))
    assert ask(url, "in-memory").status_code == 200
    with ThreadPoolExecutor(1) as callers:
        with gate.closed():  # its first answer, with which loading ends, comes when the other one has answered
            coming = callers.submit(ask, url, "coming")
            gate.busy()
            until(lambda: states(url)["coming"] == "loading")
            assert ask(url, "in-memory").status_code == 200
            assert states(url)["coming"] == "loading"
        assert coming.result().status_code == 200


def test_one_that_cannot_load_fails_alone(url: str) -> None:
    deployed(url, args(member("broken", init={"load_error": "the weights are gone"}), member("sound"), max_models=2))
    assert ask(url, "sound").status_code == 200
    answers = [ask(url, "broken") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json()["estimated_time"] > 0
    assert int(answers[0].headers["retry-after"]) > 0
    assert "weights" not in answers[0].text
    assert ask(url, "sound").status_code == 200
    ready = httpx.get(f"{url}/ready", timeout=30)
    assert ready.status_code == 503
    assert ready.json()["models"]["broken"]["state"] == "failed"
    assert "the weights are gone" in ready.json()["models"]["broken"]["reason"]
    assert ready.json()["models"]["sound"] == {"state": "ready", "replicas": 1}
    with pytest.raises(ModelUnavailableError):
        pipeline("broken", timeout_s=5)("x")
    with pytest.raises(ModelUnavailableError):  # and a dataset does not wait for what never comes
        list(pipeline("broken", timeout_s=100)(iter(["x"])))


def test_a_failing_request_leaves_its_model_and_its_neighbours(url: str) -> None:
    deployed(url, args(member("fails"), member("works"), max_models=2))
    assert ask(url, "fails", fail_on="fails").status_code == 500
    assert [ask(url, name).status_code for name in ("fails", "works")] == [200, 200]
    until(lambda: held(url) == {"fails", "works"})


def test_only_names_of_the_group_are_loaded(url: str) -> None:
    deployed(url, args(member("allowed"), max_models=1))
    handle = serve.get_deployment_handle("rare", "pipelines")
    for name in ("", "two", "/etc/passwd"):
        with pytest.raises(RayTaskError) as caught:
            handle.options(multiplexed_model_id=name).remote(TaskRequest("x")).result(timeout_s=60)
        assert isinstance(caught.value.cause, UnknownModelError)
    assert ask(url, "two").status_code == 404
    assert ask(url, "rare").status_code == 404  # a group is no model
    until(lambda: held(url) == set())


def test_what_changes_is_loaded_anew_and_nothing_else_is(url: str) -> None:
    deployed(url, args(member("kept"), member("changed"), member("leaves"), max_models=3))
    for name in ("kept", "changed", "leaves"):
        assert ask(url, name).status_code == 200
    before = pids("rare"), pids("router")
    kept = member("kept", parameters={"fail_on": "kept"})
    deployed(url, args(kept, member("changed", init={"forward_s": 0.001}), member("new"), max_models=3))
    until(lambda: ask(url, "kept").status_code == 500)  # new defaults, and still in memory
    until(lambda: held(url) == {"kept"})
    assert [ask(url, name).status_code for name in ("changed", "new")] == [200, 200]
    until(lambda: ask(url, "leaves").status_code == 404)
    assert (pids("rare"), pids("router")) == before


def test_requests_for_a_model_go_where_it_is(url: str) -> None:
    """Two replicas of one model each: after a first answer, nobody pushes anybody out."""
    names = ("here", "there")
    deployed(url, args(*map(member, names), max_models=1, scale={"min_replicas": 2}))
    until(lambda: len(pids("rare")) == 2)

    def apart() -> bool:
        """Routers hear a moment later where a model is; until then a request may go anywhere."""
        return {ask(url, name).status_code for name in names} == {200} and held(url) == {*names}

    until(lambda: all(apart() for _ in range(5)), every_s=0.5)
    for _ in range(20):
        assert [ask(url, name).status_code for name in names] == [200, 200]
        until(lambda: held(url) == {*names}, 10)  # one replica that is slow to say what it has is no eviction


def test_a_group_scales_to_zero_and_its_first_caller_wakes_it(url: str) -> None:
    deploy(url, args(member("sleeper"), max_models=1, scale={"min_replicas": 0, "max_replicas": 1, **QUICK}))
    until(lambda: pids("rare") == [] and states(url) == {"sleeper": "asleep"}, 120)
    assert ask(url, "sleeper").status_code == 503
    sent = {"x-wait-for-model": "true"}
    answer = httpx.post(f"{url}/models/sleeper", json={"inputs": "x"}, headers=sent, timeout=120)
    assert answer.status_code == 200


REAL = ("text-classification-bert", "text-generation-llama", "image-classification-vit", "feature-extraction-bert")
CASES = [case_of(name) for name in REAL]


def memory(case: Case, checkpoints: Path) -> int:
    """Bytes of a tiny model, loaded in this process."""
    return load(ModelConfig.model_validate({**served(case, checkpoints)})).memory_bytes


@pytest.fixture(scope="module")
def real(url: str, checkpoints: Path) -> tuple[str, int]:
    """Four real models, and memory for all but one of them."""
    sizes = [memory(case, checkpoints) for case in CASES]
    most = sum(sizes) - 1
    models = [{**served(case, checkpoints), "group": "rare"} for case in CASES]
    for model in models:
        del model["resources"]
    deployed(url, args(*models, memory=most))
    return url, most


@pytest.mark.pipelines
def test_real_models_answer_as_the_local_pipeline_within_their_memory(real: tuple[str, int], checkpoints: Path) -> None:
    url, most = real
    for _ in range(2):
        for case in CASES:
            local, given = local_pipeline(case, checkpoints), case.inputs
            for remote in (pipeline(case.id, url=url), pipeline(case.id)):
                answers = remote(list(given), **{**case.always, **case.parameters})
                wanted = [local(one, **{**case.always, **case.parameters}) for one in case.inputs]
                for answer, one in zip(answers, wanted, strict=True):
                    assert difference(one, answer) is None or difference(one, [answer]) is None
            info = {name: httpx.get(f"{url}/models/{name}/info", timeout=30).json() for name in REAL}
            assert info[case.id]["state"] == "ready"
            assert sum(each.get("memory_bytes", 0) for each in info.values()) <= most
            assert info[case.id]["weight_bytes"] > 0
    assert 1 <= len(held(url)) < len(REAL)
    assert [one["name"] for one in httpx.get(f"{url}/models", timeout=60).json()] == [*REAL]
    assert [one["id"] for one in httpx.get(f"{url}/v1/models", timeout=60).json()["data"]] == [*REAL]


@pytest.mark.pipelines
def test_streams_and_chats_of_a_shared_model(real: tuple[str, int], checkpoints: Path) -> None:
    url, _ = real
    name, parameters = "text-generation-llama", {"max_new_tokens": 8, "do_sample": False, "return_full_text": False}
    local = local_pipeline(case_of(name), checkpoints)
    [wanted] = local("Once upon a time", **parameters)
    for remote in (pipeline(name, url=url), pipeline(name)):
        assert "".join(remote("Once upon a time", stream=True, **parameters)) == wanted["generated_text"]
        assert remote.model.config.model_type == "llama"
    chat = [{"role": "user", "content": "Who are you?"}]
    [answer] = local(chat, **parameters)
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        asked: dict[str, Any] = {"model": name, "messages": chat, "max_completion_tokens": 8, "temperature": 0}
        completion = client.chat.completions.create(**asked)
        assert completion.choices[0].message.content == answer["generated_text"]
        pieces = [
            chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(stream=True, **asked)
        ]
        assert "".join(pieces) == answer["generated_text"]


def test_a_stream_keeps_its_model_until_its_caller_leaves(url: str, checkpoints: Path) -> None:
    write = {"name": "write", "task": "text-generation", "model": str(endless(checkpoints)), "group": "rare"}
    deployed(url, args({**write, "batch": {"max_padded_tokens": 10**7}}, member("next"), max_models=1))

    async def scene() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            body = {"inputs": "Once upon a time", "parameters": ENDLESS, "stream": True}
            async with client.stream("POST", "/models/write", json=body) as answer:
                assert answer.status_code == 200
                pieces = answer.aiter_lines()
                await anext(pieces)
                waits = asyncio.create_task(client.post("/models/next", json={"inputs": "x"}))
                await asyncio.to_thread(until, lambda: states(url)["next"] == "loading")
                await anext(pieces)
                assert not waits.done()
            assert (await waits).status_code == 200

    asyncio.run(scene())
    until(lambda: held(url) == {"next"})
    assert asyncio.run(_through_async(url)) == "x"


async def _through_async(url: str) -> Any:
    remote = await async_pipeline("next", url=url)
    return (await remote("x"))["echo"]


def large(checkpoints: Path) -> Path:
    """A BERT of 150 MB, in float32."""
    target = checkpoints / "large-bert"
    if not target.exists():
        small = checkpoint(case_of("text-classification-bert"), checkpoints)
        config = transformers.BertConfig.from_pretrained(small)
        config.vocab_size, config.hidden_size, config.intermediate_size = 400_000, 96, 192
        seeded(lambda: transformers.BertForSequenceClassification(config)).save_pretrained(target)
        tokenizer = transformers.AutoTokenizer.from_pretrained(small)
        tokenizer.save_pretrained(target)
    return target


@pytest.mark.pipelines
def test_the_memory_of_a_model_that_went_is_free(url: str, checkpoints: Path) -> None:
    small = {**served(case_of("text-classification-bert"), checkpoints), "name": "small", "group": "rare"}
    del small["resources"]
    # in another dtype than saved, as weights that are used as they are saved are mapped from their file
    big = {**small, "name": "big", "model": str(large(checkpoints)), "dtype": "float64"}
    deployed(url, args(small, big, max_models=1))
    assert ask(url, "small").status_code == 200
    (pid,) = pids("rare")
    process, sizes = psutil.Process(pid), []
    for _ in range(3):
        before = process.memory_full_info().uss
        assert ask(url, "big").status_code == 200
        loaded = process.memory_full_info().uss
        assert ask(url, "small").status_code == 200
        sizes.append((before, loaded, process.memory_full_info().uss))
    for before, loaded, after in sizes:
        assert loaded - before > 250e6, sizes
        assert loaded - after > 250e6, sizes
    assert sizes[-1][-1] - sizes[0][-1] < 30e6, sizes
