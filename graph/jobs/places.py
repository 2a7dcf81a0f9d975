"""Files of a job, on this machine's disk or wherever pyarrow and fsspec reach: listed, read, written whole or not."""

import uuid
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from deployments.errors import ConfigError

_WILD = "*?["
_PATH_SIGNS = "/:@!$&'()*+,;=~"  # of a URL's path, beside letters and digits; others are written with %
# an object there appears when it is complete; some builds of pyarrow lack some of them
_OBJECTS = tuple(
    getattr(pafs, name) for name in ("S3FileSystem", "GcsFileSystem", "AzureFileSystem") if hasattr(pafs, name)
)


class Place(NamedTuple):
    """A path on a filesystem."""

    fs: Any
    path: str

    def child(self, name: str) -> "Place":
        """The entry ``name`` of this folder."""
        return Place(self.fs, f"{self.path.rstrip('/')}/{name}")


def place(name: str) -> Place:
    """Where ``name`` is: a path, or a URL of any scheme that pyarrow or fsspec knows.

    Raises:
        ConfigError: no filesystem for the scheme.
    """
    if "://" not in name:
        return Place(pafs.LocalFileSystem(), str(Path(name).expanduser().absolute()))
    try:
        return Place(*pafs.FileSystem.from_uri(_quoted(name)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # fsspec may know it
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{name} cannot be reached: {error}.") from None
    return Place(pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path)


def _quoted(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}{slash}{quote(path, f'{_PATH_SIGNS}%?#')}"


def exists(where: Place) -> bool:
    """Whether there is a file or a folder."""
    return bool(where.fs.get_file_info(where.path).type != pafs.FileType.NotFound)


def files(name: str) -> list[tuple[str, int]]:
    """Files that ``name`` means, with their sizes in bytes, sorted: itself, those in the folder, or of the pattern.

    What is there under that very name is no pattern.

    Paths keep the scheme of ``name``, so that `place` finds them. Names that begin with ``.`` or ``_`` are left out.

    Raises:
        ConfigError: there are none.
    """
    base = name
    if any(sign in name for sign in _WILD) and not exists(place(name)):
        base = name[: min(name.index(sign) for sign in _WILD if sign in name)].rpartition("/")[0] or "."
    where = place(base)
    info = where.fs.get_file_info(where.path)
    if info.type == pafs.FileType.NotFound:
        raise ConfigError(f"There is nothing at {name}.")
    if info.type == pafs.FileType.File:
        return [(name, info.size)]
    scheme = name.partition("://")[0] + "://" if "://" in name else ""
    pattern = place(name).path if base != name else "*"
    found = [
        (entry.path, entry.size)
        for entry in where.fs.get_file_info(pafs.FileSelector(where.path, recursive=True))
        if entry.type == pafs.FileType.File and not _hidden(entry.path, where.path) and fnmatch(entry.path, pattern)
    ]
    if not found:
        raise ConfigError(f"There are no files at {name}.")
    escapes = bool(scheme) and not isinstance(where.fs, pafs.PyFileSystem)  # pyarrow reads %, and fsspec does not
    return [(_with_scheme(scheme, quote(path, _PATH_SIGNS) if escapes else path), size) for path, size in sorted(found)]


def _with_scheme(scheme: str, path: str) -> str:
    return path if not scheme or "://" in path else f"{scheme}{path}"


def _hidden(path: str, base: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.removeprefix(base).split("/"))


def read(where: Place) -> bytes:
    """The whole file."""
    with where.fs.open_input_stream(where.path) as stream:
        return bytes(stream.read())


def names_in(folder: Place) -> Iterator[str]:
    """Names of the files in a folder, if there is one."""
    for entry in folder.fs.get_file_info(pafs.FileSelector(folder.path, allow_not_found=True)):
        if entry.type == pafs.FileType.File:
            yield entry.base_name


def write(where: Place, content: Any) -> None:
    """Write a file so that it is never seen half-written, and written again is replaced."""
    if isinstance(where.fs, _OBJECTS):
        with where.fs.open_output_stream(where.path) as stream:
            stream.write(content)
        return
    folder, _, name = where.path.rpartition("/")
    beside = Place(where.fs, f"{folder}/.{name}-{uuid.uuid4().hex}")
    try:
        with where.fs.open_output_stream(beside.path) as stream:
            stream.write(content)
        _move(beside, where)
    except BaseException:
        if exists(beside):
            where.fs.delete_file(beside.path)
        raise


def _move(source: Place, target: Place) -> None:
    try:
        source.fs.move(source.path, target.path)
    except OSError:
        if not exists(target):
            raise
        target.fs.delete_file(target.path)  # HDFS replaces nothing
        source.fs.move(source.path, target.path)
