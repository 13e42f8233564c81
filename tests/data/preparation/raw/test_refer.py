import hashlib
import json
import os
import pickle
import re
import struct

import numpy as np
import pytest

from config.errors import UserError
from data.preparation.raw import refer
from data.preparation.raw.plain_pickle import UnreadablePickleError, safe_unpickle
from data.preparation.raw.raw_set import SPLITS, check_split
from data.preparation.raw.reading import read_raw_set
from tests.limits import memory_within


class Hostile:
    """Calls a function when Python's own unpickler reads it."""

    def __init__(self, call, *arguments):
        self.reduced = (call, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(protocol):
    plain = {
        "list": [1, -(2**70), 2.5, True, None],
        "tuple": ("text", "größe"),
        "dict": {"": {}, "größe": {"a": 1, "b": 2}},
    }
    if protocol >= 3:  # Before, Python 3 writes bytes as a call of an encoder.
        plain["bytes"] = [b"bytes \xff", b""]
    assert safe_unpickle(pickle.dumps(plain, protocol), "refs.p") == plain


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # As Python 2 writes [{'sent': 'caf\xc3\xa9', 'id': 5L}] and similar values.
        (b"\x80\x02]q\x01}q\x02(U\x04sentq\x03U\x05caf\xc3\xa9q\x04U\x02idq\x05\x8a\x01\x05ua.",
         [{"sent": "café", "id": 5}]),
        (b"\x80\x02]q\x01U\x04caf\xe9q\x02a.", ["café"]),
        (b"(lp1\nS'one'\np2\naV\\u00e9\np3\naL5L\na.", ["one", "é", 5]),
        (b"(lp1\n(dp2\nS'sent'\np3\nS'left car'\np4\nsS'id'\np5\nI7\nsa.",
         [{"sent": "left car", "id": 7}]),
    ],
)  # fmt: skip
def test_pickles_of_python_2(content, expected):
    assert safe_unpickle(content, "refs.p") == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol):
    mark = tmp_path / "was_here"
    content = pickle.dumps([Hostile(os.mkdir, str(mark))], protocol)
    with pytest.raises(UnreadablePickleError, match=r"refs\(unc\)\.p: refused.*(posix|nt)\.mkdir"):
        safe_unpickle(content, "refs(unc).p")
    assert not mark.exists()
    pickle.loads(content)  # Python's own unpickler runs it.
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (pickle.dumps(Hostile(eval, "1")), "builtins.eval"),
        (pickle.dumps(Hostile(getattr, "a", "b")), "builtins.getattr"),
        (pickle.dumps(np.float32(1)), r"numpy"),
        (pickle.dumps(np.zeros(3)), r"numpy"),
        (b"\x80\x02(U\x02id(ios\nsystem\n.", "os.system"),
        (b"cbuiltins\nset.__init__.__globals__\n.", "set.__init__"),
        (b"\x80\x02\x82\x01.", "refused|registered"),
        (b"\x80\x02U\x03abcQ.", "object outside"),
        (
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
            "_codecs.encode",
        ),
        (
            b"c__builtin__\n\x1b[31m" + b"x" * 9_999 + b"\n.",
            r"__builtin__\.\\x1b\[31mx{50,90}…, but",
        ),
        *[(pickle.dumps(plain, 4), "sets, buffers or objects") for plain in ({1}, frozenset("a"))],
        *[
            (pickle.dumps(plain, 2), r"builtin__?s?\.(froz)?e?n?set")
            for plain in ({1}, frozenset("a"))
        ],
        (pickle.dumps({1: "a"}), "1 is the key of a dict"),
        (pickle.dumps({"a": 1, (): 2}, 0), r"\[\] is the key of a dict"),
        (b"K\x01)R.", "sets, buffers or objects"),
        (pickle.dumps(bytearray(b"a"), 5), "sets, buffers or objects"),
        (b"\x80\x05C\x01a\x98.", "sets, buffers or objects"),
        (b"\x80\x05\x97.", "sets, buffers or objects"),
    ],
)
def test_everything_else_is_refused_by_name(content, named):
    with pytest.raises(UnreadablePickleError, match=named) as caught:
        safe_unpickle(content, "raw/refs.p")
    assert str(caught.value).startswith("raw/refs.p: ")


@pytest.mark.parametrize("double", [b"2\x86", b"q\x00h\x00\x86"])
@pytest.mark.parametrize("of_dict", [(b"}", b"K\x01s."), (b"}(", b"K\x01u."), (b"(", b"K\x01d.")])
def test_tuples_of_tuples_are_never_hashed(double, of_dict):
    """Their hash would take 2^60 steps."""
    before, after = of_dict
    with pytest.raises(UnreadablePickleError, match="is the key of a dict, not a string"):
        safe_unpickle(b"\x80\x04" + before + b")" + double * 60 + after, "refs.p")


def test_nothing_in_a_pickle_is_copied():
    """A call of `set` or `encode` with something that was read takes five bytes."""
    text = b"X" + struct.pack("<I", 1_000_000) + b"x" * 1_000_000 + b"q\x00"
    encode = b"c_codecs\nencode\nq\x01U\x06latin1q\x02"
    copies = b"](" + b"h\x01h\x00h\x02\x86R" * 300 + b"e."
    with memory_within(20_000_000), pytest.raises(UnreadablePickleError, match="refused"):
        safe_unpickle(b"\x80\x04" + text + encode + copies, "refs.p")


@pytest.mark.parametrize("piece", [b"(", b"]", b"}", b"2\x86", b"\x85", b"\x94", b"](", b"(l"])
def test_a_pickle_of_empty_lists_is_refused_in_memory_of_the_order_of_the_file(piece):
    content = b"\x80\x04)" + piece * (4_000_000 // len(piece)) + b"."
    with memory_within(100_000_000), pytest.raises(UnreadablePickleError, match=r"^refs.p: refus"):
        safe_unpickle(content, "refs.p")


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_referents_of_single_words_are_no_pickle_of_empty_lists(protocol, is_short):
    def sentence(number):
        word = "".join(["r", "ed"])  # Not the same object each time.
        needed = {"sent": word, "tokens": [word]}
        return needed if is_short else needed | {"raw": word + " ", "sent_id": number}

    refs = [
        {
            **{"ref_id": number, "ann_id": number, "image_id": number, "category_id": 1},
            **({} if is_short else {"sent_ids": [3 * number, 3 * number + 1, 3 * number + 2]}),
            "split": "train",
            "sentences": [sentence(3 * number + k) for k in range(3)],
        }
        for number in range(5000)
    ]
    assert safe_unpickle(pickle.dumps(refs, protocol), "refs.p") == refs


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x02]q\x01",
        b"\x80\x99.",
        b"\x80\x02U\x01\xe9K",
        pickle.dumps([1] * 99)[:-9],
    ],
)
def test_damaged_pickles_are_named(content):
    with pytest.raises(UnreadablePickleError, match=r"refs\.p: not a readable pickle"):
        safe_unpickle(content, "refs.p")


@pytest.fixture
def raw(tmp_path):
    """The parts of one referent and a function that writes and reads them."""
    ref = {
        "ref_id": 7,
        "ann_id": 70,
        "image_id": 700,
        "category_id": 3,
        "split": "val",
        "file_name": "COCO_train2014_000000000700_70.jpg",
        "sentences": [{"sent": "left car", "sent_id": 0}, {"sent": "red one", "sent_id": 1}],
    }
    annotation = {"id": 70, "bbox": [1.5, 2, 30, 20.9], "segmentation": [[0, 0, 9, 0, 9, 9]]}
    image = {"id": 700, "file_name": "COCO_train2014_000000000700.jpg", "width": 64, "height": 48}

    def load(split_by="unc", dataset="refcoco"):
        folder = tmp_path / dataset
        folder.mkdir(exist_ok=True)
        instances = {"images": [image], "annotations": [annotation]}
        (folder / "instances.json").write_text(json.dumps(instances))
        (folder / f"refs({split_by}).p").write_bytes(pickle.dumps([ref], 2))
        return read_raw_set(tmp_path, dataset, split_by).referents

    return ref, annotation, image, load


def test_a_referent_is_joined_with_annotation_and_image(raw):
    (referent,) = raw[-1]()
    assert referent.image == "COCO_train2014_000000000700.jpg"
    assert (referent.width, referent.height) == (64, 48)
    assert referent.box_xywh_px == (1.5, 2, 30, 20.9)
    assert referent.expressions == ("left car", "red one")
    assert (referent.ref_id, referent.category_id, referent.splits) == (7, 3, ("val",))


@pytest.mark.parametrize(
    ("part", "key", "value", "fault"),
    [
        (0, "ann_id", 71, "referent 7: key 'ann_id' is 71, but must be the id of an annotation"),
        (0, "ann_id", [70], "referent 7: key 'ann_id' is [70]"),
        (0, "image_id", 701, "referent 7: key 'image_id' is 701, but must be the id of an image"),
        (
            0,
            "split",
            "test",
            "'split' is \"test\", but must be one of train, val, testA, testB",
        ),
        (0, "ref_id", "seven", 'referent "seven": key \'ref_id\' is "seven", but must be a whole'),
        (
            0,
            "category_id",
            {"a": 3},
            "referent 7: key 'category_id' is {\"a\": 3}, but must be a whole",
        ),
        (0, "sentences", None, "referent 7: key 'sentences' is missing"),
        (0, "sentences", [{"sent": 1}], "referent 7: key 'sentences' is [{\"sent\": 1}]"),
        (1, "bbox", [1, 2, 3], "annotation 70: key 'bbox' is [1, 2, 3], but must be four numbers"),
        (1, "bbox", [1, 2, 3, 2**60], f"annotation 70: key 'bbox' is [1, 2, 3, {2**60}]"),
        (1, "bbox", ["1", 2, 3, 4], "annotation 70: key 'bbox' is [\"1\", 2, 3, 4]"),
        (2, "width", 0, "image 700: key 'width' is 0, but must be a whole number, 1 or more"),
        (2, "height", "48", "image 700: key 'height' is \"48\""),
        (2, "file_name", "", "image 700: key 'file_name' is \"\", but must be a file name"),
    ],
)
def test_impossible_values_are_named(raw, part, key, value, fault):
    raw[part][key] = value
    file = "refs(unc).p" if part == 0 else "instances.json"
    with pytest.raises(UserError, match=re.escape(f"{file}: ") + ".*" + re.escape(fault)):
        raw[-1]()


@pytest.mark.parametrize(
    ("part", "key", "place"),
    [
        (0, "ann_id", "refs(unc).p: referent 7"),
        (0, "sentences", "refs(unc).p: referent 7"),
        (0, "ref_id", "refs(unc).p: referent number 0 (from 0)"),
        (1, "bbox", "instances.json: annotation 70"),
        (2, "file_name", "instances.json: image 700"),
        (2, "width", "instances.json: image 700"),
    ],
)
def test_missing_values_are_named(raw, part, key, place):
    del raw[part][key]
    with pytest.raises(UserError, match=re.escape(f"{place}: key '{key}' is missing")):
        raw[-1]()


@pytest.mark.parametrize(
    ("split_by", "value", "splits"),
    [
        ("unc", "testA", ("testA",)),
        ("unc", "testAB", ("testA", "testB")),
        ("unc", "testBC", ("testB", "testC")),
        ("unc", "testCA", ("testA", "testC")),
        ("unc", "testABC", ("testA", "testB", "testC")),
        ("unc", "train", ("train",)),
        ("berkeley", "test", ("test",)),
        ("berkeley", "testAB", ("test",)),
        ("unc", "test", None),
        ("unc", "testAD", None),
        ("unc", "testd", None),
        ("unc", "Train", None),
        ("unc", "trainA", None),
        ("unc", "", None),
        ("unc", None, None),
        ("unc", ["train"], None),
        ("berkeley", "testing", None),
    ],
)
def test_a_referent_belongs_to_each_split_that_it_names(raw, split_by, value, splits):
    ref, _, _, load = raw
    ref["split"] = value
    if splits is not None:
        assert load(split_by, "refclef")[0].splits == splits
    else:
        with pytest.raises(
            UserError, match=r"referent 7: key 'split' (is|.*missing).* one of train"
        ):
            load(split_by, "refclef")


def test_two_referents_with_one_id_are_refused(raw, tmp_path):
    ref, _, _, load = raw
    load()
    path = tmp_path / "refcoco" / "refs(unc).p"
    path.write_bytes(pickle.dumps([ref, ref | {"split": "train"}]))
    with pytest.raises(UserError, match=r"refs\(unc\)\.p: two referents have the 'ref_id' 7"):
        read_raw_set(tmp_path, "refcoco", "unc")


@pytest.mark.parametrize("sentences", [[], [{"sent": ""}]])
def test_a_referent_that_a_pickle_repeats_is_refused_at_once(raw, tmp_path, monkeypatch, sentences):
    ref, _, _, load = raw
    load()
    ref["sentences"] = sentences
    repeated = b"\x80\x02](" + pickle.dumps(ref, 2)[2:-1] + pickle.DUP * 1_000_000 + b"e."
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(repeated)
    join, calls = refer._join, []
    monkeypatch.setattr(refer, "_join", lambda *given: calls.append(0) or join(*given))
    with pytest.raises(UserError, match="two referents have the 'ref_id' 7"):
        read_raw_set(tmp_path, "refcoco", "unc")
    assert len(calls) == 2


def test_a_raw_set_knows_the_digests_of_its_files(raw, tmp_path):
    raw[-1]()
    raw_set = read_raw_set(tmp_path, "refcoco", "unc")
    assert raw_set.files == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "refcoco").iterdir()
    }
    assert len(raw_set.files) == 2


def test_missing_files_are_named(tmp_path, raw):
    with pytest.raises(FileNotFoundError, match=r"refcoco\+.refs\(unc\)\.p: no such file"):
        read_raw_set(tmp_path, "refcoco+", "unc")
    raw[-1]()
    (tmp_path / "refcoco" / "instances.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"instances\.json: no such file"):
        read_raw_set(tmp_path, "refcoco", "unc")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[1, 2", "instances.json:1: not valid JSON"),
        (b"\xff", "instances.json:1: not UTF-8 text"),
        (b"[]", "instances.json: not a COCO file"),
    ],
)
def test_broken_instances_are_named(tmp_path, raw, content, fault):
    raw[-1]()
    (tmp_path / "refcoco" / "instances.json").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(fault)):
        read_raw_set(tmp_path, "refcoco", "unc")


@pytest.mark.parametrize(("content", "kind"), [({"a": 1}, "dict"), ([1, 2], "list")])
def test_a_pickle_of_something_else_is_named(tmp_path, raw, content, kind):
    raw[-1]()
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=rf"refs\(unc\)\.p: .*{kind}.* must be a list of referents"):
        read_raw_set(tmp_path, "refcoco", "unc")


def test_splits_that_do_not_exist_are_refused_with_a_list():
    with pytest.raises(UserError, match="refcoco: unc, google; refcoco\\+: unc; refcocog: umd, g"):
        check_split("refcoco+", "umd")
    for pair, splits in SPLITS.items():
        check_split(*pair)
        # Their files must differ on disks that ignore case.
        assert len({split.lower() for split in splits}) == len(splits)


def test_expressions_that_a_pickle_repeats_are_not_expanded(raw, tmp_path):
    """Every referent refers to the same list, in two bytes."""
    ref, *_, load = raw
    load()
    sentences = [{"sent": "left car"}] * 2_000
    refs = [ref | {"ref_id": number, "sentences": sentences} for number in range(10_000)]
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))
    with (
        memory_within(50_000_000),
        pytest.raises(UnreadablePickleError, match=r"refs\(unc\)\.p: refused: .* repeat the same"),
    ):
        read_raw_set(tmp_path, "refcoco", "unc")
