"""Runs the jobs of predict.py."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from data.loading.errors import DataError
from data.support.progress import Progress
from utils.prediction.jobs import Job
from utils.prediction.output import Output, format_records
from utils.prediction.predictor import Predictor


def predict_jobs(
    predictor: Predictor, jobs: Sequence[Job], output: Output, as_json: bool = False
) -> int:
    """Predicts and writes the results that are missing, and prints those of every job.

    Photographs that cannot be read are reported on standard error and skipped.

    Args:
        predictor: the `Predictor`.
        jobs: the `Job`s.
        output: the `Output`, opened.
        as_json: whether to print JSON lines instead of text.

    Returns:
        The number of photographs that could not be read.

    Raises:
        DataError: the only photograph cannot be read.
        NoSpaceError, OSError: a result cannot be written.
    """
    failures = 0
    several = len(jobs) > 1
    with Progress(len(jobs), "predict", unit="img") if several else nullcontext() as bar:
        log = bar.log if bar else print
        for done, job in enumerate(jobs, start=1):
            try:
                image_seconds = _predict(predictor, job, output)
            except DataError as error:
                if not several:
                    raise
                failures += 1
                log(f"error: {error}", file=sys.stderr)
            else:
                log(format_records(output.records(job), image_seconds, as_json))
            if bar:
                bar.update(done)
    if failures:
        print(f"{failures} of {len(jobs)} photographs could not be read", file=sys.stderr)
    return failures


def _predict(predictor: Predictor, job: Job, output: Output) -> float | None:
    """Predicts and writes what is missing; returns the seconds taken to encode the photograph."""
    expressions = output.missing(job)
    if not expressions:
        return None
    predictor.set_image(job.image)
    # Full-size masks of thousands of expressions would not fit into memory at once.
    for start in range(0, len(expressions), predictor.batch_size):
        chunk = expressions[start : start + predictor.batch_size]
        output.write(job.image, predictor.image, predictor.predict(chunk))
    return predictor.image_seconds
