"""Parts of a message's content, and what the pipelines are shown of them: texts, images, sounds and films."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from deployments.errors import InvalidInputError
from deployments.payload import MediaKind
from deployments.tasks.forms import MediaOf
from graph.openai.fields import Body, Idle

# what a model of each task can be shown
_SHOWN: dict[str, frozenset[MediaKind]] = {
    "text-generation": frozenset(),
    "image-text-to-text": frozenset({"image", "video"}),
    "any-to-any": frozenset({"image", "audio", "video"}),
}


class Said(Body):
    """A part that is text."""

    @property
    def said(self) -> str:
        """The text."""
        raise NotImplementedError


class Shown(Body):
    """A part that is a file: where it is stands at ``at``, a ``data:`` URI or an http(s) URL."""

    kind: ClassVar[MediaKind]
    at: ClassVar[str]

    @property
    def source(self) -> str:
        """What stands there."""
        found: Any = self
        for name in self.at.split("."):
            found = getattr(found, name)
        return str(found)


class Text(Said):
    """A part whose text is called so."""

    text: str

    @property
    def said(self) -> str:
        """The text."""
        return self.text


class TextPart(Text):
    """Text."""

    type: Literal["text"]


class RefusalPart(Said):
    """Text with which the assistant once refused."""

    type: Literal["refusal"]
    refusal: str

    @property
    def said(self) -> str:
        """The text."""
        return self.refusal


class Link(Body):
    """Where a file is: a ``data:`` URI or an http(s) URL."""

    idle: ClassVar[Idle] = {
        "detail": ("auto", "low", "high")
    }  # how closely OpenAI looks; the models here look in one way

    url: str


class Recording(Body):
    """A sound in base64; what it is, its first bytes tell."""

    data: str
    format: str | None = None


class ImagePart(Shown):
    """An image."""

    kind: ClassVar[MediaKind] = "image"
    at: ClassVar[str] = "image_url.url"

    type: Literal["image_url"]
    image_url: Link


class SoundPart(Shown):
    """A sound."""

    kind: ClassVar[MediaKind] = "audio"
    at: ClassVar[str] = "input_audio.data"

    type: Literal["input_audio"]
    input_audio: Recording


class SoundLinkPart(Shown):
    """A sound by its URL."""

    kind: ClassVar[MediaKind] = "audio"
    at: ClassVar[str] = "audio_url.url"

    type: Literal["audio_url"]
    audio_url: Link


class FilmPart(Shown):
    """A film."""

    kind: ClassVar[MediaKind] = "video"
    at: ClassVar[str] = "video_url.url"

    type: Literal["video_url"]
    video_url: Link


Part = Annotated[TextPart | RefusalPart | ImagePart | SoundPart | SoundLinkPart | FilmPart, Field(discriminator="type")]


def content(given: str | Iterable[tuple[Said | Shown, str]], task: str) -> Any:
    """The content of a message for a model of ``task``; its files are not fetched yet.

    Args:
        given: a text, or parts, each with where it stands.
        task: decides whether it is a text or a list of parts.

    Raises:
        InvalidInputError: the model cannot be shown a part.
    """
    if not _SHOWN[task] and isinstance(given, str):
        return given
    shown = [{"type": "text", "text": given}] if isinstance(given, str) else [_shown(*one, task) for one in given]
    if _SHOWN[task]:
        return [part for part in shown if part.get("text") != ""]
    return "\n".join(part["text"] for part in shown)


def content_at(given: str | Sequence[Said | Shown], path: str, task: str) -> Any:
    """The same of what stands at ``path``."""
    return content(
        given if isinstance(given, str) else [(part, f"{path}[{index}]") for index, part in enumerate(given)], task
    )


def _shown(part: Said | Shown, path: str, task: str) -> dict[str, Any]:
    if isinstance(part, Said):
        return {"type": "text", "text": part.said}
    if part.kind not in _SHOWN[task]:
        able = sorted(_SHOWN[task])
        takes = f"text and {' and '.join(able)}" if able else "text alone"
        given = part.type  # type: ignore[attr-defined]
        raise InvalidInputError(f"`{path}.type` is {given!r}, and this model takes {takes}.", f"{path}.type")
    path = f"{path}.{part.at}"
    if not isinstance(part, SoundPart) and not part.source[:8].lower().startswith(("data:", "http://", "https://")):
        raise InvalidInputError(f"`{path}` must be a data: URI or an http(s) URL.", path)
    return {"type": part.kind, part.kind: MediaOf(part.kind).read(part.source, path)}
