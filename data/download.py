"""Fetch a public data set or word vectors, check it and unpack it where the configs expect it.

    python data/download.py refcoco coco-train2014 glove

Interrupted? The same command goes on where it stopped. What is there already is left alone.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import BAD_INPUT, exit_code
from config.files import written_atomically
from data.acquisition.archives import SOURCES, Archive
from data.acquisition.fetch import DownloadError, fetch
from data.acquisition.unpack import UnpackError, unpack
from data.support.progress import bytes_text

DATA_FOLDER = Path(__file__).resolve().parent


def obtain(archive: Archive, output: Path, keep: bool = False, **fetch_options) -> str:
    """Fetches and unpacks one archive, unless its files are there.

    Args:
        archive: what to fetch.
        output: folder that holds raw/, images/ and words/; archives lie in its downloads/.
        keep: leave the archive there once it is unpacked.
        fetch_options: as `data.acquisition.fetch.fetch` takes them.

    Returns:
        a sentence: what was done.

    Raises:
        DownloadError, UnpackError: see `data.acquisition.fetch.fetch` and
            `data.acquisition.unpack.unpack`.
    """
    downloads, folder = output / "downloads", output / archive.folder
    record = downloads / f"{archive.file}.files"
    if _is_complete(record, folder):
        return f"{archive.file}: all files are in {folder} already"
    if not (downloads / archive.file).is_file() and _is_there_by_hand(archive, folder):
        return (
            f"{archive.file}: its {archive.n_files:,} files are in {folder} already "
            "(by another way: they were not checked)"
        )
    path = fetch(archive, downloads, **fetch_options)
    files = unpack(path, folder, archive.members, archive.flat)
    with written_atomically(record) as file:
        file.write("".join(f"{size} {name}\n" for name, size in files.items()).encode())
    if not keep:
        path.unlink()
    return f"{archive.file}: {len(files):,} files ({bytes_text(sum(files.values()))}) → {folder}"


def _is_complete(record: Path, folder: Path) -> bool:
    """Whether all files of an earlier run are still as they were."""
    if not record.is_file():
        return False
    for line in record.read_text(encoding="utf-8").splitlines():
        size, _, name = line.partition(" ")
        path = folder / name
        if not path.is_file() or path.stat().st_size != int(size):
            return False
    return True


def _is_there_by_hand(archive: Archive, folder: Path) -> bool:
    found = set()
    for pattern in archive.members:
        found.update(folder.glob(pattern.rpartition("/")[2] if archive.flat else pattern))
    return len(found) >= archive.n_files


def _table() -> str:
    rows = []
    for name, source in SOURCES.items():
        sizes = [archive.size for archive in source.archives]
        size = f" ({bytes_text(sum(sizes))})" if None not in sizes else ""
        folders = ", ".join(dict.fromkeys(archive.folder for archive in source.archives))
        rows.append(f"  {name:15} {source.about}{size}\n{'':17} → DIR/{folders}")
    return "\n".join(rows)


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"what there is:\n{_table()}\n\nEach data set has its own licence; see "
        "data/README.md. Photographs that you have already need not be fetched again: name "
        "their folder with image_path in the config.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="+", choices=SOURCES, metavar="NAME", help="one or more of those below"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DATA_FOLDER,
        metavar="DIR",
        help="raw/, images/ and words/ are made here (default: the project's data/)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the archives, in DIR/downloads, once unpacked"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parse_arguments(arguments)
    return exit_code(lambda: _run(options), "What came is kept: the same command goes on there.")


def _run(options: argparse.Namespace) -> int:
    failed = False
    for name in dict.fromkeys(options.names):
        try:
            for archive in SOURCES[name].archives:
                print(obtain(archive, options.output, options.keep), flush=True)
        except (DownloadError, UnpackError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        if SOURCES[name].next_step:
            print(f"next: {SOURCES[name].next_step}")
    return BAD_INPUT if failed else 0


if __name__ == "__main__":
    sys.exit(main())
