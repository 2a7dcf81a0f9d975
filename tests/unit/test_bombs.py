"""Files that are small and would become large, or that lead elsewhere: refused before memory or time is spent."""

import base64
import dataclasses
import http.server
import io
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deployments.codec import from_json, to_json
from deployments.config import MediaLimits
from deployments.errors import InvalidInputError, MalformedRequestError, PayloadTooLargeError, RequestError
from deployments.images import FORMATS
from deployments.keys import value_key
from deployments.media import MediaDecoder
from deployments.payload import Media
from deployments.tasks.forms import MediaOf
from tests import bombs

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")]


def decode(data: bytes, kind: Any, **limits: Any) -> Any:
    return MediaDecoder(16_000, MediaLimits(**limits)).decode(Media(data, kind, "inputs[1]"))


# --- memory ---

_MEASURE = """
import json, os, resource, sys
from deployments.config import MediaLimits
from deployments.errors import RequestError
from deployments.keys import value_key
from deployments.media import MediaDecoder
from deployments.payload import Media

def measured(kind, path):
    with open(path, "rb") as file:
        media = Media(file.read(), kind, "inputs")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        MediaDecoder(16_000, MediaLimits()).decode(media)
        outcome = "decoded"
    except RequestError as error:
        outcome = type(error).__name__
    return outcome, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

found = {}
for name, kind, path in json.loads(sys.argv[1]):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, json.dumps(measured(kind, path)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found[name] = json.loads(answer.read() or '["crashed", 0]')
    os.waitpid(child, 0)
print(json.dumps(found))
"""
# their bomb lies beside the pixels, and is left unopened
HARMLESS = {"png with a large profile", "png with a long text", "png with a long text in UTF-8", "png with many texts"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """Outcome and KiB that decoding took, of each bomb: in a process of its own, which only reads it."""
    folder = tmp_path_factory.mktemp("bombs")
    asked = []
    for at, (name, (kind, make)) in enumerate(bombs.BOMBS.items()):
        (folder / str(at)).write_bytes(make())
        assert (folder / str(at)).stat().st_size < 3 * 2**20
        asked.append((name, kind, str(folder / str(at))))
    program = [sys.executable, "-W", "ignore", "-c", _MEASURE, json.dumps(asked)]
    run = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, tuple[str, int]] = json.loads(run.stdout)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", bombs.BOMBS)
def test_a_bomb_is_refused_within_little_memory(name: str, measured: dict[str, tuple[str, int]]) -> None:
    outcome, grown_kib = measured[name]
    assert outcome in ("PayloadTooLargeError", "InvalidInputError", *["decoded"] * (name in HARMLESS))
    # a sound is counted as it is decoded, so that as much as is allowed may have been: an hour at 16 kHz
    assert grown_kib < (300 if bombs.BOMBS[name][0] == "audio" else 100) * 1024


def test_each_image_limit_is_what_it_says() -> None:
    one = bombs.png(9, 6)
    assert decode(one, "image", max_image_ratio=1.5).size == (9, 6)
    with pytest.raises(InvalidInputError, match=r"9 x 6 pixels; the longer side may be at most 1.4 times"):
        decode(one, "image", max_image_ratio=1.4)
    with pytest.raises(PayloadTooLargeError, match="54 pixels; at most 53"):
        decode(one, "image", max_image_pixels=53)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_of_thousands_of_frames_one_is_decoded(file_format: str) -> None:
    data = bombs.animation(file_format, 3000)
    assert decode(data, "image").size == (4, 4)


def test_images_of_one_input_have_a_limit_together() -> None:
    images = [Media(bombs.png(9, 6), "image", f"inputs.images[{at}]") for at in range(4)]
    chat = [{"role": "user", "content": [{"type": "image", "image": image} for image in images]}]
    decoder = MediaDecoder(None, MediaLimits(max_total_pixels=216))
    assert len(decoder.decode(chat)[0]["content"]) == 4
    with pytest.raises(PayloadTooLargeError, match="216 pixels together") as caught:
        decoder.decode(images[0])  # still of the same input
    assert caught.value.field == "inputs.images[0]"


def test_images_that_came_decoded_count_too() -> None:
    decoder = MediaDecoder(None, MediaLimits(max_image_pixels=54, max_total_pixels=100))
    assert decoder.decode(Image.new("L", (9, 6))).mode == "L"
    for wrong in (Image.new("L", (9, 6)), Image.new("L", (9, 7)), Image.new("L", (9, 0)), Image.new("L", (999, 1))):
        with pytest.raises(RequestError):
            decoder.decode(wrong)


def test_sounds_and_films_of_one_input_have_limits_together() -> None:
    sounds, films = [Media(bombs.wav(), "audio")] * 3, [Media(bombs.film(8), "video")] * 3
    decoder = MediaDecoder(16_000, MediaLimits(max_total_audio_s=0.25, max_total_video_s=2.5))
    try:
        for parts, word in ((sounds, "sounds"), (films, "films")):
            assert len(decoder.decode(parts[:2])) == 2
            with pytest.raises(PayloadTooLargeError, match=f"{word} of this input are longer"):
                decoder.decode(parts[2])
    finally:
        decoder.close()


# --- scans of a JPEG ---


def test_a_jpeg_may_have_the_scans_that_programs_write_and_more() -> None:
    assert decode(bombs.scans(100, 100, 14), "image", max_image_pixels=10_000).size == (100, 100)
    with pytest.raises(PayloadTooLargeError, match="so many scans that decoding it goes over more than 240000 pixels"):
        decode(bombs.scans(100, 100, 15), "image", max_image_pixels=10_000)
    assert decode(bombs.scans(50, 50, 80), "image", max_image_pixels=10_000).size == (50, 50)


def test_what_stands_behind_a_jpeg_or_beside_its_pixels_is_not_counted() -> None:
    """A film behind a phone's picture, a preview in its EXIF block."""
    one, scan = bombs.scans(100, 100, 0), b"\xff\xda\0\x08\1\1\0\1\x3f\0"
    note = b"\xff\xee" + (2 + 100 * len(scan)).to_bytes(2, "big") + scan * 100
    for data in (one + scan * 100, one[:2] + note + one[2:]):
        assert decode(data, "image", max_image_pixels=10_000).size == (100, 100)


def test_markers_without_end_are_refused() -> None:
    one = bombs.scans(8, 8, 0)
    with pytest.raises(PayloadTooLargeError):
        decode(one[:-2] + b"\xff\xfe\0\2" * 70_000 + one[-2:], "image")


def test_a_tiff_of_jpegs_is_counted_part_by_part() -> None:
    real = bombs.saved(Image.new("RGB", (300, 300)), "TIFF", compression="jpeg")
    assert decode(real, "image", max_image_pixels=90_000).size == (300, 300)
    data = bombs.saved(Image.new("L", (100, 100)), "JPEG")
    assert decode(bombs.jpeg_in_tiff(100, 100, 1, data), "image", max_image_pixels=10_000).size == (100, 100)
    for parts, claims in ((1, 0), (1, 9 * len(data)), (5, len(data))):
        with pytest.raises(PayloadTooLargeError):
            decode(bombs.jpeg_in_tiff(100, 100, parts, data, claims), "image")


# --- headers that lie ---


def test_a_header_that_claims_hours_is_not_believed() -> None:
    """As ``ffmpeg -f wav -`` writes it: it cannot go back to say how long the sound has become."""
    assert decode(bombs.wav(claims=2**32 - 1), "audio", max_audio_s=1).shape == (1600,)


@pytest.mark.parametrize("channels", [2, 8, 64, 255])
def test_many_channels_are_mixed_or_refused(channels: int) -> None:
    try:
        assert decode(bombs.wav(channels=channels), "audio").ndim == 1
    except InvalidInputError:
        assert channels > 8


def test_many_channels_count_as_many_samples() -> None:
    with pytest.raises(PayloadTooLargeError):
        decode(bombs.flac(11, 48_000, 8), "audio", max_audio_s=10)
    assert decode(bombs.flac(9, 48_000, 8), "audio", max_audio_s=10).size == 9 * 16_000


@pytest.mark.parametrize("rate", [768_001, 10**7, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused(rate: int) -> None:
    with pytest.raises(InvalidInputError):
        decode(bombs.wav(rate), "audio")


def test_frames_are_counted_whatever_the_header_says() -> None:
    short = bombs.claims_seconds(bombs.film(80), 1)
    with pytest.raises(PayloadTooLargeError, match="longer than 5 s"):
        decode(short, "video", max_video_s=5)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_video_frames": 79}, "79 frames"),
        ({"max_frame_pixels": 1023}, "1024 pixels; at most 1023"),
        ({"max_video_pixels": 80 * 1024 - 1}, "in all its frames"),
        ({"max_video_frames": 80, "max_frame_pixels": 1024, "max_video_pixels": 80 * 1024}, None),
    ],
)
def test_each_film_limit_is_what_it_says(limits: dict[str, Any], says: str | None) -> None:
    film = bombs.film(80)
    if says is None:
        decoder = MediaDecoder(None, MediaLimits(**limits))
        decoder.decode(Media(film, "video"))
        decoder.close()
    else:
        with pytest.raises(PayloadTooLargeError, match=says):
            decode(film, "video", **limits)


# --- what is a file of ours ---


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    """URL of a server on this machine, and what it was asked for."""
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/secret.wav", hits
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(15)  # FFmpeg, let to read an SDP text, waits for twenty seconds for packets
@pytest.mark.parametrize("kind", ["image", "audio", "video"])
@pytest.mark.parametrize("name", bombs.playlists(""))
def test_a_text_that_names_another_file_opens_none(
    name: str, kind: Any, site: tuple[str, list[str]], tmp_path: Path
) -> None:
    (tmp_path / "secret.wav").write_bytes(bombs.wav())
    url, hits = site
    for source in (str(tmp_path / "secret.wav"), f"file://{tmp_path}/secret.wav", "secret.wav", url):
        with pytest.raises(InvalidInputError):
            decode(bombs.playlists(source)[name], kind)
    assert hits == []


@pytest.mark.parametrize("file_format", sorted({*Image.registered_extensions().values()} - {*FORMATS}))
def test_a_format_that_is_not_listed_is_no_image(file_format: str) -> None:
    if file_format not in Image.SAVE or file_format in ("PDF", "MPO"):
        pytest.skip("Pillow does not write it, or writes one that is listed")
    buffer = io.BytesIO()
    for mode in ("RGB", "L", "1", "F", "P"):
        try:
            Image.new(mode, (32, 32)).save(buffer, file_format)
            break
        except (OSError, ValueError, KeyError, TypeError):
            buffer = io.BytesIO()
    if not buffer.getvalue():
        pytest.skip("Pillow does not write it without more")
    with pytest.raises(InvalidInputError, match="is not an image that can be decoded"):
        decode(buffer.getvalue(), "image")


def test_a_photo_with_a_second_picture_in_it_is_read_as_its_first() -> None:
    """Some phones write MPO; both pictures are JPEG."""
    data = bombs.animation("MPO", 2)
    assert decode(data, "image").size == (4, 4)


# --- images inside of JSON ---


def typed(data: bytes) -> dict[str, Any]:
    return {"$type": "image", "mode": "1", "data": base64.b64encode(data).decode()}


def test_images_in_a_typed_body_have_a_limit_together() -> None:
    value = [typed(bombs.png(100, 100, depth=8, mode=0))] * 5
    read = from_json(value, 50_000)
    assert [(media.mode, media.data == bombs.png(100, 100, depth=8, mode=0)) for media in read] == [("1", True)] * 5
    with pytest.raises(PayloadTooLargeError, match="49999 pixels"):
        from_json(value, 49_999)


def test_no_image_in_a_body_is_decoded_before_it_is_with_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "copy", decoded)
    monkeypatch.setattr(Image.Image, "convert", decoded)
    monkeypatch.setattr(Image.Image, "load", decoded)
    image = typed(bombs.png(9000, 9000, depth=1, mode=0))
    value = {"$type": "tuple", "items": [{"$type": "dict", "items": [["a", image]]}]}
    with pytest.raises(PayloadTooLargeError):
        from_json(value, 2**26)
    assert from_json(value, 2**27)[0]["a"].mode == "1"
    for mode in ("no such mode", None, 3):
        with pytest.raises(MalformedRequestError):
            from_json({**image, "mode": mode}, 2**27)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_an_image_in_a_body_is_with_its_model_what_it_was(mode: str) -> None:
    image = Image.new(mode, (5, 4), 1 if mode in ("1", "I;16") else None)
    sent = from_json(json.loads(json.dumps(to_json(image))), 2**26)
    sent = pickle.loads(pickle.dumps(MediaOf("image").read(sent, "inputs.image"), 5))
    read = MediaDecoder(None, MediaLimits()).decode(sent)
    assert (read.mode, read.size, read.tobytes()) == (image.mode, image.size, image.tobytes())
    assert type(read) is Image.Image
    assert value_key(sent) != value_key(dataclasses.replace(sent, mode="RGBX")) if isinstance(sent, Media) else True


def test_a_damaged_image_in_a_body_is_the_callers_fault() -> None:
    sent = from_json(typed(bombs.png(9, 9, mode=0)[:45]), 2**26)
    with pytest.raises(InvalidInputError, match="not an image that can be decoded"):
        MediaDecoder(None, MediaLimits()).decode(sent)
    with pytest.raises(InvalidInputError):
        MediaDecoder(None, MediaLimits()).decode(Media(bombs.jpeg(8, 8), "image", mode="RGB"))
