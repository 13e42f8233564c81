"""The table of an ablation: means and deviations over seeds, and what became of the claims."""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from benchmarks.variants import CLAIMS, MEASURES, VARIANTS, Claim
from data.preparation.wording import plural


class Run(Protocol):
    """A finished run: variant, seed, and by split the value of each measure."""

    @property
    def variant(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def results(self) -> Mapping[str, Mapping[str, float]]: ...


def format_ablation(runs: Collection[Run], splits: Sequence[str], det_thresh: float) -> str:
    """Formats finished runs as a table in percent, and the claims that they test as a list.

    Args:
        runs: the finished runs.
        splits: the splits, in the order of the columns.
        det_thresh: threshold of the box accuracy.

    Returns:
        Markdown.
    """
    labels = {
        measure: label.format(thresh=f"{det_thresh:g}") for measure, label in MEASURES.items()
    }
    columns = [(split, measure) for split in splits for measure in MEASURES]
    head = ["", "seeds", *(f"{split} {labels[measure]}" for split, measure in columns)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, variant in VARIANTS.items():
        of_variant = [run for run in runs if run.variant == name]
        if of_variant:
            cells = [
                mean_text([run.results[split][measure] for run in of_variant])
                if measure in variant.measures
                else "–"
                for split, measure in columns
            ]
            lines.append(f"| {' | '.join([variant.title, str(len(of_variant)), *cells])} |")
    claims = [line for claim in CLAIMS if (line := _claim_line(claim, runs, splits, labels))]
    return "\n".join([*lines, "", *claims, ""])


def mean_text(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation of fractions of one, in percent; one value has no "±"."""
    percent = [100 * value for value in values]
    mean = f"{statistics.fmean(percent):.2f}"
    return mean if len(percent) == 1 else f"{mean} ± {statistics.stdev(percent):.2f}"


def _claim_line(
    claim: Claim, runs: Iterable[Run], splits: Sequence[str], labels: Mapping[str, str]
) -> str | None:
    """A claim with the differences of runs of equal seeds; None if there are none."""
    by_variant: dict[str, dict[int, Run]] = {claim.better: {}, claim.worse: {}}
    for run in runs:
        if run.variant in by_variant:
            by_variant[run.variant][run.seed] = run
    seeds = sorted(by_variant[claim.better].keys() & by_variant[claim.worse].keys())
    if not seeds:
        return None
    found = []
    for split in splits:
        better, worse = (
            [by_variant[name][seed].results[split][claim.measure] for seed in seeds]
            for name in (claim.better, claim.worse)
        )
        gains = [a - b for a, b in zip(better, worse, strict=True)]
        true = sum(claim.sign * gain > 0 for gain in gains)
        sign = "+" if statistics.fmean(gains) > 0 else ""
        found.append(f"{split} {sign}{mean_text(gains)}, in {true} of {plural(len(seeds), 'seed')}")
    first, second = VARIANTS[claim.better].title, VARIANTS[claim.worse].title
    what = f"{labels[claim.measure]} of “{first}” minus “{second}”"
    return f"- {claim.text[0].upper()}{claim.text[1:]}? {what}: {'; '.join(found)}."
