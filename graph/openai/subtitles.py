"""Subtitle files: SubRip (``.srt``) and WebVTT (https://www.w3.org/TR/webvtt1).

Both end a cue at an empty line and take ``-->`` for times, so neither may stand in a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """A text to be shown.

    Args:
        start, end: seconds from the beginning.
        text: cues without any are left out.
    """

    start: float
    end: float
    text: str


def srt(cues: Sequence[Cue]) -> str:
    """A SubRip file."""
    shown = [(cue, text) for cue in cues if (text := _plain(cue.text))]
    return "".join(
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{text}\n\n"
        for number, (cue, text) in enumerate(shown, 1)
    )


def vtt(cues: Sequence[Cue]) -> str:
    """A WebVTT file; ``&``, ``<`` and ``>`` are escaped, as its texts are markup."""
    shown = [(cue, text) for cue in cues if (text := _plain(cue.text))]
    blocks = (f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{_escaped(text)}\n\n" for cue, text in shown)
    return f"WEBVTT\n\n{''.join(blocks)}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, point: str) -> str:
    """``01:02:03,450``."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
