"""Fixtures for the tests of results."""

import numpy as np
import pytest

from tests.utils.prediction.results import SIZE, prediction
from utils.prediction.jobs import Job
from utils.prediction.output import Output
from utils.prediction.photographs import source_of


@pytest.fixture
def photograph():
    return np.full((*SIZE, 3), 120, np.uint8)


@pytest.fixture
def predicted(tmp_path, photograph):
    """Runs jobs as predict.py does, without a network; returns how many expressions it predicted.

    `jobs` are pairs of a file name in the folder photos/, created if missing, and expressions.
    """

    def run(*jobs, folder=tmp_path / "out", network="a network", overwrite=False):
        (tmp_path / "photos").mkdir(exist_ok=True)
        jobs = [Job(tmp_path / "photos" / name, tuple(texts)) for name, texts in jobs]
        for job in jobs:
            if not job.image.exists():
                job.image.write_bytes(b"photograph")
        output, count = Output(folder, jobs, network, overwrite), 0
        with output.opened():
            for job in jobs:
                missing = output.missing(job)
                output.write(
                    job.image,
                    source_of(job.image),
                    photograph,
                    [prediction(text) for text in missing],
                )
                assert [r["expression"] for r in output.records(job)] == list(job.expressions)
                count += len(missing)
        return count

    return run
