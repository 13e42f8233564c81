"""An import is complete or changes nothing, whatever interrupts it."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.errors import UserError
from data.loading.errors import DataError
from data.preparation.manifest import check_pairing, is_as_written
from data.preparation.own import importing, objects, writing
from data.preparation.own.entries import read_json_lines
from data.preparation.own.importing import import_data
from data.preparation.sidecars.ids import ReferentIds, read_ids
from data.support import staging
from tests.data.preparation.own.own_photos import HEIGHT, WIDTH, Photos, square_mask, thing

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def photos(tmp_path):
    return Photos(tmp_path)


@pytest.fixture
def imported(photos):
    """Photographs of which a set was imported, and the files of that set."""
    assert photos.run(photos.write(thing(), thing(image="b.png", split="old"))) == 0
    return photos, photos.files()


@pytest.mark.parametrize(
    "changes",
    [
        {"expressions": ["kite \ud83d"]},
        {"image": "\ud83d.jpg"},
        {"split": "x" * 300},
        {"split": "größe"},
        {"category": 2**53 + 1},
        {"category": 0.5},
        {"expressions": [["red"]]},
        {"split": ["train"]},
        {"image": "a\0.jpg"},
        {"image": "x" * 300},
    ],
)
def test_an_object_that_cannot_be_stored_leaves_the_former_set(imported, capsys, changes):
    photos, before = imported
    path = photos.write(thing(expressions=["new"]), thing(**changes))
    assert photos.run(path, "--overwrite") == 2
    assert f"{path}:2: " in capsys.readouterr().err
    assert photos.files() == before


INTERRUPTED = [
    (importing, "open_image"),
    (importing, "prepare_entry"),
    (importing, "write_masks"),
    (importing, "write_annotations"),
    (importing, "write_config"),
    (importing, "replaced_files_of_others"),
    (importing, "write_manifests"),
    (staging, "_flush"),
    (staging, "_write_note"),
]


@pytest.mark.parametrize(("module", "function"), INTERRUPTED)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("calls", [1, 2])
def test_an_interruption_leaves_the_former_set(
    imported, capsys, monkeypatch, module, function, error, calls
):
    photos, before = imported
    original, count = getattr(module, function), 0

    def interrupted(*arguments, **named):
        nonlocal count
        count += 1
        result = original(*arguments, **named)
        if count >= calls:
            raise error("interrupted")
        return result

    monkeypatch.setattr(module, function, interrupted)
    path = photos.write(thing(split="train"), thing(image="b.png", split="val"))
    code = photos.run(path, "--overwrite")
    if count >= calls:
        assert code == (130 if error is KeyboardInterrupt else 2)
        assert photos.files() == before
    monkeypatch.undo()
    assert photos.run(path, "--overwrite") == 0
    assert len(photos.lines("val")) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_first_import_that_is_interrupted_leaves_nothing(photos, monkeypatch):
    monkeypatch.setattr(importing, "write_config", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        photos.run(photos.write(thing()))
    assert photos.files() == {}


def noisy_masks(photos, count):
    """Objects whose masks take about 2 kB each, because each pixel is a run of its own."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 2, (HEIGHT, WIDTH), np.uint8) * 255
        Image.fromarray(noise).save(photos.folder / f"noise{number}.png")
    return [thing(polygon=None, box=None, mask=f"noise{k}.png") for k in range(count)]


@pytest.mark.parametrize("size", [60_000, 80_000, 100_000])
def test_a_full_disk_leaves_the_former_set(photos, small_disk, capsys, size):
    photos.out = small_disk(size)
    assert photos.run(photos.write(thing(expressions=["old"]))) == 0
    before = photos.files()
    path = photos.write(*noisy_masks(photos, 80))
    assert photos.run(path, "--overwrite") == 2
    said = capsys.readouterr().err
    assert "the disk is full" in said or "needs" in said
    assert "free some space" in said
    assert "Traceback" not in said
    assert photos.files() == before
    assert photos.run(photos.write(thing(expressions=["new"])), "--overwrite") == 0
    assert photos.lines("train")[0].expressions == ("new",)


def test_the_space_is_checked_before_anything_is_written(photos, small_disk, monkeypatch, capsys):
    photos.out = small_disk(60_000)
    monkeypatch.setattr(importing, "write_masks", lambda *_: 1 / 0)
    path = photos.write(*[thing(expressions=["long " * 200])] * 100)
    assert photos.run(path) == 2
    said = capsys.readouterr()
    assert re.search(rf"^the import of mine needs about 1.* in {photos.out}", said.out, re.M)
    assert "the import of mine needs 1" in said.err


def test_the_estimate_of_the_space_is_not_too_small(photos):
    path = photos.write(*[thing(expressions=["x" * n]) for n in range(1, 40)])
    data = read_json_lines([path])
    images = {"a.jpg": objects.open_image(data.entries[0], photos.folder)}
    needed = importing._needed_bytes(data.entries, images)
    assert photos.run(path) == 0
    written = len((photos.out / "anns/mine/train.txt").read_bytes())
    written += len((photos.out / "masks/mine/masks.jsonl").read_bytes())
    assert written <= needed < 10 * written


def test_files_of_the_user_are_kept(imported, capsys):
    photos, _ = imported
    anns, masks = photos.out / "anns/mine", photos.out / "masks/mine"
    (anns / "notes.txt").write_text("mine")
    (anns / "sub").mkdir()
    (anns / "sub/more.txt").write_text("mine, too")
    (masks / "7.npy").write_text("and this")
    (anns / "config.json").write_text('{"epoches": 7}')
    (anns / "masks.jsonl").write_text("notes on masks")
    (masks / "train.txt").write_text("notes on lines")
    edited = (masks / "masks.jsonl").read_text().replace(", ", ",  ")
    (masks / "masks.jsonl").write_text(edited)
    manifest = (anns / "manifest.json").read_text().replace('"expressions": ', '"expressions": 1')
    (anns / "manifest.json").write_text(manifest)
    assert photos.run(photos.write(thing(expressions=["new"])), "--overwrite") == 0
    said = capsys.readouterr().out
    for path in (anns / "config.json", anns / "manifest.json", masks / "masks.jsonl"):
        assert f"{path} is not as the earlier import recorded it and is kept" in said
    own = {"masks.jsonl": "notes on masks", "notes.txt": "mine", "sub/more.txt": "mine, too"}
    own |= {"config.json.2": '{"epoches": 7}', "manifest.json.2": manifest}
    assert {name: (anns / name).read_text() for name in own} == own
    own = {"train.txt": "notes on lines", "masks.jsonl.2": edited, "7.npy": "and this"}
    assert {name: (masks / name).read_text() for name in own} == own
    assert not (anns / "old.txt").exists()
    assert photos.lines("train")[0].expressions == ("new",)


def with_another_mask_image(photos, path):
    Image.fromarray(255 - square_mask() * 255).save(photos.folder / "mask.png")
    return photos.run(path)


def with_filled_boxes(photos, path):
    return photos.run(path, "--masks_from_boxes", "--image_path", photos.folder / "wide")


@pytest.mark.parametrize("again", [with_another_mask_image, with_filled_boxes])
def test_lines_are_not_paired_with_the_masks_of_another_import_of_the_same_file(
    photos, again, tmp_path
):
    (photos.folder / "wide").mkdir()
    Image.new("RGB", (2 * WIDTH, HEIGHT)).save(photos.folder / "wide/a.jpg")
    mask = {"mask": "mask.png"} if again is with_another_mask_image else {}
    path = photos.write(thing(polygon=None, **mask))
    assert photos.run(path, "--masks_from_boxes") == 0
    first, photos.out = photos.out, tmp_path / "again"
    assert again(photos, path) == 0
    lines, masks = "anns/mine/train.txt", "masks/mine"
    for folder in (first, photos.out):
        check_pairing(folder / lines, folder / masks)
    for one, other in ((first, photos.out), (photos.out, first)):
        with pytest.raises(DataError, match=r"the lines are of mine .* but the masks in"):
            check_pairing(one / lines, other / masks)


@pytest.mark.parametrize("part", ["anns", "masks"])
@pytest.mark.parametrize("manifest", [None, "refcoco"])
def test_a_folder_of_something_else_is_never_replaced(photos, capsys, part, manifest):
    folder = photos.out / part / "mine"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("of another program")
    if manifest:
        writing.write_text(
            folder / "manifest.json",
            '{"dataset": "mine", "division": "unc", "raw_files": {}, "masks": true, "splits": {}, '
            '"files": {}}',
        )
    before = photos.files()
    for options in ((), ("--overwrite",)):
        assert photos.run(photos.write(thing()), *options) == 2
        assert photos.files() == before
    assert f"{folder} was not written by this command" in capsys.readouterr().err


def test_an_empty_folder_is_filled(photos):
    (photos.out / "anns/mine").mkdir(parents=True)
    assert photos.run(photos.write(thing())) == 0


def test_lines_and_masks_are_of_the_same_import(photos):
    assert photos.run(photos.write(thing())) == 0
    assert photos.run(photos.write(thing(image="b.png")), name="other") == 0
    lines = photos.out / "anns/mine/train.txt"
    check_pairing(lines, photos.out / "masks/mine")
    with pytest.raises(UserError, match="the masks in"):
        check_pairing(lines, photos.out / "masks/other")


def test_splits_that_differ_only_in_case_are_refused(photos, capsys):
    path = photos.write(thing(split="Val"), thing(), thing(split="val"))
    assert photos.run(path) == 2
    assert f"{path}:3: key 'split' is val, and in {path}:1 it is Val" in capsys.readouterr().err
    assert photos.run(photos.write(thing(split="Train"), thing())) == 2


def test_repeated_objects_are_reported(photos, capsys):
    path = photos.write(thing(), thing(expressions=["other"]), thing())
    assert photos.run(path) == 0
    expected = f"objects with the image, box and expressions of an earlier one: 1 ({path}:3)"
    assert expected in capsys.readouterr().out


def test_paths_that_a_config_cannot_contain_are_refused(photos, capsys):
    path, folder = photos.write(thing()), photos.folder
    strange = folder.with_name(os.fsdecode(b"caf\xe9"))
    folder.rename(strange)
    assert photos.run(strange / path.name) == 2
    assert "which is not valid UTF-8; rename the folder" in capsys.readouterr().err
    assert photos.files() == {}


def test_masks_are_not_all_in_memory_at_once(photos, monkeypatch):
    """Results are computed only a few ahead of those that are written."""
    made, most, original, write = 0, 0, objects.prepare_entry, importing.write_masks

    def counted(*arguments):
        nonlocal made
        made += 1
        return original(*arguments)

    def slow(folder, masks):
        nonlocal most
        for written, _ in enumerate(masks, start=1):
            time.sleep(0.002)
            most = max(most, made - written)
        write(folder, [])

    monkeypatch.setattr(importing, "prepare_entry", counted)
    monkeypatch.setattr(importing, "write_masks", slow)
    data = read_json_lines([photos.write(*[thing()] * 100)])
    import_data(data, photos.folder, photos.out, "mine", workers=3)
    assert made == 100
    assert most <= 4


KILLED = """
import os, signal, sys
from pathlib import Path
from data.import_jsonl import main

moment = int(sys.argv.pop(1))

def dying(function):
    def call(*arguments, **named):
        global moment
        moment -= 1
        if moment < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

for name in ("mkdir", "open", "rename", "replace", "unlink", "rmdir"):
    setattr(Path, name, dying(getattr(Path, name)))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.soak), 5])
def test_a_kill_at_any_change_of_the_disk_loses_no_set(photos, step):
    """The import kills itself before each operation of `Path` that changes the disk, in turns."""
    contents, paths = [], []
    for text in ("one", "two"):
        objects_of_text = [thing(expressions=[text]), thing(split=text)]
        paths.append(photos.write(*objects_of_text, name=f"{text}.jsonl"))
        assert photos.run(paths[-1], "--overwrite") == 0
        contents.append(photos.files())
    kills, moment = 0, 0
    while True:
        assert photos.run(paths[0], "--overwrite") == 0
        assert photos.files() == contents[0]
        command = [sys.executable, "-c", KILLED, str(moment), str(paths[1]), "--name", "mine"]
        command += ["--output", str(photos.out), "--overwrite"]
        code = subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        check_no_mixture(photos, contents)
        if code == 0:
            break
        kills, moment = kills + 1, moment + step
    assert kills > 30 / step


EDITED = "a.jpg 9,10,31,26,0,1 ~ edited by hand\n"


def assert_edited_lines_are_kept(photos):
    kept = [path for path in photos.out.rglob("train.txt*") if path.read_text() == EDITED]
    assert kept


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*range(30, 60, 4), pytest.param(1000, id="never")])
def test_lines_that_were_edited_survive_a_kill(photos, moment):
    """They are kept by the import that follows, wherever the killed one had come to."""
    path = photos.write(thing())
    assert photos.run(path) == 0
    (photos.out / "anns/mine/train.txt").write_text(EDITED)
    command = [sys.executable, "-c", KILLED, str(moment), str(path), "--name", "mine"]
    command += ["--output", str(photos.out), "--overwrite"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert_edited_lines_are_kept(photos)
    assert photos.run(path, "--overwrite") == 0
    assert_edited_lines_are_kept(photos)


def test_lines_that_are_edited_during_an_import_are_kept(imported, monkeypatch):
    photos, _ = imported
    write = importing.write_masks

    def edit_and_write(*arguments):
        (photos.out / "anns/mine/train.txt").write_text(EDITED)
        write(*arguments)

    monkeypatch.setattr(importing, "write_masks", edit_and_write)
    assert photos.run(photos.write(thing()), "--overwrite") == 0
    assert_edited_lines_are_kept(photos)


def check_no_mixture(photos, contents):
    """Lines and masks are complete, each former or new; a pair of both kinds is refused."""
    found = {path: c for path, c in photos.files().items() if "/." not in path}
    parts = {
        part: {path: content for path, content in found.items() if path.startswith(part)}
        for part in ("anns", "masks")
    }
    for part, files in parts.items():
        complete = [{p: c for p, c in of.items() if p.startswith(part)} for of in contents]
        assert files in (*complete, {})
    if found not in contents and parts["anns"] and parts["masks"]:
        with pytest.raises(UserError, match="the masks in"):
            check_pairing(photos.out / "anns/mine/train.txt", photos.out / "masks/mine")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_at_random_moments_leave_a_complete_set(photos, number):
    many = 3_000
    paths, contents = [], []
    for text in ("one", "two"):
        paths.append(photos.write(*[thing(expressions=[text])] * many, name=f"{text}.jsonl"))
        assert photos.run(paths[-1], "--overwrite") == 0
        contents.append(photos.files())
    delays = random.Random(int(number))
    stopped = 0
    for _ in range(12):  # Some processes end before the signal.
        command = [sys.executable, str(ROOT / "data/import_jsonl.py"), str(paths[0])]
        command += ["--name", "mine", "--output", str(photos.out), "--overwrite"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not list(photos.out.glob("masks/.mine.*.new")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delays.uniform(0, 0.4))
        process.send_signal(number)
        _, said = process.communicate()
        assert b"Traceback" not in said
        stopped += process.returncode != 0
        check_no_mixture(photos, contents)
        assert photos.run(paths[1], "--overwrite") == 0
        assert photos.files() == contents[1]
        if stopped == 3:
            break
    assert stopped


def test_ids_of_expressions_are_recorded(photos):
    lines = [thing(expressions=["red kite"], id="0007"), thing(image="b.png")]
    assert photos.run(photos.write(*lines)) == 0
    folder = photos.out / "anns/mine"
    assert read_ids(folder) == {1: ReferentIds(1, (), ((7, "red kite"),), "id")}
    assert is_as_written(folder, Path("ids.jsonl"))


def test_ids_that_name_no_single_expression_are_refused(photos, capsys):
    path = photos.write(
        thing(id=3), thing(expressions=["kite"], id=4), thing(expressions=["bird"], id="4")
    )
    assert photos.run(path) == 2
    said = capsys.readouterr().err
    assert f"{path}:1: key 'id' names one expression, but there are 2; write a line" in said
    assert f"{path}:3: key 'id' is 4, and so is that of {path}:2; make the ids unique" in said
    assert not (photos.out / "anns/mine").exists()
