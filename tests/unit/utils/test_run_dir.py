"""Run directories: matching settings, other settings, foreign files, earlier versions."""

import pytest

from gemkr_hf.utils.run_dir import RunDirectory


def directory(folder, settings, **options):
    return RunDirectory(folder, settings, contents=("model", "part-*"), **options)


@pytest.mark.parametrize("file", ["settings.json", "settings.yaml"])
def test_the_same_settings_resume_and_others_raise(tmp_path, file) -> None:
    settings = {"data": {"names": ("a", "b")}, "seed": 0, "none": None}
    assert directory(tmp_path, settings, settings_file=file).prepare() is None
    (tmp_path / "model").mkdir()
    same = directory(tmp_path, settings, settings_file=file)
    assert same.is_current()
    assert same.difference() is None
    assert same.prepare() is None
    assert (tmp_path / "model").exists()
    other = directory(tmp_path, {**settings, "data": {"names": ["a"]}}, settings_file=file)
    with pytest.raises(ValueError, match=r"data\.names was \['a', 'b'\] and is \['a'\]"):
        other.prepare()
    assert (tmp_path / "model").exists()


def test_overwrite_removes_the_contents_and_nothing_else(tmp_path) -> None:
    directory(tmp_path, {"seed": 0}).prepare()
    (tmp_path / "model").mkdir()
    for name in ("part-0", "part-1", "notes.txt"):
        (tmp_path / name).write_text("")
    assert directory(tmp_path, {"seed": 1}).prepare(overwrite=True) == "seed was 0 and is 1"
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "settings.json"}
    assert directory(tmp_path, {"seed": 1}).is_current()


def test_files_that_no_run_has_written_are_never_removed(tmp_path) -> None:
    (tmp_path / "part-9").write_text("mine")
    with pytest.raises(ValueError, match="contains 'part-9', which no run has written"):
        directory(tmp_path, {"seed": 0}).prepare(overwrite=True)
    assert (tmp_path / "part-9").read_text() == "mine"


def test_unreadable_settings_are_other_settings(tmp_path) -> None:
    directory(tmp_path, {"seed": 0}).prepare()
    (tmp_path / "model").mkdir()
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"other settings \(unreadable\)"):
        directory(tmp_path, {"seed": 0}).prepare()
    assert (tmp_path / "model").exists()


def test_settings_of_an_earlier_version_are_upgraded(tmp_path) -> None:
    directory(tmp_path, {"epochs": 2}).prepare()
    new = directory(
        tmp_path,
        {"num_train_epochs": 2},
        upgrade=lambda saved: {"num_train_epochs": saved["epochs"]},
    )
    assert new.is_current()


def test_a_fingerprint_is_one_line_of_text(tmp_path) -> None:
    directory(tmp_path, "0123", settings_file="made_by.txt").prepare()
    assert (tmp_path / "made_by.txt").read_text() == "0123"
    assert directory(tmp_path, "0123", settings_file="made_by.txt").is_current()
    assert not directory(tmp_path, "4567", settings_file="made_by.txt").is_current(overwrite=True)
