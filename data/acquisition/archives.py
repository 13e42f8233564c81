"""The public data sets: their archives with addresses, sizes and checksums."""

from dataclasses import dataclass

_UNC = "https://bvisionweb1.cs.unc.edu/licheng/referit/data/"
# "id_" after the time requests the original file from the Internet Archive, without its banner.
_ARCHIVED = "https://web.archive.org/web/{time}id_/" + _UNC
_REFER_PAGE = "https://github.com/lichengunc/refer"
_GLOVE_PAGE = "https://nlp.stanford.edu/projects/glove/"


@dataclass(frozen=True)
class Archive:
    """One zip archive to download and extract.

    Attributes:
        file: its file name.
        urls: addresses, the original one first.
        folder: where its members are extracted to, relative to the output folder.
        members: patterns of the wanted members; "*" matches any characters, "/" included.
        n_files: number of wanted members.
        size: size of the archive in bytes, if known.
        sha256: its checksum in hexadecimal digits, if known.
        flat: whether members are extracted into `folder` itself, without the archive's folders.
        page: web page where people can get the archive or ask for it.
    """

    file: str
    urls: tuple[str, ...]
    folder: str
    members: tuple[str, ...]
    n_files: int
    size: int | None = None
    sha256: str | None = None
    flat: bool = False
    page: str = ""


@dataclass(frozen=True)
class Source:
    """A data set or file of word vectors, which the command line refers to by name.

    Attributes:
        about: description for the help text.
        archives: archives to download, all of which are needed.
        next_step: what to do after the download.
    """

    about: str
    archives: tuple[Archive, ...]
    next_step: str = ""


def _refer(
    name: str, time: str, n_files: int, size: int | None = None, sha256: str | None = None
) -> Archive:
    return Archive(
        file=f"{name}.zip",
        urls=(f"{_UNC}{name}.zip", f"{_ARCHIVED.format(time=time)}{name}.zip"),
        folder="raw",
        members=(f"{name}/*",),
        n_files=n_files,
        size=size,
        sha256=sha256,
        page=_REFER_PAGE,
    )


def _glove(file: str, member: str, size: int, sha256: str) -> Archive:
    return Archive(
        file=file,
        urls=(
            f"https://nlp.stanford.edu/data/wordvecs/{file}",
            f"https://downloads.cs.stanford.edu/nlp/data/{file}",
            f"https://huggingface.co/stanfordnlp/glove/resolve/main/{file}",
        ),
        folder="words",
        members=(member,),
        n_files=1,
        size=size,
        sha256=sha256,
        page=_GLOVE_PAGE,
    )


def _prepare(dataset: str, split: str) -> str:
    return (
        f"python data/data_process.py --data_root data/raw --output_dir data --dataset {dataset} "
        f"--split {split} --generate_mask"
    )


SOURCES: dict[str, Source] = {
    "refcoco": Source(
        "RefCOCO: expressions and annotations",
        (
            _refer(
                "refcoco",
                "20220413011718",
                n_files=3,
                size=53_993_993,
                sha256="7f924bb7ed8dc4568058e4ff626281918d56e5206f4c868c5a80f088f38c8bf0",
            ),
        ),
        _prepare("refcoco", "unc"),
    ),
    "refcoco+": Source(
        "RefCOCO+: expressions and annotations",
        (
            _refer(
                "refcoco+",
                "20220413011656",
                n_files=2,
                size=45_613_210,
                sha256="5f1238112d63199e68da54a28f201471909b21ded7ed79a57d51b4c1443c6b45",
            ),
        ),
        _prepare("refcoco+", "unc"),
    ),
    "refcocog": Source(
        "RefCOCOg: expressions and annotations",
        (
            _refer(
                "refcocog",
                "20220413012904",
                n_files=3,
                size=56_712_951,
                sha256="3d1f7e5b2ff2205940bf59de55f861f5f2cc1403fb980669933a7f9af1aa8211",
            ),
        ),
        _prepare("refcocog", "umd"),
    ),
    "refclef": Source(
        "ReferIt: expressions and annotations, and its 19,997 photographs of SAIAPR TC-12",
        (
            _refer("refclef", "20220413011817", n_files=3),
            Archive(
                file="saiapr_tc-12.zip",
                urls=(
                    f"{_UNC}images/saiapr_tc-12.zip",
                    "https://web.archive.org/web/20220515000000id_/"
                    "http://bvisionweb1.cs.unc.edu/licheng/referit/data/images/saiapr_tc-12.zip",
                ),
                folder="images/refclef",
                # The photographs are in numbered subfolders, which the annotations do not name.
                members=("*/images/*.jpg",),
                n_files=19_997,
                flat=True,
                page="https://www.imageclef.org/SIAPRdata",
            ),
        ),
        _prepare("refclef", "berkeley"),
    ),
    "coco-train2014": Source(
        "COCO's 82,783 photographs for RefCOCO, RefCOCO+ and RefCOCOg",
        (
            Archive(
                file="train2014.zip",
                urls=(
                    "http://images.cocodataset.org/zips/train2014.zip",
                    "https://s3.amazonaws.com/images.cocodataset.org/zips/train2014.zip",
                    "https://pjreddie.com/media/files/train2014.zip",
                ),
                folder="images",
                members=("train2014/*.jpg",),
                n_files=82_783,
                size=13_510_573_713,
                sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
                page="https://cocodataset.org/#download",
            ),
        ),
    ),
    "glove": Source(
        "GloVe 6B, 300-dimensional: 400,000 lower-case words",
        (
            _glove(
                "glove.6B.zip",
                "glove.6B.300d.txt",
                862_182_613,
                "617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
            ),
        ),
    ),
    "glove-840b": Source(
        "GloVe 840B, 300-dimensional: 2.2 million case-sensitive words",
        (
            _glove(
                "glove.840B.300d.zip",
                "glove.840B.300d.txt",
                2_176_768_927,
                "c06db255e65095393609f19a4cfca20bf3a71e20cc53e892aafa490347e3849f",
            ),
        ),
        "set word_embed=data/words/glove.840B.300d.txt in the config or with --set",
    ),
}
