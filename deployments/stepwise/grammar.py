"""Answers that fit a grammar, a JSON schema or a regular expression: which tokens may come next. By llguidance.

A grammar is compiled before its request is prepared, within bounds on what that may cost, and kept for the next one;
each row has a copy of its own that follows the row's tokens.
"""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from deployments.errors import InvalidParameterError, MissingDependencyError
from deployments.stepwise.grammar_source import FIELD, limits, refused, source
from deployments.stepwise.options import Grammar

_KEPT = 64  # compiled grammars of a model
_INSTALL = "This server lacks llguidance for `parameters.grammar`: pip install 'pipeline-graph[grammar]'."
_NO_TOKEN = (
    "No token both fits `parameters.grammar` and is allowed by the other parameters: soften those that forbid tokens."
)
_TOO_COMPLEX = "`parameters.grammar` is too complex to follow: make it smaller."


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Takes away the tokens of one row that its grammar does not allow next.

    Args:
        matcher: llguidance's, of this row alone.
        foreign: end tokens that llguidance knows of.
        ends: end tokens of the call, allowed where the text fits the grammar.
        prompt_length: tokens that do not belong to the answer.
    """

    def __init__(self, matcher: Any, foreign: frozenset[int], ends: frozenset[int], prompt_length: int) -> None:
        self._matcher = matcher
        self._foreign = sorted(foreign)
        self._ends = sorted(ends)
        self._seen = prompt_length

    def __deepcopy__(self, memo: Any) -> "GrammarProcessor":
        mine = GrammarProcessor(self._matcher.deep_copy(), frozenset(self._foreign), frozenset(self._ends), self._seen)
        memo[id(self)] = mine
        return mine

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """``scores``, shape (1, vocabulary), with minus infinity where a token does not fit.

        Raises:
            InvalidParameterError: none is left, or the grammar costs too much to follow.
        """
        new = input_ids[0, self._seen :].tolist()
        if new and not self._matcher.consume_tokens(new):
            raise InvalidParameterError(_TOO_COMPLEX, FIELD)
        self._seen = input_ids.shape[1]
        forbidden = torch.from_numpy(~self._allowed(scores.shape[1])).to(scores.device)
        scores = scores.masked_fill(forbidden, -torch.inf)
        if not bool(torch.isfinite(scores).any()):
            raise InvalidParameterError(_NO_TOKEN, FIELD)
        return scores

    def _allowed(self, vocabulary: int) -> Any:
        """Whether each token may come next, shape (vocabulary,)."""
        allowed = np.zeros(vocabulary, dtype=np.bool_)
        if not self._matcher.is_stopped():
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            known = np.unpackbits(bits, bitorder="little")[:vocabulary]
            allowed[: len(known)] = known
        if self._matcher.is_error():
            raise InvalidParameterError(_TOO_COMPLEX, FIELD)
        allowed[[token for token in self._foreign if token < vocabulary]] = False
        if self._matcher.is_accepting():
            allowed[[token for token in self._ends if token < vocabulary]] = True
        return allowed


class Grammars:
    """The compiled grammars of one model; any thread.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # of those that are kept; whoever only looks them up waits for no compiling
        self._compiling = threading.Lock()
        self._table: Any = None
        self._kept: OrderedDict[Grammar, Any] = OrderedDict()

    def processor(self, matcher: Any, ends: frozenset[int], prompt_length: int) -> GrammarProcessor:
        """What makes a row follow a grammar that is `compiled`.

        Raises:
            InvalidParameterError: not with this model.
        """
        if not ends:
            raise InvalidParameterError(
                f"`{FIELD}` needs a token that ends the answer, and this model has none: send `eos_token_id`.", FIELD
            )
        return GrammarProcessor(matcher.deep_copy(), frozenset(self._table.eos_tokens), ends, prompt_length)

    def compiled(self, grammar: Grammar) -> Any:
        """The matcher for ``grammar``, at its beginning.

        Raises:
            InvalidParameterError: it cannot be compiled, or not for this model.
            MissingDependencyError: llguidance is not installed.
        """
        found = self._known(grammar)
        if found is not None:
            return found
        with self._compiling:
            found = self._known(grammar)  # somebody else had it compiled meanwhile
            if found is None:
                found = self._compile(grammar)
                with self._lock:
                    self._kept[grammar] = found
                    if len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
            return found

    def _known(self, grammar: Grammar) -> Any:
        with self._lock:
            if grammar in self._kept:
                self._kept.move_to_end(grammar)
            return self._kept.get(grammar)

    def _compile(self, grammar: Grammar) -> Any:
        try:
            from llguidance import LLMatcher
        except ImportError:
            raise MissingDependencyError(_INSTALL) from None
        if self._table is None:
            self._table = self._read_tokenizer()
        matcher = LLMatcher(self._table, source(grammar), log_level=0, limits=limits())
        first = matcher if matcher.is_error() else matcher.deep_copy()
        if not first.is_error():
            first.compute_bitmask()  # the first step is the dearest
        if first.is_error():
            raise refused(first.get_error())
        return matcher

    def _read_tokenizer(self) -> Any:
        """The table of the tokens; takes about a second for a large vocabulary."""
        from llguidance.hf import from_tokenizer

        ends = self._tokenizer.eos_token_id
        try:
            return from_tokenizer(self._tokenizer, eos_token=len(self._tokenizer) - 1 if ends is None else ends)
        except ValueError as error:
            raise InvalidParameterError(
                f"`{FIELD}` is not possible with this model: llguidance cannot read its tokenizer.", FIELD
            ) from error
