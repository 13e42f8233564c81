"""The command that shows a prepared set."""

import json
import subprocess
import sys

from config.schema import PROJECT_ROOT
from data.view import main


def write_config(tiny_set, folder):
    path = folder / "config.json"
    path.write_text(json.dumps(tiny_set.paths))
    return str(path)


def test_it_writes_a_page_and_says_where(tiny_set, tmp_path, capsys):
    config, output = write_config(tiny_set, tmp_path), tmp_path / "view.html"
    assert (
        main(["--config", config, "--splits", "val", "--count", "2", "--output", str(output)]) == 0
    )
    assert f"2 referents of 6, in {output}" in capsys.readouterr().out
    assert output.read_text(encoding="utf-8").count("<figure") == 2


def test_names_of_files_do_not_control_the_terminal(tiny_set, tmp_path, capsys):
    lines = tmp_path / "val.txt"
    lines.write_text("a\x1b[31mX.png 1,2,30,40,0,1 ~ red thing\n")
    config, output = write_config(tiny_set, tmp_path), str(tmp_path / "view.html")
    assert main(["--config", config, "--set", f"evaluate_set={lines}", f"train_set={lines}",
                 "--output", output]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert r"a\x1b[31mX.png" in printed
    assert "\x1b" not in printed


def test_foreign_files_are_refused_with_exit_code_2(tiny_set, tmp_path, capsys):
    output = tmp_path / "view.png"
    output.write_text("mine")
    arguments = ["--config", write_config(tiny_set, tmp_path), "--output", str(output)]
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err
    assert output.read_text() == "mine"


def test_it_runs_from_any_folder(tiny_set, tmp_path):
    command = [sys.executable, str(PROJECT_ROOT / "data" / "view.py"), "--config"]
    done = subprocess.run(
        [*command, write_config(tiny_set, tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # The data set is named by the folder of its lines.
    assert (tmp_path / "result" / "view" / f"{tiny_set.root.name}.html").is_file()
