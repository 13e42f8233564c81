"""Features on disk: complete, of the right key, never wrong, and never beyond the free space."""

import contextlib
import errno
import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from config.errors import FolderError, NoSpaceError, UserError
from data.loading import feature_store
from data.loading.errors import DataError
from data.loading.feature_store import DamagedCacheError, FeatureStore
from tests.limits import mounted_disk

IMAGES = ["a.jpg", "b.jpg", "c.jpg"]
MANY = [f"{number}.jpg" for number in range(2000)]
SHAPES = [(2, 2, 3), (4, 4, 1)]
ROW = 4 * (2 * 2 * 3 + 4 * 4 * 1)


def open_store(folder, images=IMAGES, dtype="float32", **key):
    return FeatureStore(folder, {"weights": "abc", **key}, images, SHAPES, dtype)


def features_of(name):
    rng = np.random.default_rng(list(name.encode()))
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def fill(store, names=IMAGES):
    with store.writing():
        for name in names:
            store.write(name, (640, 480), features_of(name))
    return store


def assert_complete(store):
    assert store.missing == []
    for name in store.rows:
        features, size = store.read(name)
        assert size == (640, 480)
        for mine, theirs in zip(features, features_of(name), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def tree(folder):
    """Content of every file and None for every folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in Path(folder).rglob("*")
    }


def flip(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def test_an_interrupted_store_resumes(tmp_path):
    first = open_store(tmp_path / "f")
    assert first.missing == IMAGES

    def names():
        yield "b.jpg"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(first, names())
    again = open_store(tmp_path / "f")
    assert again.missing == ["a.jpg", "c.jpg"]
    assert_complete(fill(again, again.missing))
    assert_complete(open_store(tmp_path / "f"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": "xyz"}, "weights"),
        ({"input_size": 320}, "input_size"),
        ({"images": ["a.jpg", "c.jpg"]}, "images"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_a_store_of_another_key_is_kept_and_named(tmp_path, change, named):
    first = fill(open_store(tmp_path / "f"))
    before = tree(tmp_path)
    store = open_store(tmp_path / "f", **change)
    assert store.missing == change.get("images", IMAGES)
    (other,) = store.others()
    assert other.folder == first.folder
    assert named in other.differing
    assert other.bytes == first.folder.joinpath("features.bin").stat().st_blocks * 512 > 0
    fill(store, store.missing)
    assert tree(tmp_path).items() >= before.items()
    assert_complete(open_store(tmp_path / "f"))


def test_opening_a_store_writes_nothing(tmp_path):
    open_store(tmp_path / "f").others()
    assert tree(tmp_path) == {}
    fill(open_store(tmp_path / "f"))
    before = tree(tmp_path)
    assert_complete(open_store(tmp_path / "f"))
    assert tree(tmp_path) == before


def test_files_of_others_are_kept(tmp_path):
    mine = [
        "holiday.jpg",
        "feature_notes.md",
        "features.bin",
        "key.json",
        "marks.bin",
        "0/key.json",
        "layout/key.json",
    ]
    mine += ["feature_engineering/thesis.py", "list/key.json", "deep/key.json"]
    for name in mine:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "list/key.json").write_text("[1]")
    (tmp_path / "layout/key.json").write_text('{"layout": 1}')
    (tmp_path / "deep/key.json").write_text("[" * 100_000)
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    first = fill(open_store(tmp_path))
    second = open_store(tmp_path, weights="xyz")
    assert [other.folder for other in second.others()] == [first.folder]
    fill(second)
    assert tree(tmp_path).items() >= before.items()
    assert sorted(os.listdir(second.folder)) == ["features.bin", "key.json", "lock", "marks.bin"]


@pytest.mark.parametrize("name", ["mine", "0123456789abcdef"])
def test_pipes_and_huge_files_in_the_place_of_keys_are_not_read(tmp_path, name):
    for number, kind in enumerate(("pipe", "huge")):
        folder = tmp_path / f"{name[:-1]}{number}"
        folder.mkdir()
        if kind == "pipe":
            os.mkfifo(folder / "key.json")
        else:
            with (folder / "key.json").open("wb") as file:
                file.truncate(1 << 40)
    assert open_store(tmp_path).others() == []


@pytest.mark.parametrize("text", ["[]", "null", "3", '"a"'])
def test_a_key_that_is_no_object_is_no_store(tmp_path, text):
    folder = tmp_path / feature_store._folder_name(text)
    folder.mkdir()
    (folder / "key.json").write_text(text)
    assert open_store(tmp_path).others() == []


@pytest.mark.parametrize("kind", ["pipe", "huge"])
def test_marks_that_are_a_pipe_or_huge_are_damaged(tmp_path, kind):
    marks = fill(open_store(tmp_path)).folder / "marks.bin"
    if kind == "huge":
        os.truncate(marks, 1 << 40)
    else:
        marks.unlink()
        os.mkfifo(marks)
    again = open_store(tmp_path)
    assert again.missing == IMAGES
    assert_complete(fill(again))


def test_a_folder_in_the_place_of_the_marks_is_a_sentence(tmp_path):
    marks = fill(open_store(tmp_path)).folder / "marks.bin"
    marks.unlink()
    marks.mkdir()
    with pytest.raises(UserError, match=r"marks\.bin: is a folder; move it away"):
        open_store(tmp_path)


def test_float16_is_half_the_size(tmp_path):
    single = open_store(tmp_path / "s").bytes
    assert single == 3 * ROW
    half = fill(open_store(tmp_path / "h", dtype="float16"))
    assert half.bytes == single // 2
    features, _ = open_store(tmp_path / "h", dtype="float16").read("b.jpg")
    for mine, exact in zip(features, features_of("b.jpg"), strict=True):
        np.testing.assert_array_equal(mine, exact.astype(np.float16))


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (1e6, "float16", r"too large for float16; set cache_dtype=float32$"),
        (np.nan, "float16", "NaN or infinite; its weights are damaged"),
        (np.inf, "float32", "NaN or infinite; its weights are damaged"),
    ],
)
def test_features_that_cannot_be_stored_are_refused(tmp_path, value, dtype, reason):
    store = open_store(tmp_path, dtype=dtype)
    features = features_of("a.jpg")
    features[1][0, 0] = value
    with pytest.raises(DataError, match=rf"^a\.jpg: .*{reason}"), store.writing():
        store.write("a.jpg", (640, 480), features)
    assert open_store(tmp_path, dtype=dtype).missing == IMAGES


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with mounted_disk(tmp_path / "disk", 1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        store = open_store(disk / "features")
        with pytest.raises(FolderError, match="files cannot be created"), store.writing():
            pass


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(NoSpaceError, match=r"needs 336 bytes .* cache_dtype=float16"):
        fill(open_store(tmp_path / "f"))
    assert not (tmp_path / "f").exists()


def test_only_missing_features_need_space(tmp_path, monkeypatch):
    fill(open_store(tmp_path / "f"), IMAGES[:1])
    # What the file occupies may be more than the finished rows: blocks, and rows without a mark.
    monkeypatch.setattr(feature_store, "_allocated_bytes", lambda path: ROW + 12)
    for free, enough in ((2 * ROW - 12, True), (2 * ROW - 13, False)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        expected = contextlib.nullcontext() if enough else pytest.raises(NoSpaceError, match="212")
        with expected, open_store(tmp_path / "f").writing():
            pass


def test_a_hole_in_the_file_needs_space(tmp_path, monkeypatch):
    fill(open_store(tmp_path, MANY), MANY[-1:])
    usage = shutil.disk_usage(tmp_path)._replace(free=ROW * 1900)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoSpaceError), open_store(tmp_path, MANY).writing():
        pass


def test_a_disk_that_fills_up_is_a_sentence_and_the_store_resumes(small_disk):
    disk = small_disk(2_000_000)

    def names():
        yield from MANY[:500]
        store.flush()
        (disk / "other").write_bytes(bytes(1_800_000))
        yield from MANY[500:]

    store = open_store(disk / "f", MANY)
    with pytest.raises(NoSpaceError, match=r"features\.bin: needs 224\.0 kB, and the disk is full"):
        fill(store, names())
    (disk / "other").unlink()
    again = open_store(disk / "f", MANY)
    assert 0 < len(again.missing) <= 1500
    assert_complete(fill(again, again.missing))


def test_a_disk_without_room_for_the_marks_raises_the_first_error(small_disk):
    disk = small_disk(2_000_000)

    def names():
        yield from MANY[:2]
        with contextlib.suppress(OSError):
            (disk / "other").write_bytes(bytes(2_000_000))
        yield from MANY[2:]

    store = open_store(disk / "f", MANY)
    with pytest.raises(NoSpaceError, match=r"features\.bin"):
        fill(store, names())
    assert list(store.folder.glob(".*")) == []
    (disk / "other").unlink()
    again = open_store(disk / "f", MANY)
    assert_complete(fill(again, again.missing))


def test_rows_that_the_disk_did_not_confirm_are_not_marked(tmp_path, monkeypatch):
    store = fill(open_store(tmp_path), IMAGES[:1])

    def full(_):
        raise OSError(
            errno.ENOSPC, os.strerror(errno.ENOSPC)
        )  # As network file systems say it, late.

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpaceError, match=r"features\.bin"), store.writing():
        store.write("b.jpg", (640, 480), features_of("b.jpg"))
    monkeypatch.undo()
    assert open_store(tmp_path).missing == ["b.jpg", "c.jpg"]


def test_features_are_on_the_disk_before_their_marks(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: order.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd)
    )
    monkeypatch.setattr(
        Path, "replace", lambda self, to: order.append(f"→ {to}") or replace(self, to)
    )
    store = fill(open_store(tmp_path))
    first, *_ = (index for index, path in enumerate(order) if path.endswith("/features.bin"))
    assert first < order.index(f"→ {store.folder / 'marks.bin'}")


@pytest.mark.parametrize("name", ["features.bin", "marks.bin"])
@pytest.mark.parametrize("damage", ["deleted", "empty", "truncated", "longer"])
def test_damaged_files_are_computed_again(tmp_path, name, damage):
    store = fill(open_store(tmp_path))
    path = store.folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "deleted":
        length = {"empty": 0, "truncated": 2 * len(content) // 3 - 1, "longer": 2 * len(content)}
        path.write_bytes((content * 2)[: length[damage]])
    again = open_store(tmp_path)
    kept = IMAGES[: {"truncated": 1, "longer": 3}.get(damage, 0) if name == "features.bin" else 0]
    assert again.missing == [image for image in IMAGES if image not in kept]
    assert_complete(fill(again, again.missing))


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"layout": 1}'])
def test_a_damaged_key_costs_nothing(tmp_path, content):
    store = fill(open_store(tmp_path))
    key = store.folder / "key.json"
    intact = key.read_bytes()
    key.unlink() if content is None else key.write_text(content)
    again = open_store(tmp_path)
    assert_complete(again)
    fill(again, [])
    assert key.read_bytes() == intact


def test_no_bit_of_features_or_marks_can_flip_unnoticed(tmp_path):
    store = fill(open_store(tmp_path))
    rng = random.Random(0)
    for name in ("features.bin", "marks.bin"):
        path = store.folder / name
        intact = path.read_bytes()
        for at in range(len(intact)):
            flip(path, at, rng.randrange(8))
            damaged = open_store(tmp_path)
            image = IMAGES[at * len(IMAGES) // len(intact)]
            if image not in damaged.missing:
                with pytest.raises(
                    DamagedCacheError, match=rf"features\.bin: .* {image} are damaged"
                ):
                    damaged.read(image)
            assert open_store(tmp_path).missing == [image]
            for other in set(IMAGES) - {image}:
                damaged.read(other)
            fill(damaged, damaged.missing)
            assert path.read_bytes() == intact


@pytest.mark.parametrize("moved", [["."], ["features.bin", "marks.bin"], ["features.bin"]])
def test_features_of_another_key_are_never_used(tmp_path, moved):
    store = fill(open_store(tmp_path))
    other = open_store(tmp_path, weights="xyz")
    with other.writing():
        for name in IMAGES:
            other.write(name, (640, 480), [feature + 1 for feature in features_of(name)])
    if moved == ["."]:
        shutil.rmtree(store.folder)
        other.folder.rename(store.folder)
    else:
        for name in moved:
            shutil.copyfile(other.folder / name, store.folder / name)
    again = open_store(tmp_path)
    if moved == ["features.bin"]:
        for name in IMAGES:
            with pytest.raises(DamagedCacheError, match="damaged"):
                again.read(name)
    assert again.missing == IMAGES
    assert_complete(fill(again))
    assert_complete(open_store(tmp_path))


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe", "folder"])
def test_features_are_written_to_no_file_of_another_name(tmp_path, kind):
    store = fill(open_store(tmp_path / "f"))
    path, other = store.folder / "features.bin", tmp_path / "other"
    path.rename(other)
    before = other.read_bytes()
    if kind == "symlink":
        path.symlink_to(other)
    elif kind == "hard link":
        path.hardlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(UserError, match=r"features\.bin: is a link or no file"):
        open_store(tmp_path / "f")
    path.rmdir() if kind == "folder" else path.unlink()
    absent = open_store(tmp_path / "f")
    path.symlink_to(other)
    with pytest.raises(UserError, match=r"features\.bin: is a link or no file"):
        fill(absent)
    assert other.read_bytes() == before


def test_rows_in_each_others_place_are_noticed(tmp_path):
    store = fill(open_store(tmp_path))
    for name in ("features.bin", "marks.bin"):
        path = store.folder / name
        content = path.read_bytes()
        length = len(content) // 3
        path.write_bytes(content[length : 2 * length] + content[:length] + content[2 * length :])
    store = open_store(tmp_path)
    for image in IMAGES[:2]:
        with pytest.raises(DamagedCacheError, match="damaged"):
            store.read(image)
    assert store.missing == IMAGES[:2]


def test_a_file_that_is_truncated_while_it_is_read_is_noticed(tmp_path):
    store = fill(open_store(tmp_path))
    os.truncate(store.folder / "features.bin", ROW + 5)
    store.read("a.jpg")
    with pytest.raises(DamagedCacheError, match=r"b\.jpg are damaged; run the same command again"):
        store.read("b.jpg")
    assert open_store(tmp_path).missing == IMAGES[1:]


def failing_read(number):
    def read(*_):
        raise OSError(number, os.strerror(number))

    return read


def test_a_bad_sector_is_damage_but_no_other_fault_is(tmp_path, monkeypatch):
    store = fill(open_store(tmp_path))
    monkeypatch.setattr(os, "pread", failing_read(errno.ESTALE))
    with pytest.raises(OSError, match=rf"Stale file handle: '{store.folder}/features\.bin'"):
        store.read("a.jpg")
    monkeypatch.setattr(os, "pread", failing_read(errno.EIO))
    with pytest.raises(DamagedCacheError, match=r"a\.jpg are damaged"):
        store.read("a.jpg")
    monkeypatch.undo()
    assert open_store(tmp_path).missing == ["a.jpg"]


def test_damage_in_a_folder_that_cannot_be_written_names_the_way_out(tmp_path, monkeypatch):
    store = fill(open_store(tmp_path))
    flip(store.folder / "features.bin", 0)

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(feature_store, "write_bytes", refuse)
    with pytest.raises(DamagedCacheError, match=f"damaged; delete {store.folder} and run"):
        open_store(tmp_path).read("a.jpg")


def test_damage_keeps_the_marks_that_another_process_has_added(tmp_path):
    reader = fill(open_store(tmp_path), ["a.jpg"])
    fill(open_store(tmp_path), ["b.jpg", "c.jpg"])
    flip(reader.folder / "features.bin", 5)
    with pytest.raises(DamagedCacheError, match="run the same command again, which computes them"):
        reader.read("a.jpg")
    assert open_store(tmp_path).missing == ["a.jpg"]


def test_damage_writes_no_mark_while_another_process_computes(tmp_path):
    reader = fill(open_store(tmp_path), IMAGES)
    flip(reader.folder / "features.bin", 5)
    before = (reader.folder / "marks.bin").read_bytes()
    with open_store(tmp_path).writing():
        with pytest.raises(DamagedCacheError, match="again once no other process computes"):
            reader.read("a.jpg")
        assert (reader.folder / "marks.bin").read_bytes() == before
    with pytest.raises(DamagedCacheError, match="which computes them anew"):
        reader.read("a.jpg")
    assert_complete(fill(open_store(tmp_path), ["a.jpg"]))
