"""A JSON body → Python values, its cost bounded before it is parsed.

A few bytes of JSON may become hundreds in Python (``{},``), and what is nested deeply must be walked by every later
stage, so depth and number of values are counted on the text first.
"""

import json
import math
import re
from typing import Any, NoReturn

import numpy as np

from deployments.codec import from_json
from deployments.errors import MalformedRequestError, PayloadTooLargeError

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
MAX_TYPED_PIXELS = 2**26
"""Of the images that stand in a typed body as such, counted on their headers; the replica decodes them."""
_BLOCK = 2**18
_LEVEL = np.zeros(256, np.int8)  # byte → how much deeper the text is after it
_LEVEL[list(b"[{")], _LEVEL[list(b"]}")] = 1, -1
_OPENS_VALUE = np.zeros(256, np.bool_)
_OPENS_VALUE[list(b"[{,")] = True
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(body: bytes) -> Any:
    """``body`` as JSON, numbers finite.

    Args:
        body: UTF-8, at most `MAX_DEPTH` levels deep.

    Raises:
        MalformedRequestError: it is not JSON, or too deeply nested.
        PayloadTooLargeError: more than `MAX_VALUES` values.
    """
    _check_cost(body)
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # half a pair is no text, and no answer could hold it
        return value
    except UnicodeDecodeError:
        raise MalformedRequestError("The body is not UTF-8 text; this endpoint reads JSON.") from None
    except json.JSONDecodeError as error:
        raise MalformedRequestError(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except UnicodeEncodeError:
        raise MalformedRequestError("The body has half of a UTF-16 surrogate pair, which is no character.") from None
    except ValueError:  # an integer of thousands of digits
        raise MalformedRequestError("The body has a number with too many digits.") from None
    except RecursionError:
        raise MalformedRequestError("The body is nested too deeply.") from None


def parse_typed(body: bytes) -> Any:
    """``body`` as JSON in which values have their types, as ``deployments.codec`` writes them.

    Raises:
        MalformedRequestError: see `parse_json`; or a value is not what it says.
        PayloadTooLargeError: see `parse_json`; or its images have more than `MAX_TYPED_PIXELS` pixels together.
    """
    return from_json(parse_json(body), MAX_TYPED_PIXELS)


def _check_cost(body: bytes) -> None:
    """Refuse what would be too deep or too many values; looks at the text only as far as it must.

    Raises:
        MalformedRequestError: too deep.
        PayloadTooLargeError: too many values.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened <= MAX_DEPTH and opened + body.count(b",") < MAX_VALUES:
        return  # even if none of these stand inside of strings
    # without escapes, every quote begins or ends a string
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    values, depth, inside = 1, 0, 0
    for start in range(0, len(text), _BLOCK):
        block = np.frombuffer(text, np.uint8, min(_BLOCK, len(text) - start), start)
        # how many quotes there were, modulo 256, which keeps odd and even apart
        quotes = np.cumsum(block == ord('"'), dtype=np.uint8) + np.uint8(inside)
        inside = int(quotes[-1]) & 1
        bare = block[quotes & 1 == 0]
        levels = depth + np.cumsum(_LEVEL[bare], dtype=np.int64)
        # every value but the first stands after a comma or an opening bracket
        values += int(np.count_nonzero(_OPENS_VALUE[bare]))
        if values > MAX_VALUES:
            raise PayloadTooLargeError(f"The body has more than {MAX_VALUES} values.")
        if levels.size and levels.max() > MAX_DEPTH:
            raise MalformedRequestError(f"The body is nested too deeply; {MAX_DEPTH} levels are read.")
        depth = int(levels[-1]) if levels.size else depth


def _refuse(name: str) -> NoReturn:
    raise MalformedRequestError(f"{name} is not a JSON number.")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse(text)
    return value
