"""Runs the jobs of predict.py and prints their results."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from config.errors import UserError, printable
from data.loading.errors import DataError
from data.support.progress import Progress
from utils.prediction.grounder import NotFiniteError
from utils.prediction.jobs import Job
from utils.prediction.output import Output
from utils.prediction.photographs import source_of
from utils.prediction.predictor import Predictor

Warn = Callable[[str | os.PathLike, Sequence[str]], str | None]


def predict_jobs(
    predictor: Predictor,
    jobs: Sequence[Job],
    output: Output,
    as_json: bool = False,
    warn: Warn | None = None,
) -> int:
    """Predicts and writes the results that are missing, and prints those of every job.

    Photographs that cannot be read, or for which the network computes NaN or infinite values, are
    reported on standard error and skipped.

    Args:
        predictor: the `Predictor`.
        jobs: the `Job`s.
        output: the `Output`, opened.
        as_json: whether to print JSON lines instead of text.
        warn: returns what to warn about, if anything, from the path of a photograph and the
            unknown words of its expressions.

    Returns:
        The number of photographs that failed.

    Raises:
        DataError: the only photograph cannot be read.
        NotFiniteError: the network computes NaN or infinite values for every photograph.
        NoSpaceError, OSError: a result cannot be written.
    """
    failures: list[UserError] = []
    several = len(jobs) > 1
    with Progress(len(jobs), "predict", unit="img") if several else nullcontext() as bar:
        log = bar.log if bar else print
        for done, job in enumerate(jobs, start=1):
            try:
                image_seconds = _predict(predictor, job, output)
            except (DataError, NotFiniteError) as error:
                if not several:
                    raise
                failures.append(error)
                log(f"error: {printable(str(error))}", file=sys.stderr)
            else:
                records = output.records(job)
                unknown = [word for record in records for word in record["unknown_words"]]
                warning = None if warn is None else warn(job.image, unknown)
                if warning and as_json:
                    log(f"warning: {printable(str(job.image))}: {warning}", file=sys.stderr)
                log(format_records(records, image_seconds, as_json, warning))
            if bar:
                bar.update(done)
    if failures:
        if sum(isinstance(error, NotFiniteError) for error in failures) == len(jobs):
            raise NotFiniteError
        print(f"{len(failures)} of {len(jobs)} photographs failed", file=sys.stderr)
    return len(failures)


def _predict(predictor: Predictor, job: Job, output: Output) -> float | None:
    """Predicts and writes what is missing; returns the seconds taken to encode the photograph.

    Raises:
        DataError: the photograph cannot be read, or was replaced meanwhile. The same command then
            replaces what was written.
        NotFiniteError: the network computes NaN or infinite values.
    """
    expressions = output.missing(job)
    if not expressions:
        return None
    source = source_of(job.image)
    predictor.set_image(job.image)
    if source_of(job.image) != source:  # Nothing is recorded: what was read may be either.
        raise _changed(job.image)
    # Full-size masks of thousands of expressions would not fit into memory at once.
    for start in range(0, len(expressions), predictor.batch_size):
        chunk = expressions[start : start + predictor.batch_size]
        output.write(job.image, source, predictor.image, predictor.predict(chunk))
    now = source_of(job.image)
    if now != source and now["sha256"] is not None:
        raise _changed(job.image)
    return predictor.image_seconds


def _changed(image):
    return DataError(
        f"{image}: changed while expressions were located in it; run the same command again"
    )


def format_records(
    records: Sequence[dict[str, Any]],
    image_seconds: float | None,
    as_json: bool,
    warning: str | None = None,
) -> str:
    """Formats the records of one photograph for the terminal.

    Args:
        records: of `Output.records`.
        image_seconds: time taken to encode the photograph; None if an earlier run did.
        as_json: whether to return JSON lines instead of text.
        warning: sentence about all of them, part of the text only.
    """
    if as_json:
        return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    size = "{width}×{height}".format(**records[0])
    seconds = "of an earlier run" if image_seconds is None else f"{image_seconds:.2f} s"
    head = f"\n{printable(records[0]['image'])}   {size} px   {seconds}"
    warnings = [] if warning is None else [f"  warning: {warning}"]
    return "\n".join([head, *warnings, *(_format_record(record) for record in records)])


def _format_record(record):
    expression = printable(record["expression"])
    lines = [f"  {expression}", f"    {_result(record)}   {record['seconds']:.2f} s"]
    if record["unknown_words"]:
        unknown = printable(", ".join(record["unknown_words"]))
        lines.append(f"    unknown words: {unknown}")
    if record["unread_words"]:
        unread = printable(", ".join(record["unread_words"]))
        lines.append(f"    words beyond the limit, ignored: {unread}")
    return "\n".join(lines)


def _result(record):
    if not record.get("found", True):  # Records of former versions have no such field.
        return f"nothing found: score {record['score']:.4f} is below {record['min_score']:g}"
    box = ", ".join(f"{value:.1f}" for value in record["box_xyxy"])
    share = record["mask_area"] / (record["width"] * record["height"])
    return (
        f"box {box}   score {record['score']:.2f}   "
        f"mask {record['mask_area']:,} px ({100 * share:.1f} %)"
    )
