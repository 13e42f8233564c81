"""The table of `benchmarks/bench.py`."""

from typing import Any

from benchmarks import EXPRESSIONS_PER_IMAGE
from benchmarks.records import Figure

Results = dict[str, Any]


def format_table(results: Results) -> str:
    """Formats the results as a Markdown table."""
    best, memory = results["limit"]["best"], results["memory"]["bytes"]
    rows = [
        ("matrix product, highest rate", f"{best['matrix product']:.0f} GFLOP/s"),
        ("3×3 convolution, highest rate", f"{best['convolution']:.0f} GFLOP/s"),
    ]
    for backbone, part in results["backbones"].items():
        rows += [(f"{backbone}: {name}", value) for name, value in _backbone_rows(part)]
    dilated = results["dilated"]["seconds"].items()
    rows.append(
        (
            f"8 feature maps, {'; '.join(name for name, _ in dilated)}",
            "; ".join(f"{1000 * seconds:.0f} ms" for _, (seconds, _) in dilated),
        )
    )
    sizes = " and ".join(f"{images} images" for images in memory)
    peaks = " and ".join(f"{size / 1e9:.3f} GB" for size in memory.values())
    loop = results["loop"]
    rows.append(
        (
            f"scaled-down network: added by the loop to a step of {loop['seconds_per_step']:.3f} s",
            f"{100 * loop['overhead']:.1f} %",
        )
    )
    rows.append((f"scaled-down network: peak memory of evaluating {sizes}", peaks))
    return "\n".join(["| | median |", "|---|---|"] + [f"| {name} | {v} |" for name, v in rows])


def figures(results: Results) -> list[Figure]:
    """The results as rows for `benchmarks.records.record`."""
    rows = [
        Figure(f"highest rate, {name}", rate, "GFLOP/s")
        for name, rate in results["limit"]["best"].items()
    ]
    for backbone, part in results["backbones"].items():
        for group in ("network", "evaluation", "training"):
            rows += [
                Figure(f"{backbone}, {group}: {name}", seconds, "s", spread)
                for name, (seconds, spread) in part[group]["seconds"].items()
            ]
        rows.append(Figure(f"{backbone}: peak memory, one pair", part["peak_bytes"], "bytes"))
    rows += [
        Figure(f"8 feature maps, {name}", seconds, "s", spread)
        for name, (seconds, spread) in results["dilated"]["seconds"].items()
    ]
    rows.append(Figure("training loop, share of a step", results["loop"]["overhead"], ""))
    rows += [
        Figure(f"peak memory, evaluation of {images} images", size, "bytes")
        for images, size in results["memory"]["bytes"].items()
    ]
    return rows


def _backbone_rows(part: Results) -> list[tuple[str, str]]:
    network, training = part["network"], part["training"]
    steps = {name: median for name, (median, _) in training["seconds"].items()}
    seconds, flops = network["seconds"], {k: n / 1e9 for k, n in network["flops"].items()}
    latency, spread = seconds["1 image × 1"]
    shares = network["share_of_convolution_limit"].values()
    return [
        ("images encoded", f"{network['images_per_s']:.2f} per s"),
        ("expressions grounded", f"{network['expressions_per_s']:.2f} per s"),
        ("one image, one expression", f"{latency:.2f} s ± {100 * spread:.0f} %"),
        (
            f"one image, {', '.join(map(str, network['counts']))} expressions",
            ", ".join(f"{seconds[f'1 image × {n}'][0]:.2f}" for n in network["counts"]) + " s",
        ),
        (
            "GFLOP of image + text + grounding (published, per expression)",
            f"{flops['image']:.1f} + {flops['text']:.1f} + {flops['ground']:.1f} "
            f"({flops['published, one pair']:.1f})",
        ),
        (
            f"rate of image encoder, grounding, whole network, batch size {network['batch']}",
            ", ".join(f"{rate:.0f}" for rate in network["gflops"].values()) + " GFLOP/s",
        ),
        (
            "the same relative to the fastest convolution",
            ", ".join(f"{100 * share:.0f} %" for share in shares),
        ),
        (
            f"evaluation, {EXPRESSIONS_PER_IMAGE} expressions per image",
            f"{part['evaluation']['speedup']:.2f} × faster than the published order of "
            "work, in our own plain reimplementation",
        ),
        (
            f"training step, batch size {training['batch']}: {'; '.join(steps)}",
            "; ".join(f"{seconds:.2f} s" for seconds in steps.values()),
        ),
        ("peak memory, one image, one expression", f"{part['peak_bytes'] / 1e9:.2f} GB"),
    ]
