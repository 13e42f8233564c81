"""Download public data sets, word vectors and weights, verify them and store them where the configs
expect them.

    python data/download.py refcoco coco-train2014 glove
    python data/download.py darknet mcn-refcoco-darknet

Run the same command again to resume an interrupted download. Existing files are skipped.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: make the project's packages importable from any folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from config.command_line import BAD_INPUT, add_output_argument, exit_code
from config.errors import UserError
from config.files import (
    bytes_text,
    check_folder,
    check_place,
    locked,
    remove_partial_files,
    write_text,
)
from config.schema import PROJECT_ROOT
from data.acquisition.archives import SOURCES, Archive, Download, WeightFile
from data.acquisition.fetch import existing, fetch
from data.acquisition.unpack import unpack
from data.acquisition.verification import Examine

DATA_FOLDER = PROJECT_ROOT / "data"
WIDTH_OF_NAMES = 21
NOTES = """\
Each data set has its own license; see data/README.md. If you have the photographs already, set
image_path in the config to their folder instead of downloading them again.

The authors' weights are on OneDrive. Their addresses could not be tried when this was written. If
they do not work, the error message names the page to open in a browser and where to put the file;
the same command then recognizes it. docs/weights.md lists all links."""


def obtain(download: Download, output: Path, keep: bool = False) -> str:
    """Downloads one file, and extracts it if it is an archive, unless its files exist.

    Args:
        download: what to download.
        output: folder for raw/, images/, words/ and weights/; archives are downloaded to its
            downloads/.
        keep: whether to keep an archive after extraction.

    Returns:
        A sentence that says what was done.

    Raises:
        UserError: another process is downloading the file to the same folder, or nothing can be
            written there.
        DownloadError, UnpackError, NoSpaceError: see `data.acquisition.fetch.fetch` and
            `data.acquisition.unpack.unpack`.
    """
    if isinstance(download, Archive):
        return _obtain_archive(download, output, keep)
    return _obtain_file(download, output)


def _obtain_file(download: Download, output: Path) -> str:
    folder, examine = output / download.folder, _examiner(download)
    if found := existing(download, folder, examine):
        return f"{download.file}: {bytes_text(found.stat().st_size)} exist as {found}"
    check_folder(folder)
    with locked(_shared_lock(download, folder), _taken(download, folder)):
        path = fetch(download, folder, examine=examine)
        os.sync()
    return f"{download.file}: {bytes_text(path.stat().st_size)} → {path}"


def _shared_lock(download: Download, folder: Path) -> Path:
    """The lock of what is written to a folder, which other outputs share if it is a link."""
    return folder / f".{download.file}.lock"


def _examiner(download: Download) -> Examine | None:
    """Identifies weight files by their content; None for other files."""
    if not isinstance(download, WeightFile):
        return None
    from model.weights.inspection import difference

    return lambda path: difference(path, download.holds.backbone, download.holds.part)


def _taken(download: Download, folder: Path) -> str:
    return f"{download.file}: another process is downloading it to {folder}; wait for its end"


def _obtain_archive(archive: Archive, output: Path, keep: bool) -> str:
    downloads, folder = output / "downloads", output / archive.folder
    record = downloads / f"{archive.file}.files"
    check_place(record)
    if _is_complete(record, folder, archive.n_files):
        is_left = (downloads / archive.file).is_file() and not keep  # Maybe by a killed process.
        unneeded = f"; {downloads / archive.file} is no longer needed, delete it" if is_left else ""
        return f"{archive.file}: all files exist in {folder}{unneeded}"
    if not (downloads / archive.file).is_file() and _exists_from_elsewhere(archive, folder):
        return (
            f"{archive.file}: its {archive.n_files:,} files exist in {folder} (not downloaded by "
            "this command, so not verified)"
        )
    for place in (downloads, folder):
        check_folder(place)
    with locked(downloads / f"{archive.file}.lock", _taken(archive, output)):
        remove_partial_files(record)
        path = fetch(archive, downloads)
        waiting = f"{archive.file}: waiting for another process to extract it to {folder}"
        with locked(_shared_lock(archive, folder), waiting, wait=True):
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
    """Whether there are as many files as the archive has; hidden ones include partial files."""
    files: set[Path] = set()
    for pattern in archive.members:
        files.update(folder.glob(pattern.rpartition("/")[2] if archive.flat else pattern))
    found = sum(not path.name.startswith(".") and path.is_file() for path in files)
    return found >= archive.n_files


def _table() -> str:
    rows = []
    for name, source in SOURCES.items():
        text = f"{source.about}{_size(source.downloads)}"
        folders = ", ".join(dict.fromkeys(download.folder for download in source.downloads))
        indent = " " * (WIDTH_OF_NAMES + 3)
        about = textwrap.fill(text, 98, initial_indent=indent, subsequent_indent=indent)
        rows.append(f"  {name:{WIDTH_OF_NAMES}} {about.lstrip()}\n{indent}→ DIR/{folders}")
    return "\n".join(rows)


def _size(downloads: Sequence[Download]) -> str:
    """The total size in parentheses."""
    exact = [download.size for download in downloads]
    sizes = [size or download.about_bytes for size, download in zip(exact, downloads, strict=True)]
    if None in sizes:
        return " (size unknown)"
    total = bytes_text(sum(size for size in sizes if size is not None))
    return f" ({'about ' * (None in exact)}{total})"


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"available:\n{_table()}\n\n{NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="+", choices=SOURCES, metavar="NAME", help="one or more of the names below"
    )
    add_output_argument(
        parser,
        None,
        "folder of raw/, images/, words/ and weights/ (default: the project's data/)",
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
            for download in SOURCES[name].downloads:
                print(obtain(download, output, options.keep), flush=True)
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        if SOURCES[name].next_step:
            print(f"next: {SOURCES[name].next_step}")
    return BAD_INPUT if failed else 0


if __name__ == "__main__":
    sys.exit(main())
