"""A raw RefCOCO of six referents, on which the published preparation was run: the fixture `raw`."""

from pathlib import Path

from data.data_process import main
from data.loading.annotations import read_annotations

FIXTURE = Path(__file__).resolve().parents[1] / "parity" / "golden" / "refer_fixture"


def run(raw, tmp_path, *options):
    """Runs data_process.py with the output folder `tmp_path / "out"`; returns its exit code."""
    return main(["--data_root", str(raw.root), "--output_dir", str(tmp_path / "out"), *options])


def read_lines(tmp_path):
    """The referents of all splits."""
    folder = tmp_path / "out/anns/refcoco"
    return [r for path in sorted(folder.glob("*.txt")) for r in read_annotations(path)]


def state(folder):
    """Path → content and time of every file in a folder, except locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
