"""Subtitle files, read back by FFmpeg's own readers."""

import io

import av
import pytest

from graph.openai.subtitles import Cue, srt, vtt

CUES = [Cue(0.0, 3.92, " My name is Peter."), Cue(3.92, 59.9996, "A --> B & <i>C</i>\n\n2"), Cue(60.0, 61.0, " "),
        Cue(3661.5, 36_000.25, "Zoë")]  # fmt: skip
TEXTS = ["My name is Peter.", "A -> B & <i>C</i> 2", "Zoë"]
TIMES = [(0, 3920), (3920, 60_000), (3_661_500, 36_000_250)]


def read(file: str, kind: str) -> list[tuple[str, tuple[int, int]]]:
    """Text and times in milliseconds of each cue."""
    found = []
    with av.open(io.BytesIO(file.encode()), format=kind) as container:
        (stream,) = container.streams
        for packet in container.demux(stream):
            if packet.size:
                times = [int(at * packet.time_base * 1000) for at in (packet.pts, packet.pts + packet.duration)]
                found.append((bytes(packet).decode(), (times[0], times[1])))
    return found


@pytest.mark.parametrize("kind", ["srt", "webvtt"])
def test_a_reader_finds_texts_and_times(kind: str) -> None:
    found = read((srt if kind == "srt" else vtt)(CUES), kind)
    texts = [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text, _ in found]
    assert texts == TEXTS
    assert [times for _, times in found] == TIMES


def test_the_files_are_as_their_specifications_say() -> None:
    assert srt(CUES[:1]) == "1\n00:00:00,000 --> 00:00:03,920\nMy name is Peter.\n\n"
    assert vtt(CUES[:1]) == "WEBVTT\n\n00:00:00.000 --> 00:00:03.920\nMy name is Peter.\n\n"
    assert "A -&gt; B &amp; &lt;i&gt;C&lt;/i&gt; 2\n\n" in vtt(CUES)
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"
