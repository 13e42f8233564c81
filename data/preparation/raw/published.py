"""Published numbers of referents, expressions and images, to compare a preparation with.

Only what is confirmed: referents and images of RefCOCO, RefCOCO+ and RefCOCOg by public data cards,
their expressions by the totals of the data sets. There are none for the splits of ReferIt and
gRefCOCO, nor of the expressions of RefCOCO's google splits.
"""

from typing import NamedTuple

from data.preparation.wording import plural


class Counts(NamedTuple):
    """Numbers of a split; None for those that are not known."""

    referents: int
    expressions: int | None = None
    images: int | None = None

    def compared(self, published: "Counts | None") -> str:
        """Where these numbers differ from the published ones, such as " (as published)".

        Returns:
            Text to append to these numbers; empty if none were published.
        """
        if published is None:
            return ""
        differing = [
            plural(number, name.removesuffix("s"))
            for name, number in published._asdict().items()
            if number not in (None, getattr(self, name))
        ]
        return f" (published: {', '.join(differing)})" if differing else " (as published)"


# Data set → expressions that Ref-L4 judged, and those that it judged wrong.
REVIEWED = {
    "refcoco": (21_586, 3_054),
    "refcoco+": (21_373, 5_201),
    "refcocog": (14_498, 675),
}

# (data set, name of its division) → split → numbers.
PUBLISHED: dict[tuple[str, str], dict[str, Counts]] = {
    ("refcoco", "unc"): {
        "train": Counts(42_404, 120_624, 16_994),
        "val": Counts(3_811, 10_834, 1_500),
        "testA": Counts(1_975, 5_657, 750),
        "testB": Counts(1_810, 5_095, 750),
    },
    ("refcoco", "google"): {
        "train": Counts(40_000, None, 19_213),
        "val": Counts(5_000, None, 4_559),
        "test": Counts(5_000, None, 4_527),
    },
    ("refcoco+", "unc"): {
        "train": Counts(42_278, 120_191, 16_992),
        "val": Counts(3_805, 10_758, 1_500),
        "testA": Counts(1_975, 5_726, 750),
        "testB": Counts(1_798, 4_889, 750),
    },
    ("refcocog", "umd"): {
        "train": Counts(42_226, 80_512, 21_899),
        "val": Counts(2_573, 4_896, 1_300),
        "test": Counts(5_023, 9_602, 2_600),
    },
    ("refcoco-m", "unc"): {"val": Counts(2_080, 5_598, 1_190)},
    ("refcocog", "google"): {
        "train": Counts(44_822, 85_474, 24_698),
        "val": Counts(5_000, 9_536, 4_650),
    },
}
