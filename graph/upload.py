"""A file that a caller sent as such → the kind of `Media` that the task reads it as, and its place in the input."""

from collections.abc import Collection

from deployments.errors import UnsupportedMediaError
from deployments.payload import Media, MediaKind
from deployments.tasks import TaskSpec
from graph.parts import files_of
from graph.sniff import HEAD, Found, sniff

FORM = "application/x-www-form-urlencoded"
# content types that say nothing of the body; curl sends the form's with whatever it is given
UNSPECIFIC = frozenset({"", "application/octet-stream", "binary/octet-stream", FORM})
FILES: frozenset[Found] = frozenset({"image", "audio", "video"})
_A_FILE = {"image": "an image", "audio": "an audio file", "video": "a video"}


def named(content_type: str) -> str:
    """The media type in a Content-Type header, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_file(
    spec: TaskSpec, data: bytes, content_type: str, among: Collection[MediaKind] | None = None
) -> tuple[str, Media]:
    """The file and the name of the part that it is, ``inputs`` where it is the whole.

    Args:
        spec: the task.
        data: the file.
        content_type: as its sender calls it.
        among: the kinds that it may be; default those that the task takes.

    Raises:
        UnsupportedMediaError: it is nothing that the task takes.
    """
    files = files_of(spec.inputs)
    kind = _kind(spec, sniff(data[:HEAD]), named(content_type), [one for one in files if among is None or one in among])
    return files[kind], Media(data, kind, files[kind])


def _kind(spec: TaskSpec, found: tuple[Found, ...], claimed: str, wanted: list[MediaKind]) -> MediaKind:
    """The first bytes decide, then the content type; of a file that neither tells, the decoder may know more."""
    family = claimed.partition("/")[0]
    if FILES.isdisjoint(found):
        possible = wanted if claimed in UNSPECIFIC else [kind for kind in wanted if kind == family]
    else:
        possible = [kind for kind in found if kind in wanted]  # type: ignore[misc]
    if possible:
        return next((kind for kind in possible if kind == family), possible[0])
    what = _A_FILE.get(found[0] if found else "", f"of Content-Type {claimed!r}")
    if claimed in UNSPECIFIC and FILES.isdisjoint(found):
        what = "neither JSON nor UTF-8 text"
    takes = " or ".join([*(_A_FILE[kind] for kind in wanted), "JSON", *(() if wanted else ("text",))])
    raise UnsupportedMediaError(f"The body is {what}; {spec.name} takes {takes}.")
