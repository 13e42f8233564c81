"""Settings: published defaults, and a clear error for every value that cannot be used."""

import dataclasses
import json
import typing

import pytest

from config.errors import ConfigError
from config.schema import (
    FIELDS,
    OBSOLETE_KEYS,
    PROJECT_ROOT,
    TYPES,
    Config,
    load_config,
)

SHIPPED = sorted((PROJECT_ROOT / "config").glob("*.json"))

# The published RefCOCO settings, by their published names.
PUBLISHED = {
    "backbone": "darknet",
    "batch_size": 35,
    "input_size": 416,
    "seg_out_stride": 8,
    "lr": 0.001,
    "steps": [30, 35, 40],
    "epoches": 45,
    "start_epoch": 0,
    "word_len": 15,
    "embed_dim": 300,
    "bidirectional": 1,
    "use_nls": 1,
    "lang_att": 1,
    "rnn_hidden_size": 1024,
    "rnn_drop_out": 0.1,
    "free_body": 1,
    "seg_loss_weight": 0.1,
    "det_acc_thresh": 0.5,
    "segment_thresh": 0.35,
    "text_encoder": "recurrent",
    "weight_decay": 0.0005,
    "backbone_width": 1.0,
    "backbone_blocks": [1, 2, 8, 8, 4],
    "aspp_dilations": [6, 12, 18],
    "bn_momentum": 0.99,
}


@pytest.fixture
def write(tmp_path):
    """Writes a config and returns its path; a string is written as it is, others as JSON."""

    def written(content):
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return written


def test_defaults_are_the_published_settings(write):
    config = load_config(write({}))
    assert {key: getattr(config, key) for key in PUBLISHED} == PUBLISHED
    assert load_config(PROJECT_ROOT / "config" / "config.json").replace(about=[]) == config


def test_every_setting_has_a_help_text_and_a_default_of_its_type():
    for key, field in FIELDS.items():
        assert field.metadata["help"], key
        value = getattr(Config(), key)
        declared = typing.get_type_hints(Config)[key]
        assert type(value) is (typing.get_origin(declared) or declared), key


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_config_loads(path):
    config = load_config(path)
    for key, field in FIELDS.items():
        value = getattr(config, key)
        if field.metadata["path"] and "/" in value:
            assert value.startswith("/"), key


def test_the_shipped_configs_are_found():
    assert {"config.json", "demo.json"} <= {path.name for path in SHIPPED}


@pytest.mark.parametrize(
    ("key", "near"),
    [("batchsize", "batch_size"), ("epoch", "epochs"), ("rnn_dropout", "rnn_drop_out")],
)
def test_an_unknown_key_suggests_a_similar_one(write, key, near):
    path = write({key: 1})
    with pytest.raises(ConfigError, match=rf"{path}: unknown key '{key}'; did you mean '{near}'"):
        load_config(path)


def test_an_unknown_key_that_resembles_none(write):
    with pytest.raises(ConfigError, match=r"unknown key 'zzqqxx'$"):
        load_config(write({"zzqqxx": 1}))


def wrong_values():
    """For every key, values of types that do not fit it."""
    samples = {str: "text", int: 3, float: 2.5, list: [1], dict: {}, type(None): None}
    for key, declared in typing.get_type_hints(Config).items():
        declared = typing.get_origin(declared) or declared
        fitting = {declared} | ({int} if declared is float else set())
        if key == "about":
            fitting.add(str)
        for kind, value in samples.items():
            if kind not in fitting:
                yield key, value


@pytest.mark.parametrize(("key", "value"), list(wrong_values()))
def test_wrong_type(write, key, value):
    with pytest.raises(ConfigError) as error:
        load_config(write({key: value}))
    assert f"{key} = {json.dumps(value)}: must be" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("steps", [1, 2.5], "a list, each an integer"),
        ("steps", ["30"], "a list, each an integer"),
        ("backbone_blocks", [1, 2, 8, 8, None], "a list, each an integer"),
        ("about", ["fine", 3], "a list, each a string"),
    ],
)
def test_wrong_type_inside_a_list(write, key, value, allowed):
    with pytest.raises(ConfigError, match=f"{key} = .*: must be {allowed}"):
        load_config(write({key: value}))


def test_integers_are_accepted_as_numbers_and_booleans_as_switches(write):
    config = load_config(write({"lr": 1, "lang_att": False, "about": "one line"}))
    assert (config.lr, type(config.lr)) == (1.0, float)
    assert (config.lang_att, type(config.lang_att)) == (0, int)
    assert config.about == ["one line"]


@pytest.mark.parametrize(
    ("values", "named", "allowed"),
    [
        ({"input_size": 400}, "input_size = 400", "a multiple of 32"),
        ({"input_size": 0}, "input_size = 0", "at least 32"),
        ({"jemb_dim": -1}, "jemb_dim = -1", "at least 0"),
        ({"cache_features": 2}, "cache_features = 2", "one of 0, 1"),
        ({"cache_features": 1, "free_body": 0}, "cache_features = 1", "0 if free_body is 0"),
        ({"cache_features": 1, "flip": 0.5}, "flip = 0.5", "0 if cache_features is 1"),
        ({"cache_features": 1, "scale_jitter": 0.1}, "scale_jitter = 0.1", "0 if cache_features"),
        ({"cache_features": 1, "color_jitter": 0.1}, "color_jitter = 0.1", "0 if cache_features"),
        ({"flip": 1.1}, "flip = 1.1", "at most 1"),
        ({"ema": 1.0}, "ema = 1.0", "at most 0.999999"),
        (
            {"accumulate_steps": 4, "batch_size": 7},
            "accumulate_steps = 4",
            r"at most half of batch_size \(7\)",
        ),
        ({"last_batch": "cut"}, 'last_batch = "cut"', 'one of "wrap", "short", "drop"'),
        (
            {"jit_compile": 1, "distribute": "mirrored"},
            "jit_compile = 1",
            '0 if distribute is not "one"',
        ),
        ({"use_bert": 2}, "use_bert = 2", "0 or 1"),
        ({"use_bert": "1"}, 'use_bert = "1"', "0 or 1"),
        ({"rnn_cell": "rnn"}, 'rnn_cell = "rnn"', 'one of "lstm", "gru"'),
        ({"backbone_blocks": [1, 2, 8]}, "backbone_blocks", "five numbers"),
        ({"backbone_blocks": [1, 2, 8, 8, 0]}, "backbone_blocks", "at least 1"),
        ({"aspp_dilations": [6, 12]}, "aspp_dilations", "three numbers"),
        ({"rnn_hidden_size": 1023}, "rnn_hidden_size = 1023", "even"),
        ({"steps": [30, 30]}, "steps", "ascending"),
        ({"steps": [35, 30]}, "steps", "ascending"),
        ({"steps": [0, 30]}, "steps", "at least 1"),
        ({"start_epoch": 45}, "start_epoch = 45", r"less than epoches \(45\)"),
        ({"rnn_drop_out": 1.0}, "rnn_drop_out = 1.0", "at most 0.999"),
        ({"batch_size": 0}, "batch_size = 0", "at least 1"),
        ({"seg_out_stride": 4}, "seg_out_stride = 4", "one of 8"),
        ({"segment_thresh": -0.1}, "segment_thresh = -0.1", "at least 0"),
        ({"input_size": 32000}, "input_size = 32000", "at most 4096"),
        ({"batch_size": 10**9}, "batch_size = 1000000000", "at most 65536"),
        ({"batch_size": True}, "batch_size = true", "an integer"),
        ({"workers": 10**9}, "workers", "at most 256"),
        ({"word_len": 10**9}, "word_len", "at most 512"),
        ({"backbone_blocks": [1, 2, 8, 8, 100_000]}, "backbone_blocks", "at most 64"),
        ({"lr": 10**400}, "lr = 10000", "a number"),
        ({"log_path": ""}, 'log_path = ""', "a path, not empty"),
        ({"train_set": ""}, 'train_set = ""', "a path, not empty"),
        ({"free_body": 3}, "free_body = 3", "one of 0, 1, 2"),
        ({"seed": -1}, "seed = -1", "at least 0"),
        ({"seed": 2**32}, f"seed = {2**32}", f"at most {2**32 - 1}"),
    ],
)
def test_impossible_value(write, values, named, allowed):
    with pytest.raises(ConfigError, match=rf"{named}.*: must be {allowed}"):
        load_config(write(values))


def test_every_number_has_bounds():
    for key, declared in TYPES.items():
        element = (*typing.get_args(declared), declared)[0]
        meta = FIELDS[key].metadata
        if element is not str and meta["choices"] is None:
            assert meta["low"] < meta["high"], key


def test_lists_have_an_end(write):
    with pytest.raises(ConfigError, match="steps: has 5,000 entries, at most 1,000 fit"):
        load_config(write({"steps": list(range(1, 5001))}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"lr": 0.1, "lr": 0.2}', r'config\.json:1: key "lr" occurs twice'),
        (b'{"lr": Infinity}', r"config\.json:1: Infinity is not a number of JSON"),
        (b'{"lr": NaN}', r"config\.json:1: NaN is not a number of JSON"),
        (b'{"lr": 1e999}', r"config\.json: lr = Infinity: must be at most 10"),
        ('{"about": "café"}'.encode("latin-1"), r"config\.json:1: not UTF-8 text"),
        ('{"lr": 0.1}'.encode("utf-16"), r"config\.json: this is UTF-16"),
        (b'{"log_path": "a\\u0000b"}', "the character NUL"),
        (b'{"log_path": "a\\ud800b"}', "half of a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "thousands of digits"),
    ],
)
def test_faults_of_the_file_itself(write, content, message):
    path = write({})
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_byte_order_mark_is_accepted(write):
    path = write({})
    path.write_bytes(b'\xef\xbb\xbf{"lr": 0.5}')
    assert load_config(path).lr == 0.5


@pytest.mark.parametrize(
    "override", ["lr=NaN", "lr=Infinity", "lr=" + "9" * 5000, "seed=" + "9" * 5000,
                 "steps=" + "[" * 100_000, "log_path=a\udc80", "log_path=a\0"]
)  # fmt: skip
def test_odd_overrides_are_sentences(write, override):
    with pytest.raises(ConfigError, match=rf"--set: {override.partition('=')[0]} = "):
        load_config(write({}), [override])


def test_values_that_fit_only_in_combination(write):
    values = {"steps": [], "start_epoch": 3, "epoches": 4}
    config = load_config(write(values))
    assert {key: getattr(config, key) for key in values} == values


def test_the_file_is_checked_together_with_the_overrides(write):
    path = write({"start_epoch": 50})
    assert load_config(path, ["epoches=51"]).epoches == 51
    with pytest.raises(ConfigError, match="start_epoch = 50"):
        load_config(path, ["epoches=49"])


@pytest.mark.parametrize(
    ("values", "key", "expected"),
    [
        ({"use_bert": 1}, "text_encoder", "bert"),
        ({"use_bert": 0}, "text_encoder", "recurrent"),
        ({"use_bert": True}, "text_encoder", "bert"),
        ({"epochs": 7}, "epoches", 7),
    ],
)
def test_other_spellings_of_keys(write, values, key, expected):
    assert getattr(load_config(write(values)), key) == expected
    ((spelling, value),) = values.items()
    assert getattr(load_config(write({}), [f"{spelling}={json.dumps(value)}"]), key) == expected
    with pytest.raises(ConfigError, match=f"'{spelling}' and '{key}' are one setting"):
        load_config(write({**values, key: expected}))


def test_an_override_of_another_spelling_beats_the_file(write):
    config = load_config(write({"epoches": 7, "text_encoder": "bert"}), ["epochs=9", "use_bert=0"])
    assert (config.epoches, config.text_encoder) == (9, "recurrent")


def test_text_input():
    assert Config().text_input == "vectors"
    assert Config(text_encoder="bert").text_input == "pieces"
    assert Config(text_encoder="another").text_input == "vectors"


def test_registered_names_are_not_the_schemas_concern(write):
    config = load_config(write({"backbone": "mine", "text_encoder": "mine"}))
    assert (config.backbone, config.text_encoder) == ("mine", "mine")


def test_overrides(write):
    config = load_config(
        write({"batch_size": 4, "lr": 0.5}),
        ["batch_size=8", "backbone=vgg", "steps=[2, 4]", "lr=1e-4", "lr=1e-5", "about=[]"],
    )
    assert (config.batch_size, config.backbone, config.steps) == (8, "vgg", [2, 4])
    assert config.lr == 1e-5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size", "--set batch_size: must have the form key=value"),
        ("batch_size=big", '--set: batch_size = "big": must be an integer'),
        ("batchsize=3", "--set: unknown key 'batchsize'; did you mean 'batch_size'"),
        ("crf=1", "--set: unknown key 'crf'"),
    ],
)
def test_bad_override(write, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write({}), [override])


@pytest.mark.parametrize("key", OBSOLETE_KEYS)
def test_obsolete_key_warns_and_is_ignored(write, key):
    with pytest.warns(UserWarning, match=f"'{key}' is ignored"):
        config = load_config(write({key: 1}))
    assert config == load_config(write({}))


def test_paths_of_a_file_do_not_depend_on_the_current_directory(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write({"train_set": "data/mine.txt", "image_path": "/else/where", "log_path": "~/log"})
    config = load_config(path, ["evaluate_set=sub/../val.txt"])
    assert config.train_set == str(PROJECT_ROOT / "data" / "mine.txt")
    assert config.image_path == "/else/where"
    assert config.log_path.endswith("/log")
    assert "~" not in config.log_path
    assert config.evaluate_set == str(tmp_path / "val.txt")


def test_an_empty_path_stays_empty(write):
    assert load_config(write({"pretrained_weights": ""})).pretrained_weights == ""
    assert load_config(write({}), ["pretrained_weights="]).pretrained_weights == ""


@pytest.mark.parametrize("key", ["word_embed", "pretrained_weights"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("en_core_web_lg", "en_core_web_lg"),
        ("imagenet", "imagenet"),
        ("glove.txt", str(PROJECT_ROOT / "glove.txt")),
        ("backbone.weights.h5", str(PROJECT_ROOT / "backbone.weights.h5")),
        ("words/pipeline", str(PROJECT_ROOT / "words" / "pipeline")),
    ],
)
def test_a_name_or_a_path(write, key, value, expected):
    assert getattr(load_config(write({key: value})), key) == expected


def test_other_paths_are_never_names(write):
    config = load_config(write({"cache_dir": "features"}))
    assert config.cache_dir == str(PROJECT_ROOT / "features")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"lr": }', r"config\.json:2: not valid JSON"),
        ("[1, 2]", r"config\.json: holds a list, must be a JSON object"),
        ("", r"config\.json:1: not valid JSON"),
    ],
)
def test_broken_file(write, content, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(content))


def test_a_missing_file_lists_the_shipped_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: no such file.*config\.json.*demo\.json"):
        load_config(tmp_path / "none.json")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_resolved_config_round_trips_through_json(write, path):
    config = load_config(path, ["lr=0.3", "steps=[7]"])
    assert load_config(write(config.to_dict())) == config


def test_a_config_is_immutable():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0
    assert config.steps is not Config().steps


def test_replace_checks_its_values():
    config = Config().replace(batch_size=2)
    assert (config.batch_size, Config().batch_size) == (2, 35)
    with pytest.raises(ConfigError, match="unknown key 'batchsize'"):
        config.replace(batchsize=1)
    with pytest.raises(ConfigError, match="input_size = 100"):
        config.replace(input_size=100)


def test_of_two_overrides_of_a_key_the_last_counts(write):
    assert load_config(write({"lr": 0.1}), ["lr=0.2", "seed=1", "lr=0.3"]).lr == 0.3


LONG = "x" * 10_000
NUMBERS = str([1] * 900)


@pytest.mark.parametrize(
    "override",
    [
        LONG,
        f"{LONG}=1",
        f"{LONG}.json=",
        f"backbone_blocks={NUMBERS}",
        f"backbone_blocks=[{LONG}]",
        f"steps={NUMBERS}",
        f"seed={LONG}",
        f"seed={'9' * 4000}",
        f"text_encoder={LONG}\0",
        f"use_bert={NUMBERS}",
    ],
    ids=lambda text: text[:20],
)
def test_long_values_are_quoted_in_part(write, override):
    with pytest.raises(ConfigError) as caught:
        load_config(write({}), [override])
    assert len(str(caught.value).replace(str(write({})), "")) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f'{{"{LONG}": 1}}', "unknown key 'x{100}…'$"),
        (f'{{"{LONG}": 1, "{LONG}": 2}}', 'key "x{99}… occurs twice'),
        (f'{{"seed": "{LONG}\\u0000"}}', 'the text "x{99}… contains the character NUL'),
    ],
)
def test_long_texts_of_a_file_are_quoted_in_part(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the name of the config is empty; name a file such as config/config.json"),
        (".", r"^\.: cannot be used \(Is a directory\); name a JSON file of settings"),
        ("/proc/self/mem", r"^/proc/self/mem: cannot be used \(Input/output error\); name a JSON"),
        ("/dev/zero", "^/dev/zero: a pipe or device, which is not read; name a file"),
        (LONG, r"^x{100}…: cannot be used \(File name too long\); name a JSON file of settings"),
    ],
)
def test_paths_that_are_no_config(path, message):
    with pytest.raises(ConfigError, match=message):
        load_config(path)
