"""What is told of an answer's tokens: while they come, and in its ``details`` as text-generation-inference has them."""

import math
from typing import Any

from deployments.events import Finish, Step, TokenText
from deployments.stepwise.row import Row, Token
from deployments.stepwise.text import Detokenizer
from deployments.work import Call


class Teller:
    """Tokens of one pipeline as text.

    Args:
        tokenizer: belongs to the thread that uses this.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)

    def step(self, call: Call, index: int) -> Step:
        """The event of the token at ``index``; call it once for each, in order."""
        row = call.told.rows[0]
        if row.detokenizer is None:
            row.detokenizer = self._detokenizer(call)
        text = row.tokens[index]
        top = self._top(row.detokenizer, text)
        return Step(index + 1, self._told(text, row.detokenizer.push(text.id)), top)

    def last(self, call: Call, output: Any) -> Step:
        """The event of the last token, with how the answer ``output`` ended."""
        row = call.told.rows[0]
        step = self.step(call, len(row.tokens) - 1)
        whole = self._decode(call, [token.id for token in row.tokens])
        text = step.token.text + row.detokenizer.rest(whole)
        token = TokenText(step.token.id, text, step.token.logprob, step.token.special)
        finish = Finish(str(row.finish), len(row.tokens), call.told.input_length, row.seed, whole, output)
        return Step(step.index, token, step.top, finish)

    def details(self, call: Call, row: Row) -> dict[str, Any]:
        """``details`` of the answer of one row."""
        detokenizer, tokens, tops = self._detokenizer(call), [], []
        for token in row.tokens:
            tops.append([top.json() for top in self._top(detokenizer, token)])
            tokens.append(self._told(token, detokenizer.push(token.id)).json())
        if tokens:
            tokens[-1]["text"] += detokenizer.rest(self._decode(call, [token.id for token in row.tokens]))
        found = {
            "finish_reason": row.finish,
            "generated_tokens": len(row.tokens),
            "seed": row.seed,
            "prefill": self._prompt(row) if row.tells_prompt else [],
            "tokens": tokens,
        }
        return {**found, "top_tokens": tops} if row.top_n else found

    def _prompt(self, row: Row) -> list[dict[str, Any]]:
        """Tokens of the prompt; nothing comes before the first, so that it has no probability."""
        ids = row.ids[0, : row.prompt_length].tolist()
        logprobs = [None, *row.prompt_logprobs]
        return [
            {"id": one, "text": self._tokenizer.decode([one]), "logprob": logprob}
            for one, logprob in zip(ids, logprobs, strict=True)
        ]

    def _detokenizer(self, call: Call) -> Detokenizer:
        return Detokenizer(lambda ids: self._decode(call, ids))

    def _decode(self, call: Call, ids: list[int]) -> str:
        """As the pipeline's postprocessing decodes them."""
        skip = call.postprocess.get("skip_special_tokens")
        skip = True if skip is None else skip
        if getattr(self._tokenizer, "response_template", None):
            skip = False
        clean = call.postprocess.get("clean_up_tokenization_spaces")
        text: str = self._tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean)
        return text

    def _top(self, detokenizer: Detokenizer, token: Token) -> tuple[TokenText, ...]:
        return tuple(
            TokenText(one, detokenizer.peek(one), _number(logprob), one in self._special) for one, logprob in token.top
        )

    def _told(self, token: Token, text: str) -> TokenText:
        return TokenText(token.id, text, _number(token.logprob), token.id in self._special)


def _number(logprob: float) -> float | None:
    return logprob if math.isfinite(logprob) else None
