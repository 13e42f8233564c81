"""What can be downloaded by name: data sets, word vectors and weights, with their addresses."""

from dataclasses import dataclass

from config.run_files.commands import prepare_command
from config.run_files.released import FOLDER, RELEASED, ReleasedFile

_UNC = "https://bvisionweb1.cs.unc.edu/licheng/referit/data/"
# "id_" after the time requests the original file from the Internet Archive, without its banner.
_ARCHIVED = "https://web.archive.org/web/{time}id_/" + _UNC
_REFER_PAGE = "https://github.com/lichengunc/refer"
_GLOVE_PAGE = "https://nlp.stanford.edu/projects/glove/"
_BERT = "https://storage.googleapis.com/bert_models/2018_10_18"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# No weight file is larger, so what sends more is something else.
_MOST_WEIGHT_BYTES = 1_000_000_000
# Of archives whose exact size is not known, with ample room.
_MOST_REFER_BYTES, _MOST_SAIAPR_BYTES = 1_000_000_000, 10_000_000_000


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to download.

    Attributes:
        file: its file name.
        urls: addresses, to try in this order; for archives, the original one first.
        folder: folder for its content, relative to the output folder.
        size: size in bytes, if it is known exactly.
        about_bytes: approximate size, if it is known.
        most_bytes: bound for the size, if it is not known exactly.
        sha256: checksum in hexadecimal digits, if known.
        signature: first bytes of the file, as far as all files of its kind have them in common.
        kind: what files with this signature are, with its article.
        page: web page where people can get the file or ask for it.
    """

    file: str
    urls: tuple[str, ...]
    folder: str
    size: int | None = None
    about_bytes: int | None = None
    most_bytes: int | None = None
    sha256: str | None = None
    signature: bytes = b""
    kind: str = "a file"
    page: str = ""

    @property
    def most(self) -> int | None:
        """The size that must not be exceeded, by which also a response without an end ends."""
        return self.most_bytes if self.size is None else self.size


@dataclass(frozen=True, kw_only=True)
class Archive(Download):
    """One zip archive to download and extract.

    Attributes:
        members: patterns of the wanted members; "*" matches any characters, "/" included.
        n_files: number of wanted members.
        flat: whether members are extracted into `folder` itself, without the archive's folders.
    """

    members: tuple[str, ...]
    n_files: int
    flat: bool = False
    signature: bytes = b"PK\x03\x04"
    kind: str = "a zip file"


@dataclass(frozen=True, kw_only=True)
class WeightFile(Download):
    """One weight file to download into `folder`.

    Attributes:
        holds: what it must be.
    """

    holds: ReleasedFile


@dataclass(frozen=True)
class Source:
    """A data set, word vectors or weights, which the command line refers to by name.

    Attributes:
        about: description for the help text.
        downloads: the files to download, all of which are needed.
        next_step: what to do after the download.
    """

    about: str
    downloads: tuple[Download, ...]
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
        most_bytes=_MOST_REFER_BYTES,
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


def _weights(released: ReleasedFile) -> Source:
    keras = released.file.endswith(".h5")
    file = WeightFile(
        file=released.file,
        urls=released.urls,
        folder=FOLDER,
        size=released.size,
        about_bytes=released.about_bytes,
        most_bytes=_MOST_WEIGHT_BYTES,
        signature=_HDF5_SIGNATURE if keras else b"",
        kind="an HDF5 file" if keras else "a file",
        page=released.page,
        holds=released,
    )
    test = f"python test.py --weights data/{FOLDER}/{released.file} --splits "
    return Source(
        released.about, (file,), test + " ".join(released.scores) if released.scores else ""
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
        prepare_command("refcoco"),
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
        prepare_command("refcoco+"),
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
        prepare_command("refcocog"),
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
                most_bytes=_MOST_SAIAPR_BYTES,
                page="https://www.imageclef.org/SIAPRdata",
            ),
        ),
        prepare_command("refclef"),
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
    "bert": Source(
        "BERT of Google, uncased, 12 layers of 768 channels, for text_encoder=bert",
        (
            Archive(
                file="uncased_L-12_H-768_A-12.zip",
                urls=(f"{_BERT}/uncased_L-12_H-768_A-12.zip",),
                folder="weights/bert",
                members=("*/bert_config.json", "*/vocab.txt", "*/bert_model.ckpt.[id]*"),
                n_files=4,
                about_bytes=407_727_028,
                most_bytes=2 * 407_727_028,
                flat=True,
                page="https://github.com/google-research/bert",
            ),
        ),
        "pip install -c constraints.txt -r requirements-bert.txt",
    ),
    **{released.name: _weights(released) for released in RELEASED},
}
