"""The ids of a data set beside its annotation lines."""

import json

import pytest

from data.loading.annotations import Referent
from data.loading.errors import DataError
from data.preparation.sidecars.ids import ReferentIds, read_ids, write_ids
from tests.data.raw_set import read_lines, run

BOX = (0, 0, 10, 10)


def test_preparation_keeps_the_ids_of_the_data_set(raw, tmp_path):
    raw(lambda refs: refs[0]["sentences"].append({"sent": " ~ ", "sent_id": 900}))
    assert run(raw, tmp_path) == 0
    ids = read_ids(tmp_path / "out/anns/refcoco")
    referents = {referent.mask_id: referent for referent in read_lines(tmp_path)}
    assert ids.keys() == referents.keys()
    assert ids[9000] == ReferentIds(9000, (501,), ((0, "the man in red"), (1, "left guy")))
    # An expression that preparation drops has no id, one that it repairs keeps its own.
    assert ids[9021].sentences == ((5, "Whole Triangle"),)
    for mask_id, referent in referents.items():
        assert None not in ids[mask_id].expression_ids(referent)
        assert [text for _, text in ids[mask_id].sentences] == list(referent.expressions)


def test_raw_files_without_ids_of_expressions_are_prepared(raw, tmp_path):
    raw(lambda refs: [sentence.pop("sent_id") for ref in refs for sentence in ref["sentences"]])
    assert run(raw, tmp_path) == 0
    assert read_ids(tmp_path / "out/anns/refcoco")[9000] == ReferentIds(9000, (501,), ())


def test_edited_expressions_have_no_id():
    ids = ReferentIds(7, (1,), ((3, "dog"), (4, "left dog"), (5, "dog")))
    edited = Referent("a.png", BOX, 0, 7, ("dog", "right dog", "dog", "dog", "left dog"))
    assert ids.expression_ids(edited) == [3, None, 5, None, 4]


def test_ids_come_back(tmp_path):
    ids = [
        ReferentIds(1, (5,), ((3, "größe"), (4, "left"))),
        ReferentIds(2, ("12_3",), ()),
        ReferentIds(3, (), ()),
        ReferentIds(4, (5, 6), ()),
        ReferentIds(5, (), ((7, "no target"),)),
        ReferentIds(6, (), ((7, "red kite"),), "id"),
    ]
    write_ids(tmp_path, ids)
    assert list(read_ids(tmp_path).values()) == ids
    assert read_ids(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ([], "'ref_id' is missing|'ann_id' is missing"),
        ({"ref_id": -1, "ann_id": 1, "sentences": []}, "key 'ref_id' is -1"),
        ({"ref_id": 1, "ann_id": 1.5, "sentences": []}, "key 'ann_id' is 1.5"),
        ({"ref_id": 1, "ann_id": 1, "sentences": [3]}, "key 'sentences' is"),
        ({"ref_id": 1, "ann_id": 1, "sentences": [{"sent_id": 1}]}, "key 'expression' is missing"),
        ({"ref_id": 1, "ann_id": 1, "sentences": [{}, {"id": 2}]}, "key 'id' is missing"),
        ({"ref_id": 9, "ann_id": 1, "sentences": []}, "key 'ref_id' 9 is also that of an earlier"),
    ],
)
def test_damaged_files_are_refused(tmp_path, line, fault):
    good = {"ref_id": 9, "ann_id": 1, "sentences": []}
    (tmp_path / "ids.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(line)}\n")
    with pytest.raises(DataError, match=rf"ids\.jsonl:2: .*({fault})"):
        read_ids(tmp_path)
