"""Evaluation that is divided among processes, and within each of them among its devices."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from config.signals import Stopped, StopRequest
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.metrics import Metrics, Result
from utils.evaluation.results.measurement import Measurement
from utils.prediction.grounder import Grounder
from utils.training.distributed.processes import Processes


def evaluate(
    processes: Processes,
    evaluator: Evaluator,
    grounder: Grounder,
    word_len: int,
    label: str,
    stop: StopRequest,
    *,
    rank: bool = False,
) -> tuple[Result, dict[int, float]]:
    """Evaluates a network on a set, each replica on a part of its images.

    Args:
        processes: the processes of the run.
        evaluator: evaluates the network on the whole set. Its `bad_images` are then those of all
            parts.
        grounder: the network, whose variables every replica has.
        word_len: number of words that are read per expression.
        label: label of the progress bar.
        stop: asked after each expression.
        rank: whether the quality of each prediction is wanted.

    Returns:
        dict of `Metrics.result` over the whole set, and with `rank` the sum of box and mask IoU by
        the position of the expression in the set; the same in every process.

    Raises:
        DataError: an image or mask cannot be used; with on_bad_sample="skip", none can.
        NotFiniteError: the network computes NaN or infinite values.
        config.signals.Stopped: one of the processes was asked to stop.
    """
    first = processes.index * processes.local
    parts = [evaluator.part(first + k, processes.replicas) for k in range(processes.local)]

    quality: dict[int, float] = {}

    def sums_of(number: int) -> Metrics:
        places = evaluator.positions(first + number, processes.replicas) if rank else []

        def on_measured(case: Measurement) -> None:
            stop.raise_if_requested()
            if rank:
                quality[places[case.index]] = case.det_iou + case.seg_iou

        return parts[number].collect(
            grounder,
            word_len,
            label,
            on_measured,
            shown=processes.chief and number == 0,
            lasting=False,
        )

    outcome: dict[str, Any] = {"stopped": None}
    try:
        sums = _on_each_device(processes, sums_of)
        bad = {image: reason for part in parts for image, reason in part.bad_images.items()}
        outcome |= {"sums": [metrics.to_dict() for metrics in sums], "bad": bad}
        outcome["quality"] = [*quality.items()]
    except Stopped as stopped:
        # The others wait for this process: they have to hear of it before it ends.
        outcome["stopped"] = stopped.number
    outcomes = processes.gather(outcome)
    for each in outcomes:
        if each["stopped"] is not None:
            raise Stopped(each["stopped"])
    evaluator.bad_images.clear()
    total = Metrics(evaluator.det_thresh)
    for each in outcomes:
        evaluator.bad_images.update(each["bad"])
        for values in each["sums"]:
            total.merge(Metrics.from_dict(values))
    evaluator.check_any_usable()
    return total.result(), {place: value for each in outcomes for place, value in each["quality"]}


def _on_each_device(processes: Processes, function: Any) -> list[Any]:
    """Calls a function with 0, 1, … in parallel, each time on another device of this process."""
    if processes.local == 1:
        return [function(0)]
    devices = processes.strategy.extended.worker_devices

    def on_device(number: int) -> Any:
        # In cross-replica context, a variable is read from its copy on the current device.
        with processes.strategy.scope(), tf.device(devices[number]):
            return function(number)

    with ThreadPoolExecutor(processes.local) as pool:
        return list(pool.map(on_device, range(processes.local)))
