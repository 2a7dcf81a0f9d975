"""Extractive question answering over long contexts: ``question-answering``.

Behaviour of transformers 4.57, ``transformers/pipelines/question_answering.py``: the context is split into overlapping
windows, each window scores its spans, and the best spans over all windows are the answers. ``tests/legacy`` compares
with answers of that release. Unlike there, tokenizers written in Python are refused, as they do not tell where a token
lies in the text; and with a tokenizer that pads on the left the question is no part of the answer either.
"""

import inspect
from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.pipelines.base import ChunkPipeline

from deployments.legacy.questions import checked, found

Array = npt.NDArray[Any]


class QuestionAnsweringPipeline(ChunkPipeline):
    """``pipe(question=..., context=...)`` → ``{"score", "start", "end", "answer"}``, a list of them with ``top_k > 1``.

    Also takes ``{"question", "context"}``, a list or a generator of those, and questions with one context or as many.
    ``start`` and ``end`` are character positions in the context.

    Call parameters:
        top_k: answers wanted (>=1, default 1); fewer come if there are fewer.
        doc_stride: overlap of the windows (tokens, default half a window, at most 128, less beside a long question).
        max_answer_len: longest answer (tokens, >=1, default 15).
        max_seq_len: size of a window with the question (tokens, default 384 or what the tokenizer takes).
        max_question_len: kept for compatibility; fast tokenizers cut only the context.
        handle_impossible_answer: whether "no answer" (an empty string) competes (default false).
        align_to_words: widen answers to whole words (default true).
        padding: of the windows (default none).
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    default_input_names = "question,context"

    def _sanitize_parameters(
        self,
        padding: Any = None,
        topk: int | None = None,
        top_k: int | None = None,
        doc_stride: int | None = None,
        max_answer_len: int | None = None,
        max_seq_len: int | None = None,
        max_question_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
        **_: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        top_k = topk if top_k is None else top_k
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            if value is not None and value < 1:
                raise ValueError(f"{name} parameter should be >= 1 (got {value})")
        sizes = _given(doc_stride=doc_stride, max_question_len=max_question_len, max_seq_len=max_seq_len)
        choice = _given(top_k=top_k, max_answer_len=max_answer_len, align_to_words=align_to_words)
        return sizes | _given(padding=padding), {}, choice | _given(handle_impossible_answer=handle_impossible_answer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one question, a list of them, or one after the other those of a generator."""
        asked = found(args, kwargs)
        if isinstance(asked, GeneratorType):
            return super().__call__((checked(example) for example in asked), **kwargs)
        examples = [checked(example) for example in ([asked] if isinstance(asked, dict) else asked)]
        if not examples:
            return []
        return super().__call__(examples[0] if len(examples) == 1 else examples, **kwargs)

    def preprocess(
        self,
        example: dict[str, str],
        padding: Any = "do_not_pad",
        doc_stride: int | None = None,
        max_question_len: int = 64,
        max_seq_len: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The windows of one example, each with the mask of what cannot be an answer."""
        size = min(self.tokenizer.model_max_length, 384) if max_seq_len is None else max_seq_len
        stride = self._stride(example, size, doc_stride)
        question_first = self.tokenizer.padding_side == "right"
        parts = [example["question"], example["context"]]
        encoded = self.tokenizer(
            *(parts if question_first else reversed(parts)),
            padding=padding,
            truncation="only_second" if question_first else "only_first",
            max_length=size,
            stride=stride,
            return_token_type_ids=True,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        count = len(encoded["input_ids"])
        names = [name for name in (*self.tokenizer.model_input_names, "token_type_ids") if name in encoded]
        for index in range(count):
            yield {
                "is_last": index == count - 1,
                "example": example,
                "encoding": encoded[index],
                "p_mask": torch.tensor([self._outside_context(encoded, index, question_first)]),
                **{name: torch.tensor([encoded[name][index]]) for name in names},
            }

    def _stride(self, example: dict[str, str], size: int, wanted: int | None) -> int:
        """Overlap of windows of ``size`` tokens: less than what the question leaves of them to the context.

        Tokenizers panic where it is not. Unlike in transformers 4.57, the default becomes less beside a long question.
        """
        stride = min(size // 2, 128) if wanted is None else wanted
        if stride > size:
            raise ValueError(f"`doc_stride` ({stride}) is larger than `max_seq_len` ({size})")
        room = size - int(self.tokenizer.num_special_tokens_to_add(pair=True)) - self._tokens(example["question"])
        if stride < room or self._tokens(example["context"]) <= room:
            return stride
        if room < 1 or wanted is not None:
            raise ValueError(f"`doc_stride` ({stride}) must be less than the {room} tokens that the question leaves")
        return room // 2

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _outside_context(self, encoded: Any, index: int, question_first: bool) -> list[int]:
        """1 for every token that cannot be part of an answer. The class token can: it stands for "no answer"."""
        context, cls = int(question_first), self.tokenizer.cls_token_id
        tokens = zip(encoded.sequence_ids(index), encoded["input_ids"][index], strict=True)
        return [int(part != context and token != cls) for part, token in tokens]

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        model_inputs = {name: inputs[name] for name in self.tokenizer.model_input_names if name in inputs}
        if "use_cache" in inspect.signature(self.model.forward).parameters:
            model_inputs["use_cache"] = False
        output = self.model(**model_inputs)
        return {"start": output["start_logits"], "end": output["end_logits"], **inputs}

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        top_k: int = 1,
        handle_impossible_answer: bool = False,
        max_answer_len: int = 15,
        align_to_words: bool = True,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The best answers over all windows of one example."""
        null_score = float("inf")
        answers: list[dict[str, Any]] = []
        # answers that fall on the same words are merged, so more are looked at than asked for
        wanted = top_k * 2 + 10 if align_to_words else top_k
        for window in model_outputs:
            allowed = _allowed(window)
            start, end, null = _probabilities(window, allowed)
            null_score = min(null_score, null)
            for first, last, score in best_spans(start, end, wanted, max_answer_len, allowed):
                self._add(answers, window, first, last, score, align_to_words)
        if handle_impossible_answer:
            answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
        best = sorted(answers, key=lambda answer: answer["score"], reverse=True)[:top_k]
        return best[0] if len(best) == 1 else best

    def _add(
        self, answers: list[dict[str, Any]], window: dict[str, Any], first: int, last: int, score: float, words: bool
    ) -> None:
        """Add a span to ``answers``, or its score to the answer of the same text."""
        question_first = self.tokenizer.padding_side == "right"
        encoding, context = window["encoding"], window["example"]["context"]
        padding = 0 if question_first else window["input_ids"].shape[1] - len(encoding)  # of a batch
        start, end = _characters(encoding, first - padding, last - padding, int(question_first), words)
        text = context[start:end]
        same = next((answer for answer in answers if answer["answer"].lower() == text.lower()), None)
        if same is not None:
            same["score"] += score
        else:
            answers.append({"score": score, "start": start, "end": end, "answer": text})


def best_spans(start: Array, end: Array, count: int, max_len: int, allowed: Array) -> list[tuple[int, int, float]]:
    """The ``count`` likeliest spans ``(first token, last token, probability)``, likeliest first.

    Args:
        start: probability of each token to begin the answer; shape ``(tokens,)``.
        end: probability of each token to end it; shape ``(tokens,)``.
        count: spans looked at (>=1); those that touch a token that is not allowed are then dropped.
        max_len: tokens of the longest span (>=1).
        allowed: tokens that may be in an answer; bool, shape ``(tokens,)``.
    """
    scores = np.tril(np.triu(np.outer(start, end)), max_len - 1)
    flat = scores.ravel()
    if count == 1:
        order = np.array([flat.argmax()])
    elif len(flat) <= count:
        order = np.argsort(-flat)
    else:
        order = np.argpartition(-flat, count)[:count]
        order = order[np.argsort(-flat[order])]
    firsts, lasts = np.unravel_index(order, scores.shape)
    pairs = zip(firsts.tolist(), lasts.tolist(), strict=True)
    return [(first, last, scores[first, last].item()) for first, last in pairs if allowed[first] and allowed[last]]


def _allowed(window: dict[str, Any]) -> Array:
    """Tokens of a window that may be in an answer: those of the context, and the class token."""
    allowed: Array = window["p_mask"].numpy()[0] == 0
    mask = window.get("attention_mask")
    return allowed if mask is None else allowed & (mask.numpy()[0] == 1)


def _probabilities(window: dict[str, Any], allowed: Array) -> tuple[Array, Array, float]:
    """Start and end probabilities of the allowed tokens, and the probability of "no answer"."""
    logits = [np.where(allowed, window[name].float().numpy()[0], -10000.0) for name in ("start", "end")]
    weights = [np.exp(each - each.max()) for each in logits]
    start, end = (each / each.sum() for each in weights)
    null = float(start[0] * end[0])
    start[0] = end[0] = 0.0
    return start, end, null


def _characters(encoding: Any, first: int, last: int, sequence: int, words: bool) -> tuple[int, int]:
    """Character positions of a span of tokens, widened to whole words where the tokenizer knows words."""
    begin, end = encoding.offsets[first], encoding.offsets[last]
    numbers = [encoding.token_to_word(token) for token in (first, last)] if words else []
    found = [encoding.word_to_chars(number, sequence) for number in numbers if number is not None]
    if len(found) == 2 and None not in found:
        begin, end = found
    return begin[0], end[1]


def _given(**parameters: Any) -> dict[str, Any]:
    """Those parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}
