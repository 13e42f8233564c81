"""Training on cached features computes the same as training on images."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.errors import ConfigError, NoSpaceError
from data.loading.errors import DataError
from data.loading.feature_store import DamagedCacheError, FeatureStore
from data.loading.pipeline import training_batches
from data.support.datasets import unwrap_errors
from model.mcn import build_mcn
from tests.test_imports import ROOT
from tests.tiny import network_config, scramble, weights_of
from utils.training import feature_cache
from utils.training.builder import build_trainer
from utils.training.feature_cache import build_feature_store

pytestmark = pytest.mark.slow


def frozen_config(tiny_set, log_path, **changes):
    settings = {"free_body": 1, "rnn_drop_out": 0.1, "epoches": 1}
    return tiny_set.config(log_path=str(log_path), **(settings | changes))


@pytest.fixture
def build(tiny_set, network, tmp_path):
    """`build(**changes)`: the store of the tiny set in the folder "features"."""
    folder = str(tmp_path / "features")

    def build(cache_dir=folder, input_size=96):
        settings = {"cache_features": 1, "cache_dir": cache_dir, "input_size": input_size}
        config = frozen_config(tiny_set, tmp_path, **settings)
        model = network(free_body=1, input_size=input_size)
        return build_feature_store(config, model, sorted({r.image for r in tiny_set.train}))

    return build


@pytest.mark.parametrize("free_body", [1, 2])
def test_same_weights_with_and_without_cache(tiny_set, tmp_path, free_body):
    trained = []
    for name, cache in (("cached", 1), ("plain", 0)):
        config = frozen_config(tiny_set, tmp_path / name, free_body=free_body, cache_features=cache)
        trainer = build_trainer(config)
        (record,) = trainer.run().history
        trained.append((record["train"]["loss"], weights_of(trainer.model)))
    (loss, cached), (plain_loss, plain) = trained
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for path, value in cached.items():
        np.testing.assert_allclose(value, plain[path], rtol=1e-3, atol=2e-4, err_msg=path)


def test_a_training_reads_the_cache_instead_of_the_images(tiny_set, tmp_path):
    folder = str(tmp_path / "features")
    config = frozen_config(tiny_set, tmp_path / "log", cache_features=1, cache_dir=folder)
    trainer = build_trainer(config)
    batch = next(iter(training_batches(trainer.training_set, 1, 2, 1, 1)))
    assert "image" not in batch
    assert batch["feature_0"].shape[0] == 2


def test_the_cache_is_reused_and_kept_beside_one_of_another_input_size(build, capsys):
    first = build()
    printed = capsys.readouterr().out
    assert f"{first.folder}: computing features of 4 of 4 images" in printed
    assert "delete" not in printed
    before = (first.folder / "features.bin").read_bytes()
    assert build().folder == first.folder
    assert capsys.readouterr().out == ""
    other = build(input_size=128)
    printed = capsys.readouterr().out
    assert f"{other.folder}: computing features of 4 of 4 images" in printed
    size = (first.folder / "features.bin").stat().st_blocks * 512 / 1000
    assert f"{first.folder}: features of other input_size, shapes take {size:.1f} kB" in printed
    assert "delete the folder if no training needs them" in printed
    assert (first.folder / "features.bin").read_bytes() == before


def test_damaged_rows_alone_are_computed_again_to_the_bit(build, capsys):
    store = build()
    path = store.folder / "features.bin"
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[len(intact) // 2 + 3] ^= 16
    path.write_bytes(damaged)
    with pytest.raises(DamagedCacheError, match="are damaged"):
        [store.read(name) for name in store.rows]
    capsys.readouterr()
    assert build().missing == []
    assert "computing features of 1 of 4 images" in capsys.readouterr().out
    assert path.read_bytes() == intact


def test_an_interrupted_computation_resumes_to_the_bit(build, monkeypatch):
    monkeypatch.setattr(feature_cache, "BATCH_SIZE", 3)
    whole = build()
    expected = (whole.folder / "features.bin").read_bytes()
    for path in whole.folder.iterdir():
        path.unlink()
    monkeypatch.setattr(feature_cache, "FLUSH_EVERY", 1)
    write = FeatureStore.write

    def interrupted(self, image, *rest):
        if image == list(self.rows)[1]:
            raise KeyboardInterrupt
        write(self, image, *rest)

    monkeypatch.setattr(FeatureStore, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build()
    monkeypatch.setattr(FeatureStore, "write", write)
    encoded = []
    stack = np.stack
    monkeypatch.setattr(
        feature_cache.np, "stack", lambda arrays: encoded.append(len(arrays)) or stack(arrays)
    )
    resumed = build()
    # The batches of an uninterrupted run, although the first image of the first one is done.
    assert encoded == [3, 1]
    assert (resumed.folder / "features.bin").read_bytes() == expected


def test_a_disk_that_fills_up_while_features_are_computed(build, small_disk, monkeypatch):
    disk = small_disk(3_000_000)
    write = FeatureStore.write

    def write_into_a_full_disk(self, image, *rest):
        if image == list(self.rows)[2]:
            with pytest.raises(OSError, match="No space"), (disk / "other").open("wb") as file:
                file.write(bytes(3_000_000))
        write(self, image, *rest)

    monkeypatch.setattr(FeatureStore, "write", write_into_a_full_disk)
    monkeypatch.setattr(feature_cache, "FLUSH_EVERY", 1)
    with pytest.raises(NoSpaceError, match=r"features\.bin: needs .*, and the disk is full"):
        build(cache_dir=str(disk / "features"))
    monkeypatch.undo()
    (disk / "other").unlink()
    store = build(cache_dir=str(disk / "features"))
    for name in store.rows:
        for on_disk, expected in zip(store.read(name)[0], build().read(name)[0], strict=True):
            np.testing.assert_array_equal(on_disk, expected)


def test_images_that_cannot_be_read_are_listed_or_refused(tiny_set, network, tmp_path, capsys):
    shutil.copytree(tiny_set.images, tmp_path / "images")
    (tmp_path / "images/b.png").write_bytes(b"no image")
    settings = {"cache_features": 1, "image_path": str(tmp_path / "images")}
    config = frozen_config(tiny_set, tmp_path / "log", **settings)
    images, model, bad = ["a.png", "b.png", "c.png"], network(free_body=1), {}
    with pytest.raises(DataError, match=r"b\.png"):
        build_feature_store(config, model, images)
    store = build_feature_store(config, model, images, bad)
    assert store.missing == list(bad) == ["b.png"]
    assert "b.png" in bad["b.png"]
    shutil.copy(tiny_set.images / "b.png", tmp_path / "images")
    assert build_feature_store(config, model, images).missing == []


@pytest.mark.parametrize("on_bad_sample", ["error", "skip"])
def test_a_damaged_row_ends_a_training_with_a_sentence(tiny_set, tmp_path, on_bad_sample):
    """Also where samples are skipped: the image is intact, and the row can be computed again."""
    changes = {"cache_features": 1, "on_bad_sample": on_bad_sample}
    config = frozen_config(tiny_set, tmp_path / "log", **changes)
    trainer = build_trainer(config)
    path = trainer.training_set.features.folder / "features.bin"
    path.write_bytes(bytes(path.stat().st_size))
    batches = training_batches(trainer.training_set, 1, 2, 1, 1)
    with pytest.raises(
        DamagedCacheError, match=r"features\.bin: the cached features of .* are damaged"
    ):
        list(unwrap_errors(batches))


@pytest.mark.parametrize("setting", [{"free_body": 0}, {"free_body": 1, "frozen_bn": "batch"}])
def test_features_that_change_are_refused(setting):
    with pytest.raises(ConfigError, match="cache_features"):
        network_config().replace(cache_features=1, **setting)


N_PHOTOGRAPHS = 200


def compute_features(folder):
    """What the processes of the tests below run: features of many photographs."""
    feature_cache.FLUSH_EVERY = 1
    settings = {"cache_features": 1, "cache_dir": f"{folder}/features", "free_body": 1}
    config = network_config(image_path=f"{folder}/images", workers=2, **settings)
    names = [f"{number}.png" for number in range(N_PHOTOGRAPHS)]
    print("ready", flush=True)
    build_feature_store(config, scramble(build_mcn(config)), names)
    print("complete", flush=True)


def write_photographs(folder):
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in range(N_PHOTOGRAPHS):
        pixels = rng.integers(0, 256, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{number}.png")


def start_computing(folder):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.utils.training.test_feature_cache import compute_features\n"
        f"compute_features({str(folder)!r})"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def computed(folder):
    """Content of the files of the only store in a folder."""
    (store,) = Path(folder, "features").iterdir()
    return {name: (store / name).read_bytes() for name in ("features.bin", "marks.bin")}


def marked_at(folder):
    """When marks were written last, if at all."""
    return [path.stat().st_mtime_ns for path in Path(folder).glob("features/*/marks.bin")]


@pytest.mark.soak
def test_killed_computations_resume_to_the_bit_and_two_share_one(tmp_path):
    write_photographs(tmp_path)
    with start_computing(tmp_path) as process:
        assert process.communicate()[0].endswith("complete\n")
    expected = computed(tmp_path)
    (tmp_path / "features").rename(tmp_path / "uninterrupted")
    rng = random.Random(0)
    for stop in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        before = marked_at(tmp_path)
        with start_computing(tmp_path) as process:
            while marked_at(tmp_path) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(stop)
            process.communicate()
        stored = len(computed(tmp_path)["features.bin"])
        print(f"{stop.name}: {stored / len(expected['features.bin']):.0%} computed")
    with start_computing(tmp_path) as first, start_computing(tmp_path) as second:
        outputs = [process.communicate()[0] for process in (first, second)]
        assert all(output.endswith("complete\n") for output in outputs)
    assert computed(tmp_path) == expected
