import math

import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.files import for_json, locked, numbered_folder


def test_what_json_has_no_word_for_is_none():
    nested = {"a": [1.0, math.nan], "b": {"c": (math.inf, 2), "d": "nan"}, "e": -math.inf}
    assert for_json(nested) == {"a": [1.0, None], "b": {"c": [None, 2], "d": "nan"}, "e": None}


def test_numbers_of_folders_count_up_and_fill_gaps(tmp_path):
    stem = tmp_path / "runs" / "demo.v2"
    made = [numbered_folder(stem, b"1") for _ in range(2)]
    assert [path.name for path in made] == ["demo.v2_001", "demo.v2_002"]
    (made[0] / "experiment.toml").unlink()
    made[0].rmdir()
    again = numbered_folder(stem, b"3")
    assert again == made[0]
    assert (again / "experiment.toml").read_bytes() == b"3"


def test_a_folder_is_locked_until_the_end_even_by_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        with pytest.raises(ConfigError, match="is being written"), locked(tmp_path):
            pass
        raise ZeroDivisionError
    with locked(tmp_path):
        pass
