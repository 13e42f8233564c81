"""TensorFlow's start-up messages are dropped, all else is passed on, a missing GPU is explained.

A stand-in for the tensorflow package writes given lines to file descriptor 2, as native code does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import quiet
from config.schema import PROJECT_ROOT

ABSL, DATED = "0000 00:00:1795718284.055349   19076 ", "2025-01-31 12:00:00.123456: "
PREAMBLE = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
CUINIT = "failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)"
NO_DRIVER = "Could not find cuda drivers on your machine"
# As written by TensorFlow 2.21 on a CPU, then lines of other versions and of GPUs.
START_UP = (
    PREAMBLE,
    f"I{ABSL}port.cc:153] oneDNN custom operations are on. You may see slightly different results.",
    f"I{ABSL}cudart_stub.cc:31] {NO_DRIVER}, GPU will not be used.",
    f"I{ABSL}cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available CPU.",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.",
    f"E{ABSL}cuda_platform.cc:52] {CUINIT}",
)
OTHERS = (
    f"E{ABSL}cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to register factory",
    f"{DATED}E external/local_xla/xla/stream_executor/cuda/cuda_fft.cc:467] Unable to register "
    "cuFFT factory: Attempting to register factory for plugin cuFFT when one is registered",
    f"{DATED}E external/local_xla/xla/cuda_blas.cc:1418] Unable to register cuBLAS factory: x",
    f"W{ABSL}computation_placer.cc:177] computation placer already registered. Please check",
    f"{DATED}I external/local_tsl/tsl/cuda/cudart_stub.cc:32] {NO_DRIVER}, GPU will not be used.",
    f"{DATED}W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT Warning: Could not",
    f"W{ABSL}gpu_device.cc:2341] Cannot dlopen some GPU libraries. Please make sure the missing",
    "Skipping registering GPU devices...",
    f"I{ABSL}gpu_device.cc:2022] Created device /job:localhost/replica:0/task:0/device:GPU:0",
)
FOREIGN = (
    "RuntimeWarning: something of another package",
    f"E{ABSL}some_file.cc:1] Failed to allocate memory",
    f"{DATED}W tensorflow/core/some_file.cc:2] This is deprecated",
    "",
)
STAND_IN = """
import json, os
lines, gpus = json.loads(os.environ["STAND_IN"])
os.write(2, "".join(line + "\\n" for line in lines).encode())
if "fail" in os.environ:
    raise ImportError("a library is missing")
class Gpu:
    name = "/physical_device:GPU:0"
class experimental:
    def set_memory_growth(gpu, on): print("growth", on)
    def get_device_details(gpu): return {"device_name": gpus[0]} if gpus[0] else {}
class config:
    experimental = experimental
    def list_physical_devices(kind): return [Gpu for _ in gpus]
"""
CALL = "{first}from config.quiet import quiet_tensorflow; print(quiet_tensorflow()); print({more})"


@pytest.fixture
def call(tmp_path):
    """Calls `quiet_tensorflow` in a process whose TensorFlow writes lines and has some GPUs."""
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN)

    def called(lines=(), gpus=(), more="''", first="", **environment):
        return subprocess.run(
            [sys.executable, "-c", CALL.format(first=first, more=more)],
            env={
                "PYTHONPATH": f"{tmp_path}:{PROJECT_ROOT}",
                "STAND_IN": json.dumps([lines, gpus]),
                **environment,
            },
            capture_output=True,
            text=True,
        )

    return called


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine without any trace of a GPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(quiet.shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))


@pytest.mark.parametrize("line", [*START_UP, *OTHERS])
def test_start_up_messages_are_chatter(line):
    assert quiet.is_chatter(line)


@pytest.mark.parametrize("line", FOREIGN)
def test_other_messages_are_not(line):
    assert not quiet.is_chatter(line)


def test_messages_are_dropped_and_others_passed_on(call):
    done = call([*START_UP, *FOREIGN, *OTHERS], CUDA_VISIBLE_DEVICES="-1")
    sentence = "CUDA_VISIBLE_DEVICES hides all GPUs: running on the CPU"
    assert done.stderr.splitlines() == [*FOREIGN, sentence]
    assert done.stdout == "[]\n\n"


def test_gpus_are_named_and_their_memory_grows(call):
    done = call(START_UP[:2], ["NVIDIA A100"])
    assert done.stdout.splitlines() == ["growth True", "['NVIDIA A100']", ""]
    assert done.stderr == ""
    assert "['/physical_device:GPU:0']" in call([], [None]).stdout


def test_why_a_gpu_cannot_be_used(call):
    done = call(START_UP, CUDA_VISIBLE_DEVICES="0")
    assert (
        done.stderr == f"warning: TensorFlow cannot use the GPU ({NO_DRIVER}): running on the CPU\n"
    )
    done = call(START_UP[-1:], CUDA_VISIBLE_DEVICES="0")
    assert done.stderr == f"warning: TensorFlow cannot use the GPU ({CUINIT}): running on the CPU\n"
    done = call([], CUDA_VISIBLE_DEVICES="0")
    assert "(MCN_VERBOSE=1 shows its messages)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_gpu_at_all(no_gpu, monkeypatch):
    assert quiet.why_no_gpu(START_UP) == "no GPU found"
    monkeypatch.setattr(quiet.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert quiet.why_no_gpu(START_UP).startswith("warning: TensorFlow cannot use the GPU (")


def test_a_device_file_is_a_gpu(no_gpu, monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([self / "nvidia0"]))
    assert quiet.why_no_gpu([]).startswith("warning: TensorFlow cannot use the GPU (")


def test_everything_is_shown_on_request(call):
    done = call([*START_UP, *FOREIGN], MCN_VERBOSE="1")
    assert done.stderr.splitlines() == [*START_UP, *FOREIGN]


def test_a_failing_import_keeps_its_messages(call):
    done = call([*START_UP, *FOREIGN], fail="1")
    assert done.returncode == 1
    assert done.stderr.startswith("\n".join(FOREIGN))
    assert "ImportError: a library is missing" in done.stderr
    assert "oneDNN" not in done.stderr


def test_a_second_call_is_silent(call):
    done = call(gpus=["NVIDIA A100"], more="quiet_tensorflow()")
    assert done.stdout.splitlines() == ["growth True", "['NVIDIA A100']"] * 2
    done = call(more="quiet_tensorflow()", CUDA_VISIBLE_DEVICES="-1")
    assert done.stderr.count("\n") == 1


def test_memory_grows_where_tensorflow_was_loaded_before(call):
    done = call(gpus=["NVIDIA A100"], first="import tensorflow; ")
    assert "growth True" in done.stdout


def test_weights_are_constant_for_those_who_say_so(monkeypatch):
    name = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
    monkeypatch.delenv(name, raising=False)
    quiet.assume_constant_weights()
    assert os.environ[name] == "1"
    quiet.expect_changing_weights()
    assert name not in os.environ
    monkeypatch.setenv(name, "0")
    quiet.assume_constant_weights()
    assert os.environ[name] == "0"


def test_standard_error_works_afterwards(call):
    more = "__import__('os').write(2, b'native\\n'), print('python', file=__import__('sys').stderr)"
    assert call(gpus=["A"], more=more).stderr == "native\npython\n"


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("3", "3")])
def test_run_time_messages_are_off_unless_set(call, given, expected):
    environment = {} if given is None else {"TF_CPP_MIN_LOG_LEVEL": given}
    more = "__import__('os').environ['TF_CPP_MIN_LOG_LEVEL']"
    assert call(gpus=["A"], more=more, **environment).stdout.splitlines()[-1] == expected


def test_importing_the_module_does_not_import_tensorflow():
    code = "import sys, config.quiet; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True)
    assert done.stdout == b"False\n"
