"""The settings of a network are read from beside its weights."""

import pytest

from utils.prediction.run_folder import settings_beside


def test_the_missing_file_is_named(tmp_path):
    weights = tmp_path / "best.weights.h5"
    with pytest.raises(FileNotFoundError, match=r"best\.weights\.h5: no such weight file"):
        settings_beside(weights)
    weights.touch()
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file.*best\..*--config"):
        settings_beside(weights)
    (tmp_path / "config.json").touch()
    assert settings_beside(weights) == tmp_path / "config.json"
