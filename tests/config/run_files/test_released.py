"""The table of docs/weights.md is that of the released files and names the configs using them."""

import re

from config.run_files.released import RELEASED
from config.schema import PROJECT_ROOT, load_config

ROW = re.compile(
    r"^\| \[(\S+)\]\((\S+)\) \| `(\S+)` \|.*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M
)
CONFIGS = {path.name: load_config(path) for path in (PROJECT_ROOT / "config").glob("*.json")}


def rows():
    text = (PROJECT_ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    return ROW.findall(text)


def test_the_document_lists_all_files_with_their_pages():
    assert [row[:3] for row in rows()] == [(r.name, r.page, r.file) for r in RELEASED]


def test_the_document_states_the_sizes_that_are_known():
    for released, (*_, size, _, _) in zip(RELEASED, rows(), strict=True):
        known = released.size or released.about_bytes
        stated = re.fullmatch(r"([\d.]+) MB", size)
        assert (stated is None) == (known is None), released.name
        assert known is None or abs(float(stated[1]) * 1e6 - known) < 1e6


def test_the_document_names_the_configs():
    for released, (*_, configs) in zip(RELEASED, rows(), strict=True):
        file = str(PROJECT_ROOT / "data" / "weights" / released.file)
        using = {name for name, c in CONFIGS.items() if c.pretrained_weights == file}
        if released.part == "network":
            test = f"python test.py --weights data/weights/{released.file} "
            using = {n for n, c in CONFIGS.items() if any(test in line for line in c.about)}
            assert len(using) == 1
        assert set(configs.split(", ")) == (using or {"none"}), released.name
