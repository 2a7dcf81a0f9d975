"""``pipeline-graph batch``: a model over files, on Ray Data.

    pipeline-graph batch --task text-classification --model distilbert/… --input 'reviews/*.jsonl' --output scored

Input: JSONL, CSV, Parquet, text (a row a line), folders of images or sounds, folders that ``datasets`` saved; a path or
any URL that pyarrow or fsspec knows. Output: a folder of Parquet or JSONL files with the columns of the input, the
prediction, and an error where there is none. Run again, it goes on where it was interrupted.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from deployments.config import ModelConfig
from deployments.errors import ConfigError, PipelineGraphError
from graph.jobs.settings import Columns, Engine, Job, Pool


def add_to(commands: Any) -> None:
    """Add ``batch`` and its options to the commands of an ``argparse`` parser."""
    raw = argparse.RawDescriptionHelpFormatter
    add = commands.add_parser(
        "batch", help="a model over files, on Ray Data", description=__doc__, formatter_class=raw
    ).add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="files, folders or patterns; paths or URLs")
    add("--output", required=True, metavar="FOLDER", help="where the parts of the output go; a path or URL")
    add("--task", help="task of pipeline(); left out, it is inferred from the model")
    add("--model", help="as in the configuration: hub id, folder, package:NAME/PATH; with --graph, its name there")
    add("--config", metavar="JSON", type=_object, default={}, help="further keys of the model's configuration")
    add("--column", nargs="+", default=[], metavar="COLUMN", help="the input's column, or PART=COLUMN of its parts")
    add("--param", nargs="+", default=[], metavar="NAME=VALUE", help="call parameters; values are JSON, or else text")
    add("--param-column", nargs="+", default=[], metavar="NAME=COLUMN", help="parameters with a value in each row")
    add("--prediction-column", default="prediction", help="name of the column of answers (default prediction)")
    add("--error-column", default="error", help="name of the column of errors (default error)")
    add("--format", help="of the input, where its names do not tell: jsonl, csv, parquet, text, arrow, image, audio")
    add("--output-format", choices=("parquet", "jsonl"), default="parquet", help="default parquet")
    add("--replicas", default="1", metavar="N or MIN..MAX", help="workers (default 1)")
    add("--num-cpus", type=float, default=1, help="CPUs, and so torch threads, of a worker (default 1)")
    add("--num-gpus", type=float, default=0, help="GPUs of a worker (default 0)")
    add("--window", type=int, default=1024, help="rows planned and written together; fewer if large (default 1024)")
    add("--limit", type=int, help="only the first rows")
    add("--shard", default="0/1", metavar="I/N", help="only every N-th row from the I-th on; for several machines")
    add("--graph", metavar="URL", help="ask a running graph instead of own workers; `handle` for one in this cluster")
    add("--address", help="of a Ray cluster (default: Ray is started here)")
    add("--dry-run", action="store_true", help="answer ten rows, show them, write nothing")


def main(options: argparse.Namespace) -> int:
    """Run the job; returns the exit status."""
    from graph.jobs.run import dry_run, run

    try:
        job = job_of(options)
        if options.dry_run:
            for row in dry_run(job):
                _say(json.dumps(_shown(row), ensure_ascii=False))
            return 0
        summary = run(job, options.address)
    except PipelineGraphError as error:
        _say(str(error), sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say("interrupted: the same command goes on from here", sys.stderr)
        return 130
    _say(str(summary))
    return 0


def job_of(options: argparse.Namespace) -> Job:
    """What the command line asks for.

    Raises:
        ConfigError: it contradicts itself, or names what there is not.
    """
    low, high = _range(options.replicas)
    if options.limit is not None and options.limit < 1:
        raise ConfigError("--limit must be at least 1.")
    if options.window < 1:
        raise ConfigError("--window must be at least 1.")
    parameters = {name: _value(text) for name, text in _pairs("--param", options.param).items()}
    return Job(
        inputs=tuple(options.input),
        output=options.output,
        engine=Engine(model_of(options), parameters, options.graph),
        columns=Columns(
            _column(options.column),
            _pairs("--param-column", options.param_column),
            options.prediction_column,
            options.error_column,
        ),
        pool=Pool(low, high),
        format=options.format,
        output_format=options.output_format,
        window=options.window,
        limit=options.limit,
        shard=_shard(options.shard),
    )


def model_of(options: argparse.Namespace) -> ModelConfig:
    """The model's configuration, its task inferred unless a graph knows it.

    Raises:
        ConfigError: it has mistakes, each told.
    """
    given = {"task": options.task, "model": options.model, **options.config}
    given = {name: value for name, value in given.items() if value is not None}
    given.setdefault("resources", {"num_cpus": options.num_cpus, "num_gpus": options.num_gpus})
    try:
        config = ModelConfig.model_validate(given)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, item['loc'])) or 'model'}: {item['msg']}" for item in error.errors()]
        raise ConfigError("The model's configuration has mistakes:", tuple(mistakes)) from None
    if options.graph is not None:
        return config
    from graph.config import GraphConfig
    from graph.resolve import resolve

    return resolve(GraphConfig(models=[config])).models[0]


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value


def _pairs(option: str, pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise ConfigError(f"{option} takes NAME=VALUE, not {wrong[0]!r}.")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _column(given: Sequence[str]) -> str | dict[str, str] | None:
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    return _pairs("--column", given) or None


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("..")
    try:
        found = int(low), int(high or low)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        raise ConfigError(f"--replicas takes N or MIN..MAX, not {text!r}.")
    return found


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    try:
        found = int(index), int(count)
    except ValueError:
        found = 1, 0
    if not 0 <= found[0] < found[1]:
        raise ConfigError(f"--shard takes I/N with I from 0 to N-1, not {text!r}.")
    return found


def _shown(row: dict[str, Any]) -> Any:
    from graph.encode import plain

    return plain(row)


def _say(text: str, where: Any = None) -> None:
    (where or sys.stdout).write(f"{text}\n")
