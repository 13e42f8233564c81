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


def test_all_shared_images_are_listed_in_a_file(tmp_path, capsys):
    names = [f"COCO_train2014_{number:012}.jpg" for number in range(30)]
    later = [name.removeprefix("COCO_train2014_") for name in names[5:]]
    for name, images in {"train": names, "val": names[10:20], "new": [*later, "x.jpg"]}.items():
        write_annotations(tmp_path / f"{name}.txt", referents(*images))
    train, val, new = (str(tmp_path / f"{name}.txt") for name in ("train", "val", "new"))
    file = tmp_path / "shared"
    sets = ["--train_sets", train, "--evaluate_sets", val, new]
    options = [*sets, "--list_shared_images", str(file)]
    assert main(options) == 1
    assert capsys.readouterr().out.endswith(f"\n35 images → {file}\n")
    assert file.read_text().splitlines() == [*later, *names[10:20]]  # As the sets name them.
    assert main(options) == 2  # The list of an earlier check is kept.
    assert f"{file}: exists already; name another file" in capsys.readouterr().err
    (tmp_path / "other.txt").write_text("y.jpg 0,0,9,9,0,0 ~ dog\n")
    none = ["--train_sets", train, "--evaluate_sets", str(tmp_path / "other.txt")]
    assert main([*none, "--list_shared_images", str(tmp_path / "none")]) == 0
    assert (tmp_path / "none").read_bytes() == b""


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


def test_shared_images_are_listed_of_sets_that_are_named(capsys):
    with pytest.raises(SystemExit):
        main(["--list_shared_images", "shared.txt"])
    said = capsys.readouterr().err
    assert "--list_shared_images needs --train_sets and --evaluate_sets" in said
