import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eqprop_spice.errors import ConfigError
from eqprop_spice.files import (
    for_json,
    locked,
    numbered_folder,
    read_bounded,
    remove_partials,
    write_inside,
    write_named,
)


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


def test_threads_that_race_get_different_folders_with_their_own_experiments(tmp_path):
    count, texts = 50, [b"1", b"2", b"3", b"4"]

    def make(text: bytes) -> list[Path]:
        return [numbered_folder(tmp_path / "run", text) for _ in range(count)]

    with ThreadPoolExecutor(len(texts)) as pool:
        made = list(pool.map(make, texts))
    assert len({path for paths in made for path in paths}) == count * len(texts)
    for text, paths in zip(texts, made, strict=True):
        assert all((path / "experiment.toml").read_bytes() == text for path in paths)
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def outside(tmp_path) -> Path:
    """A file, beside the folder that is written, of somebody who has nothing to do with it."""
    (tmp_path / "precious").mkdir()
    path = tmp_path / "precious" / "thesis.tex"
    path.write_text("years of work")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_the_place_of_a_file_is_replaced(link, folder, outside):
    link(outside, folder / "loss.png")
    write_inside(folder, "loss.png", b"new")
    assert (folder / "loss.png").read_bytes() == b"new"
    assert not (folder / "loss.png").is_symlink()
    assert outside.read_text() == "years of work"


def test_a_link_in_the_place_of_a_folder_is_refused(folder, outside):
    (folder / "figures").symlink_to(outside.parent)
    with pytest.raises(ConfigError, match=r"figures is a link or a file .* Remove it"):
        write_inside(folder, "figures/deep/thesis.tex", b"new")
    assert [path.name for path in outside.parent.iterdir()] == [outside.name]
    assert outside.read_text() == "years of work"


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "history.csv" / "kept").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"history.csv is a folder where a file .* Remove it"):
        write_inside(folder, "history.csv", b"new")
    assert [p.name for p in folder.iterdir()] == ["history.csv"]
    assert (folder / "history.csv" / "kept").is_dir()


def test_the_folder_itself_may_be_a_link_because_the_user_named_it(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    write_inside(tmp_path / "link", "a/b.txt", b"new")
    assert (folder / "a" / "b.txt").read_bytes() == b"new"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_destroys_nothing(link, folder, outside):
    link(outside, folder / "lock")
    try:
        with locked(folder):
            pass
    except ConfigError as error:
        assert "lock is a link" in str(error)
    assert outside.read_text() == "years of work"


def test_what_was_left_unfinished_is_removed_but_not_what_it_links_to(folder, outside):
    (folder / ".1.partial").write_text("half")
    (folder / ".2.partial").mkdir()
    (folder / ".3.partial").symlink_to(outside)
    (folder / ".4.partial").symlink_to(outside.parent)
    remove_partials(folder)
    assert list(folder.iterdir()) == []
    assert outside.read_text() == "years of work"


def test_a_file_that_cannot_be_written_is_named_and_stays(folder):
    write_inside(folder, "a.txt", b"old")
    name = "a" * 300
    with pytest.raises(OSError, match="name too long") as error:
        write_inside(folder, name, b"new")
    assert error.value.filename == str(folder / name)
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt"]


def test_a_named_device_gets_the_content_and_stays_one(folder):
    (folder / "nothing").symlink_to("/dev/null")
    write_named(folder / "nothing", b"new")
    write_named(folder / "new", b"new")
    assert Path("/dev/null").is_char_device()
    assert (folder / "new").read_bytes() == b"new"


def test_what_does_not_end_is_not_read(folder):
    os.mkfifo(folder / "pipe")
    for path in (folder / "pipe", folder, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is no file"):
            read_bounded(path, limit=100)
    (folder / "large").write_bytes(bytes(101))
    with pytest.raises(ConfigError, match="larger than 100 bytes"):
        read_bounded(folder / "large", limit=100)
    assert read_bounded(folder / "large", limit=101) == bytes(101)
