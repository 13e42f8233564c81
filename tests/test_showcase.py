"""The choice of the scenes that the demo network is shown with."""

import json

import pytest
from PIL import Image

from config.command_line import exit_code
from config.errors import UserError
from config.schema import PROJECT_ROOT
from data.loading.annotations import Referent, read_annotations
from model.weights import save_weights
from utils import showcase
from utils.prediction.jobs import jobs_from_list
from utils.showcase import best_scenes, check_output, check_sheet, main, write_showcase

DEMO_MODEL = PROJECT_ROOT / "data" / "demo_model"


def referent(image, *expressions):
    return Referent(image, (1, 2, 30, 40), 0, 7, expressions)


REFERENTS = [
    referent("a.jpg", "a1", "a1 again"),  # 0, 1
    referent("b.jpg", "b1"),  # 2
    referent("a.jpg", "a2"),  # 3
    referent("c.jpg", "c1"),  # 4: the only referent of its image
    referent("b.jpg", "b2"),  # 5
    referent("b.jpg", "b3"),  # 6
]
QUALITIES = {0: 0.5, 1: 0.8, 2: 0.9, 3: 0.7, 4: 1.0, 5: 0.2, 6: 0.6}


def texts(scenes):
    return [[answered.referent.expressions for answered in scene] for scene in scenes]


def test_images_are_ranked_by_the_worst_of_their_two_best_referents():
    scenes = best_scenes(REFERENTS, QUALITIES, 2)
    assert texts(scenes) == [[("b1",), ("b3",)], [("a2",), ("a1 again", "a1")]]
    assert scenes[1][1].qualities == (0.8, 0.5)
    assert texts(best_scenes(REFERENTS, QUALITIES, 1)) == texts(scenes)[:1]


def test_referents_that_were_not_measured_are_left_out():
    measured = {index: QUALITIES[index] for index in (0, 2, 3, 4, 5)}
    assert texts(best_scenes(REFERENTS, measured, 1)) == [[("b1",), ("b2",)]]


def test_sets_of_few_images_are_refused():
    with pytest.raises(UserError, match="has 2 images with two referents: choose fewer --scenes"):
        best_scenes(REFERENTS, QUALITIES, 3)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for shade, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        Image.new("RGB", (50, 50), (80 * shade, 0, 0)).save(folder / name)
    return folder


def files(folder):
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(path) for path in found if path.name != ".scenes.lock")


def test_what_is_written_fits_together(images, tmp_path):
    output = tmp_path / "out"
    write_showcase(best_scenes(REFERENTS, QUALITIES, 2), images, output)
    assert files(output) == [
        "scenes.jsonl", "scenes.txt", "scenes/scene_1.jpg", "scenes/scene_2.jpg",
    ]  # fmt: skip
    assert (output / "scenes/scene_1.jpg").read_bytes() == (images / "b.jpg").read_bytes()
    written = read_annotations(output / "scenes.txt")
    assert [(r.image, r.expressions) for r in written] == [
        ("scene_1.jpg", ("b1",)),
        ("scene_1.jpg", ("b3",)),
        ("scene_2.jpg", ("a2",)),
        ("scene_2.jpg", ("a1 again", "a1")),
    ]
    jobs = jobs_from_list(output / "scenes.jsonl")
    assert [(job.image.name, job.expressions) for job in jobs] == [
        ("scene_1.jpg", ("b1", "b3")),
        ("scene_2.jpg", ("a2", "a1 again")),
    ]
    assert all(job.image.is_file() for job in jobs)


@pytest.mark.parametrize("name", ["scenes", "scenes.txt", "scenes.jsonl"])
def test_nothing_that_exists_is_replaced(tmp_path, name):
    check_output(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    check_output(tmp_path)
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")  # Links to nothing count as well.
    with pytest.raises(UserError, match=rf"{name}: exists already; move it, or name another --out"):
        check_output(tmp_path)


def test_files_that_appear_during_the_evaluation_are_kept(images, tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "scene_1.jpg").write_text("mine")
    (tmp_path / "scenes.txt").write_text("mine")
    write_showcase(best_scenes(REFERENTS, QUALITIES, 1), images, tmp_path)
    for kept in ("scenes/scene_1.jpg.2", "scenes.txt.2"):
        assert (tmp_path / kept).read_text() == "mine"


@pytest.mark.parametrize("interrupted", ["copyfile", "write_annotations", "write_text"])
def test_an_interruption_leaves_nothing_and_the_command_can_be_repeated(
    images, tmp_path, monkeypatch, interrupted
):
    output, scenes = tmp_path / "out", best_scenes(REFERENTS, QUALITIES, 2)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(showcase.shutil if interrupted == "copyfile" else showcase, interrupted, stop)
        with pytest.raises(KeyboardInterrupt):
            write_showcase(scenes, images, output)
    assert files(output) == []
    check_output(output)
    write_showcase(scenes, images, output)
    assert len(files(output)) == 4


@pytest.mark.slow
def test_the_command(network, tiny_set, tmp_path, capsys):
    weights = tmp_path / "run" / "best.weights.h5"
    save_weights(network(), weights)
    (weights.parent / "config.json").write_text(json.dumps(tiny_set.config().to_dict()))
    arguments = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--scenes"]
    main([*arguments, "2"])
    assert f"The best 2 of 4 images are in {tmp_path}/out/" in capsys.readouterr().out
    assert len(jobs_from_list(tmp_path / "out" / "scenes.jsonl")) == 2
    assert exit_code(lambda: main([*arguments, "2"]), "hint") == 2
    assert "out/scenes: exists already" in capsys.readouterr().err
    arguments[3] = str(tmp_path / "other")
    assert exit_code(lambda: main([*arguments, "4"]), "hint") == 2
    assert "2 images with two referents" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "0"])
    assert "--scenes must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sheet_of_answers(network, tiny_set, tmp_path, capsys, monkeypatch):
    weights = tmp_path / "run" / "best.weights.h5"
    save_weights(network(), weights)
    (weights.parent / "config.json").write_text(json.dumps(tiny_set.config().to_dict()))
    path = tmp_path / "new" / "demo.jpg"
    arguments = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--sheet", str(path)]
    main(arguments)
    assert f"The best, median and worst answers are in {path}" in capsys.readouterr().out
    with Image.open(path) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width == 1500
        assert sheet.height > 3 * 100
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(showcase, "draw_sheet", lambda *_: b"another")
    main([*arguments, "--overwrite"])
    assert path.read_bytes() == b"another"

    def replaced_meanwhile(*_):
        weights.write_bytes(weights.read_bytes())
        return b"of other settings"

    monkeypatch.setattr(showcase, "draw_sheet", replaced_meanwhile)
    with pytest.raises(UserError, match="was replaced while it was loaded"):
        main([*arguments, "--overwrite"])
    assert path.read_bytes() == b"another"


def test_a_sheet_replaces_nothing_without_overwrite(tmp_path):
    path = tmp_path / "demo.jpg"
    check_sheet(path, overwrite=False)
    path.write_text("mine")
    with pytest.raises(UserError, match=r"demo\.jpg: exists already; .* by --overwrite"):
        check_sheet(path, overwrite=False)
    check_sheet(path, overwrite=True)
    (tmp_path / "link.jpg").symlink_to(path)
    with pytest.raises(UserError, match="is a link"):
        check_sheet(tmp_path / "link.jpg", overwrite=True)
    with pytest.raises(UserError, match=r"name a file that ends with \.jpg"):
        check_sheet(tmp_path / "demo.png", overwrite=True)


def test_the_list_of_the_demo_network_is_that_of_its_scenes():
    scenes = read_annotations(DEMO_MODEL / "scenes.txt")
    jobs = jobs_from_list(DEMO_MODEL / "scenes.jsonl")
    assert [job.image for job in jobs] == [
        DEMO_MODEL / "scenes" / image for image in dict.fromkeys(r.image for r in scenes)
    ]
    listed = [text for job in jobs for text in job.expressions]
    assert listed == [referent.expressions[0] for referent in scenes]
    assert {job.image.name for job in jobs} == {p.name for p in (DEMO_MODEL / "scenes").iterdir()}


def test_the_examples_of_the_documents_are_scenes_of_the_list():
    """Those with the best answers, which change whenever the network does."""
    first = jobs_from_list(DEMO_MODEL / "scenes.jsonl")[0]
    for name in ("README.md", "docs/library.md"):
        text = (PROJECT_ROOT / name).read_text(encoding="utf-8")
        assert first.image.relative_to(PROJECT_ROOT).as_posix() in text
        assert json.dumps(list(first.expressions)) in text
