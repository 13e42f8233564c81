"""Download public data sets and word vectors, verify them and extract them to where the configs
expect them.

    python data/download.py refcoco coco-train2014 glove

Run the same command again to resume an interrupted download. Existing files are skipped.
"""

import argparse
import os
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import BAD_INPUT, add_output_argument, exit_code
from config.errors import UserError
from config.files import bytes_text, locked, write_text
from config.schema import PROJECT_ROOT
from data.acquisition.archives import SOURCES, Archive
from data.acquisition.fetch import fetch
from data.acquisition.unpack import unpack

DATA_FOLDER = PROJECT_ROOT / "data"


def obtain(archive: Archive, output: Path, keep: bool = False) -> str:
    """Downloads and extracts one archive, unless its files exist.

    Args:
        archive: what to download.
        output: folder for raw/, images/ and words/; archives are downloaded to its downloads/.
        keep: whether to keep the archive after extraction.

    Returns:
        A sentence that says what was done.

    Raises:
        UserError: another process is downloading the archive to the same folder.
        DownloadError, UnpackError, NoSpaceError: see `data.acquisition.fetch.fetch` and
            `data.acquisition.unpack.unpack`.
    """
    downloads, folder = output / "downloads", output / archive.folder
    record = downloads / f"{archive.file}.files"
    if _is_complete(record, folder, archive.n_files):
        return f"{archive.file}: all files exist in {folder}"
    if not (downloads / archive.file).is_file() and _exists_from_elsewhere(archive, folder):
        return (
            f"{archive.file}: its {archive.n_files:,} files exist in {folder} (not downloaded by "
            "this command, so not verified)"
        )
    message = f"{archive.file}: another process is downloading it to {output}; wait for its end"
    with locked(downloads / f"{archive.file}.lock", message):
        path = fetch(archive, downloads)
        files = unpack(path, folder, archive.members, archive.flat, archive.n_files)
        os.sync()  # A crash of the machine must not lose files whose archive is deleted.
        write_text(record, "".join(f"{size} {name}\n" for name, size in files.items()))
        if not keep:
            path.unlink()
    return f"{archive.file}: {len(files):,} files ({bytes_text(sum(files.values()))}) → {folder}"


def _is_complete(record: Path, folder: Path, n_files: int) -> bool:
    """Whether all files that an earlier run extracted exist unchanged, judged by their sizes."""
    try:
        lines = record.read_text(encoding="utf-8").splitlines()
        sizes = {name: int(size) for size, _, name in (line.partition(" ") for line in lines)}
    except (FileNotFoundError, ValueError):  # no record, or a damaged one
        return False
    files = {folder / name: size for name, size in sizes.items()}
    return len(files) >= n_files and all(
        path.is_file() and path.stat().st_size == size for path, size in files.items()
    )


def _exists_from_elsewhere(archive: Archive, folder: Path) -> bool:
    files: set[Path] = set()
    for pattern in archive.members:
        files.update(folder.glob(pattern.rpartition("/")[2] if archive.flat else pattern))
    return len(files) >= archive.n_files


def _table() -> str:
    rows = []
    for name, source in SOURCES.items():
        sizes = [archive.size for archive in source.archives if archive.size is not None]
        known = len(sizes) == len(source.archives)
        size = f" ({bytes_text(sum(sizes))})" if known else ""
        folders = ", ".join(dict.fromkeys(archive.folder for archive in source.archives))
        rows.append(f"  {name:15} {source.about}{size}\n{'':17} → DIR/{folders}")
    return "\n".join(rows)


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"available:\n{_table()}\n\nEach data set has its own license; see data/README.md. "
        "If you have the photographs\nalready, set image_path in the config to their folder "
        "instead of downloading them again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="+", choices=SOURCES, metavar="NAME", help="one or more of the names below"
    )
    add_output_argument(
        parser,
        None,
        "folder in which raw/, images/ and words/ are created (default: the project's data/)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the archives in DIR/downloads after extraction"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int | None:
    """Runs the command line and returns its exit code."""
    return exit_code(
        lambda: _run(_parse_arguments(arguments)),
        "The partial download is kept; run the same command to resume.",
    )


def _run(options: argparse.Namespace) -> int:
    output = Path(options.output or DATA_FOLDER)
    failed = False
    for name in dict.fromkeys(options.names):
        try:
            for archive in SOURCES[name].archives:
                print(obtain(archive, output, options.keep), flush=True)
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        if SOURCES[name].next_step:
            print(f"next: {SOURCES[name].next_step}")
    return BAD_INPUT if failed else 0


if __name__ == "__main__":
    sys.exit(main())
