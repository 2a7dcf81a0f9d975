"""A caller's grammar → llguidance's own form of it, once it is known that it can be compiled in time. No torch.

Compiling cannot be interrupted, and a few hundred characters can keep it busy for hours (regular expressions that must
all hold at once: 29 of them in ``allOf``). So a grammar is tried in a process of its own first, which is ended by the
clock: ``python -m deployments.stepwise.grammar_source`` reads the source from its standard input.
"""

import os
import resource
import subprocess
import sys
from typing import Any

from deployments.errors import InvalidParameterError
from deployments.stepwise.options import Grammar

FIELD = "parameters.grammar"
# what a step may cost is bounded too: it holds up the whole batch
LIMITS = {"initial_lexer_fuel": 1_000_000, "max_grammar_size": 200_000, "step_lexer_fuel": 100_000}
_JSON_OPTIONS = {
    "whitespace_flexible": True,
    # one space, or a line with its indentation: a model that is unsure would go on with white space forever
    "whitespace_pattern": r"\x20|\x0A\x20{0,32}|\x0A\x09{0,8}",
    "coerce_one_of": False,
    "lenient": False,  # what llguidance does not know of JSON Schema is refused, not ignored
}
_MOST_S = 2  # of a CPU
_PATIENCE_S = 20  # on the clock, where the CPU is busy with others
_MOST_BYTES = 2**30


def source(grammar: Grammar) -> str:
    """``grammar`` as llguidance reads it.

    Raises:
        InvalidParameterError: it cannot be compiled, or takes too long.
    """
    from llguidance import LLMatcher

    try:
        if grammar.kind == "regex":
            found: str = LLMatcher.grammar_from_regex(grammar.text)
        else:
            found = LLMatcher.grammar_from_json_schema(grammar.text, overrides=_JSON_OPTIONS)
    except ValueError as error:
        raise refused(str(error)) from None
    _try(found)
    return found


def limits() -> Any:
    """The bounds on each grammar."""
    from llguidance import LLParserLimits

    return LLParserLimits(**LIMITS, verbose_errors=False)


def refused(reason: str) -> InvalidParameterError:
    """The error for a grammar that llguidance does not take."""
    lines = [line.strip() for line in reason.strip().splitlines()] or ["it cannot be read"]
    told = next((line for line in lines if line.startswith("error:")), lines[0])
    return InvalidParameterError(f"`{FIELD}` cannot be compiled: {told[:300]}", FIELD)


def _try(text: str) -> None:
    """Compile ``text`` in a process that may not take long."""
    command = [sys.executable, "-m", "deployments.stepwise.grammar_source"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    too_long = InvalidParameterError(f"`{FIELD}` takes too long to compile: make it simpler.", FIELD)
    try:
        done = subprocess.run(command, input=text, env=env, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise too_long from None
    if done.returncode < 0:  # ended by its bounds
        raise too_long
    if done.returncode:
        raise RuntimeError(f"the compiler of grammars failed: {done.stderr[-2000:]}")
    if done.stdout:
        raise refused(done.stdout)


def main() -> None:
    """Write to the standard output why the grammar on the standard input cannot be compiled; nothing if it can."""
    from llguidance import LLMatcher

    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_S, _MOST_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    failed, said = LLMatcher.validate_grammar_with_warnings(sys.stdin.read(), limits=limits())
    sys.stdout.write("\n".join(said) if failed else "")


if __name__ == "__main__":
    main()
