"""docs/settings.md is current and describes every setting."""

import re

from config.schema import FIELDS, Config
from config.settings_table import GROUPS, TABLE, settings_table


def test_the_document_is_current():
    written = TABLE.read_text(encoding="utf-8")
    assert written == settings_table(), "run: python -m config.settings_table"


def test_every_setting_has_one_row_in_a_group():
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", settings_table(), re.MULTILINE)
    assert [key for key, _ in rows] == list(FIELDS)
    for key, rest in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", rest)]
        assert len(cells) == 4, key
        assert cells[3].replace("\\|", "|") == FIELDS[key].metadata["help"]
    assert next(iter(GROUPS)) == next(iter(FIELDS))
    assert set(GROUPS) <= set(FIELDS)


def test_rows_show_types_defaults_and_what_is_allowed():
    table = settings_table()
    for row in (
        "| `backbone_width` | number | `1.0` | 0.03125 … 4 |",
        "| `steps` | list of integers | `[30, 35, 40]` | 1 … 1000000 |",
        '| `rnn_cell` | string | `"lstm"` | `"lstm"`, `"gru"` |',
        "| `lang_att` | switch | `1` | `0`, `1` |",
        '| `cache_dir` | path | `""` |',
        "| `pretrained_weights` | path or name |",
        f"| `seed` | integer | `{Config().seed}` | 0 … 4294967295 |",
    ):
        assert row in table
