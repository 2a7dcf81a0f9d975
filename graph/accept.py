"""The Accept header → the media type of an answer, decided before any work is done for it."""

from mimeparse import best_match

from deployments.codec import MEDIA_TYPE
from deployments.errors import NotAcceptableError
from deployments.tasks import TaskSpec
from deployments.tasks.spec import Reply

JSON = "application/json"
_PICTURES = ("image/png", "image/jpeg", "image/webp")
# kind of reply → the files that one answer can be; label maps are exact, so only as PNG
_FILES: dict[Reply, tuple[str, ...]] = {
    "audio": ("audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"),
    "image": _PICTURES,
    "depth": _PICTURES,
    "segments": ("image/png",),
    "masks": ("image/png",),
}
_DEFAULT_FILE: tuple[Reply, ...] = ("audio", "image")  # whose answer is nothing but the file
# other names that callers have for the same
_ALIASES = {
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/mp3": "audio/mpeg",
    "image/jpg": "image/jpeg",
}


def answer_types(spec: TaskSpec, many: bool = False) -> tuple[str, ...]:
    """The media types that an answer of the task can have, the default first; of a list, JSON and the raw form."""
    files = () if many else _FILES.get(spec.reply, ())
    return (*files, JSON, MEDIA_TYPE) if spec.reply in _DEFAULT_FILE else (JSON, *files, MEDIA_TYPE)


def negotiate(spec: TaskSpec, many: bool, accept: str) -> str:
    """The media type of the answer: the best for the header (RFC 9110, section 12.5.1), and of equals our first.

    Args:
        spec: the task.
        many: whether the answer is a list; then it is JSON whatever else is asked for, if not the raw form.
        accept: the header; empty or unreadable, it asks for nothing.

    Raises:
        NotAcceptableError: one answer can be nothing that the header takes; names what it can be.
    """
    types = answer_types(spec, many)
    aliases = [alias for alias, name in _ALIASES.items() if name in types]
    if not accept.strip(" ,"):
        return types[0]
    try:
        best: str = best_match([*aliases, *reversed(types)], accept.lower())
    except ValueError:
        return types[0]
    if best:
        return _ALIASES.get(best, best)
    if many:
        return JSON
    raise NotAcceptableError(f"The answer cannot be had as the Accept header asks; it can be {' or '.join(types)}.")
