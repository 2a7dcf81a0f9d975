"""Answers that fit a grammar, whatever the model would rather say; and nobody beside them notices."""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.errors import InvalidParameterError, MissingDependencyError, PipelineGraphError
from deployments.events import Step
from deployments.stepwise.options import Grammar
from deployments.stepwise.turns import Turns
from deployments.work import Work
from tests.engine.causal import causal_pipeline

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
WILD = {"max_new_tokens": 300, "do_sample": True, "temperature": 1.5, "return_full_text": False, "details": True}
BROAD = {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "boolean"}}}


def _as_json(schema: Any) -> dict[str, Any]:
    return {"type": "json", "value": schema}


def _check(record: dict[str, Any], schema: Any) -> bool:
    """Whether the answer came to its end; if so, it is valid."""
    if record["details"]["finish_reason"] == "length":
        return False
    jsonschema.validate(json.loads(record["generated_text"]), schema)
    return True


def _schemas() -> st.SearchStrategy[Any]:
    """Schemas of values that cannot grow forever."""
    leaf = st.one_of(
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": "ok"}, {"enum": [1, "two", None]}]),
        st.integers(0, 6).map(lambda most: {"type": "string", "maxLength": most}),
        st.tuples(st.integers(-50, 0), st.integers(1, 50)).map(
            lambda ends: {"type": "integer", "minimum": ends[0], "maximum": ends[1]}
        ),
        st.just({"type": "string", "pattern": "^[a-c]{2,4}$"}),
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, st.integers(0, 2)).map(
                lambda of: {"type": "array", "items": of[0], "minItems": of[1], "maxItems": 2}
            ),
            st.dictionaries(st.sampled_from("pqr"), inner, max_size=2).map(
                lambda parts: {
                    "type": "object",
                    "properties": parts,
                    "required": sorted(parts)[:1],
                    "additionalProperties": False,
                }
            ),
            st.lists(inner, min_size=1, max_size=2).map(lambda several: {"anyOf": several}),
        ),
        max_leaves=4,
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=_schemas(), seed=st.integers(0, 2**32))
def test_answer_that_ends_is_valid(schema: Any, seed: int, serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    (outcome,) = served.ask(Work("The dog", {**WILD, "grammar": _as_json(schema), "seed": seed}))
    served.engine.close()
    assert not isinstance(outcome, Exception), (outcome, schema)
    _check(outcome[0], schema)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_rows_with_and_without_a_grammar_share_a_batch(name: str, serve_pipe: Any) -> None:
    pipe = causal_pipeline(name)
    served = serve_pipe(pipe, "text-generation")
    plain = {"max_new_tokens": 40, "do_sample": False}
    asked: list[dict[str, Any]] = [
        {**WILD, "grammar": _as_json(PERSON), "seed": 1},
        plain,
        {**WILD, "grammar": _as_json(json.dumps(PERSON)), "do_sample": False, "temperature": None},
        {**plain, "do_sample": True, "seed": 5},
        {**WILD, "grammar": {"type": "json_schema", "value": {"name": "p", "schema": PERSON}}, "seed": 2},
        {**WILD, "grammar": {"type": "json_object", "value": PERSON}, "seed": 3},
    ]
    release = served.hold("The", plain)
    works = [Work("The dog", dict(parameters)) for parameters in asked]
    for work in works:
        served.engine.submit(work)
    served.prepared(len(works))
    release()
    outcomes = [done.outcome for done in served.answers.of(works)]
    assert max(served.noted.batches) > 1
    assert sum(_check(outcomes[index][0], PERSON) for index in (0, 2, 4, 5)) >= 3
    assert outcomes[1] == pipe("The dog", **plain)
    torch.manual_seed(5)
    assert outcomes[3] == pipe("The dog", **{**plain, "do_sample": True})


def test_several_answers_to_one_prompt_each_fit(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    asked = {**WILD, "grammar": _as_json(PERSON), "num_return_sequences": 3, "seed": 4}
    (records,) = served.ask(Work("The dog", asked))
    assert len({record["generated_text"] for record in records}) == 3
    assert sum(_check(record, PERSON) for record in records) >= 2


class _Scarce(Turns):
    """Memory for two rows."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        step = self._stepper.step

        def scarce() -> None:
            if len(self._stepper.rows) > 2:
                raise torch.OutOfMemoryError("no memory")
            step()

        self._stepper.step = scarce  # type: ignore[method-assign]


def test_row_that_goes_back_to_the_queue_goes_on_where_it_was(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = causal_pipeline("llama")
    asked = [{**WILD, "grammar": _as_json(PERSON), "seed": seed} for seed in range(5)]
    alone = serve_pipe(pipe, "text-generation")
    expected = [alone.ask(Work("The dog", dict(parameters)))[0] for parameters in asked]
    monkeypatch.setattr("deployments.run.Turns", _Scarce)
    served = serve_pipe(pipe, "text-generation")
    again = served.ask(*[Work("The dog", dict(parameters)) for parameters in asked])
    texts = [[record["generated_text"] for outcome in several for record in outcome] for several in (again, expected)]
    assert texts[0] == texts[1]
    assert served.noted.ceilings


@pytest.mark.parametrize("pattern", [r"[0-9]{3}-[0-9]{4}", r"(yes|no)( it is)?\.", r"[a-z]{1,12}"])
def test_regular_expression(pattern: str, serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    outcomes = served.ask(
        *[Work("The", {**WILD, "grammar": {"type": "regex", "value": pattern}, "seed": seed}) for seed in range(4)]
    )
    for (record,) in outcomes:
        assert record["details"]["finish_reason"] == "eos_token"
        assert re.fullmatch(pattern, record["generated_text"])


def test_any_object(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    works = [Work("The", {**WILD, "grammar": {"type": "json_object"}, "seed": seed}) for seed in range(4)]
    for (record,) in served.ask(*works):
        assert record["generated_text"].startswith("{")
        _check(record, {"type": "object"})


def test_end_token_of_the_call_ends_the_answer(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    end = pipe.tokenizer.convert_tokens_to_ids("<|user|>")
    served = serve_pipe(pipe, "text-generation")
    asked = {**WILD, "grammar": {"type": "regex", "value": "[ab]{3}"}, "eos_token_id": end, "seed": 1}
    (outcome,) = served.ask(Work("The", asked))
    assert outcome[0]["details"]["tokens"][-1]["id"] == end
    assert re.fullmatch("[ab]{3}", outcome[0]["generated_text"])


def test_answer_that_is_cut_is_the_beginning_of_one_that_fits(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    asked = {**WILD, "max_new_tokens": 4, "grammar": {"type": "regex", "value": "[0-9]{9}"}, "seed": 1}
    (outcome,) = served.ask(Work("The", asked))
    assert outcome[0]["details"]["finish_reason"] == "length"
    assert re.fullmatch("[0-9]{4,8}", outcome[0]["generated_text"])


def test_stream_tells_the_same(serve_pipe: Any) -> None:
    served, events = serve_pipe(causal_pipeline("llama"), "text-generation"), []
    asked = {**WILD, "grammar": _as_json(PERSON), "seed": 1}
    (outcome,) = served.ask(Work("The dog", dict(asked)))
    served.ask(Work("The dog", dict(asked), emit=events.extend))
    pieces = [event.token.text for event in events if isinstance(event, Step)]
    assert "".join(pieces) == outcome[0]["generated_text"]


_BOMB = {"allOf": [{"type": "string", "pattern": f"a{{0,{index * 50}}}b.*"} for index in range(1, 29)]}


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        ({"type": "json"}, "must be"),
        ({"type": "xml", "value": "a"}, "must be"),
        ({"type": "json", "value": "{"}, "must be"),
        ({"type": "json", "value": [1]}, "must be"),
        ({"type": "regex", "value": "a" * 70000}, "of at most 65536 characters"),
        ({"type": "regex", "value": "["}, "cannot be compiled"),
        ({"type": "regex", "value": "(?=a)b"}, "look-around"),
        (_as_json({"type": "nonsense"}), "nonsense"),
        (_as_json({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (_as_json({"x-guidance": {"lenient": True}, "type": "array", "uniqueItems": True}), "uniqueItems"),
        (_as_json({"$ref": "http://127.0.0.1/schema"}), "cannot be compiled"),
        (_as_json({"type": "integer", "minimum": 3, "maximum": 1}), "minimum (3)"),
        (_as_json(_BOMB), "takes too long to compile"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_grammar_that_cannot_be_followed_is_refused(grammar: Any, says: str, serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    plain = {"max_new_tokens": 5, "do_sample": False}
    bad, good = served.ask(Work("The", {**WILD, "grammar": grammar}), Work("The", dict(plain)))
    assert type(bad) is InvalidParameterError
    assert bad.field == "parameters.grammar"
    assert says in str(bad)
    assert isinstance(good, list)


def test_grammar_and_other_parameters_that_leave_no_token(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    digits = [token for token in range(len(pipe.tokenizer)) if pipe.tokenizer.decode([token]).strip().isdigit()]
    asked = {**WILD, "grammar": {"type": "regex", "value": "[0-9]+"}, "suppress_tokens": digits}
    (bad,) = served.ask(Work("The", asked))
    assert type(bad) is InvalidParameterError
    assert "soften" in str(bad)


@pytest.mark.parametrize(("name", "more"), [("mamba", {}), ("llama", {"num_beams": 2, "do_sample": False})])
def test_whole_batches_cannot_follow_one(name: str, more: dict[str, Any], serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline(name), "text-generation")
    (bad,) = served.ask(Work("The", {**more, "grammar": {"type": "json_object"}}))
    assert type(bad) is InvalidParameterError
    assert "`parameters.grammar` is not possible here" in str(bad)


def test_missing_package_is_named(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    (bad,) = served.ask(Work("The", {**WILD, "grammar": {"type": "json_object"}}))
    assert type(bad) is MissingDependencyError
    assert "pip install 'pipeline-graph[grammar]'" in str(bad)


def test_grammar_is_compiled_once(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.stepwise import grammar as module

    compiled: list[Any] = []
    source = module.source
    monkeypatch.setattr(module, "source", lambda given: compiled.append(given) or source(given))
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    served.runner.preparer.steps.compile(_as_json(BROAD))
    works = [Work("The", {**WILD, "grammar": _as_json(BROAD), "seed": seed}) for seed in range(3)]
    assert not any(isinstance(outcome, PipelineGraphError) for outcome in served.ask(*works))
    assert len(compiled) == 1


def test_who_looks_up_a_grammar_waits_for_no_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.stepwise import grammar as module

    pipe = causal_pipeline("llama")
    grammars = module.Grammars(pipe.tokenizer)
    known, slow = Grammar("json", json.dumps(BROAD)), Grammar("regex", "a+")
    matcher = grammars.compiled(known)
    started, go, source = threading.Event(), threading.Event(), module.source

    def slowly(given: Grammar) -> str:
        started.set()
        assert go.wait(60)
        return source(given)

    monkeypatch.setattr(module, "source", slowly)
    with ThreadPoolExecutor(2) as threads:
        first, second = (threads.submit(grammars.compiled, slow) for _ in range(2))
        assert started.wait(60)
        assert grammars.compiled(known) is matcher
        assert not first.done()
        go.set()
        assert first.result() is second.result()


def test_request_that_brings_its_grammar_has_it_compiled_no_more(
    serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others were compiled meanwhile."""
    from deployments.stepwise import grammar as module

    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    asked = {**WILD, "grammar": _as_json(BROAD), "seed": 1}
    compiled = served.runner.preparer.steps.compile(asked["grammar"])
    served.runner.preparer.steps._grammars._kept.clear()
    monkeypatch.setattr(module, "source", lambda _: pytest.fail("on the preparing thread"))
    (outcome,) = served.ask(Work("The", asked, grammar=compiled))
    assert _check(outcome[0], BROAD)
