"""Images that training and evaluation sets share, across data sets."""

import pytest

from data.check import main
from data.loading.annotations import Referent, write_annotations
from data.preparation.leakage import shared_images
from data.preparation.sidecars.no_target import NoTarget, write_no_target

BOX = (0, 0, 10, 10)


def referents(*images):
    return [Referent(image, BOX, 0, number, ("dog",)) for number, image in enumerate(images)]


def test_images_of_coco_are_recognized_by_their_id():
    first = ["COCO_train2014_000000000009.jpg", "a.jpg", "000000000007.png"]
    second = ["train/000000000009.jpg", "b/a.jpg", "COCO_val2014_000000000007.jpg", "9.jpg"]
    assert shared_images(first, second) == [
        "COCO_val2014_000000000007.jpg",
        "train/000000000009.jpg",
    ]
    assert shared_images(second, ["b/a.jpg", "a.jpg"]) == ["b/a.jpg"]


def test_images_of_expressions_without_a_target_count(sets, tmp_path, capsys):
    write_no_target(tmp_path, [NoTarget(1, ("x",), "COCO_train2014_000000000002.jpg", ("dog",))])
    assert main(["--train_sets", sets["a"], "--evaluate_sets", sets["x"]]) == 1
    assert "x.txt: 2 images\n" in capsys.readouterr().out


@pytest.fixture
def sets(tmp_path):
    """Paths of the lines of two training and two evaluation sets."""
    names = [f"COCO_train2014_{number:012}.jpg" for number in range(5)]
    content = {"a": names[:3], "b": names[1:4], "val": [names[0], names[3], names[3]], "x": ["x"]}
    for name, images in content.items():
        write_annotations(tmp_path / f"{name}.txt", referents(*images))
    return {name: str(tmp_path / f"{name}.txt") for name in content}


def test_the_command_names_the_images_of_each_pair(sets, capsys):
    options = ["--train_sets", sets["a"], sets["b"], "--evaluate_sets", sets["val"], sets["x"]]
    assert main(options) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{sets['val']}: 2 images",
        f"  in {sets['a']}: 1 (COCO_train2014_000000000000.jpg)",
        f"  in {sets['b']}: 1 (COCO_train2014_000000000003.jpg)",
        "  in any of them: 2",
        f"{sets['x']}: 1 image",
        f"  in {sets['a']}: none",
        f"  in {sets['b']}: none",
        "  in any of them: 0",
        "",
        "1 evaluation set with images of a training set",
    ]
    assert main(["--train_sets", sets["a"], "--evaluate_sets", sets["x"]]) == 0


def test_sets_that_cannot_be_read_are_named(sets, capsys):
    assert main(["--train_sets", sets["a"], "--evaluate_sets", sets["a"] + "x"]) == 2
    assert "a.txtx: no such annotation file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [[], ["--evaluate_sets", "b", "--quick"], ["--evaluate_sets", "b", "--config", "c.json"]],
)
def test_the_options_need_each_other_alone(more, capsys):
    with pytest.raises(SystemExit):
        main(["--train_sets", "a", *more])
    assert "--train_sets" in capsys.readouterr().err
