"""A file given in place of another is called what it is, with the command that takes it."""

import pytest

from widthwise.errors import InputError
from widthwise.families import user_family
from widthwise.mistaken import mistaken_for
from widthwise.study import Study
from widthwise.study.reading import read_fields
from widthwise.sweeps.reading import read_table

READERS = {
    "specification": read_fields,
    "table": read_table,
    "study": Study.open,
    "code": user_family,
}
# Kind → what one is called, and what takes it.
GIVEN = {
    "specification": ("study.toml", "a specification: `widthwise run "),
    "table": ("runs.csv", "a table of runs: `widthwise analyze "),
    "study": ("studies/mine", "a study's folder: `widthwise report "),
    "code": ("nets.py:build", "code: its networks are "),
    "data": ("digits.npz", 'data: a specification takes them, with name = "npz"'),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    for name in ("study.toml", "runs.csv", "nets.py", "digits.npz", "studies/mine/study.json"):
        (tmp_path / name).write_text("")


@pytest.mark.parametrize("wanted", READERS)
@pytest.mark.parametrize("kind", GIVEN)
def test_each_is_said_to_each_reader(folder, wanted, kind):
    name, said = GIVEN[kind]
    if wanted == kind:
        assert mistaken_for(wanted, name) is None
        return
    with pytest.raises(InputError) as error:
        READERS[wanted](name)
    assert said in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["study.txt", "new-folder", "runs", "my.toml.bak"])
def test_a_name_that_tells_nothing_is_read(folder, name):
    assert {mistaken_for(wanted, name) for wanted in READERS} == {None}


def test_a_file_of_code_needs_a_function(folder):
    with pytest.raises(InputError, match=r"name a function of it, as nets\.py:build"):
        user_family("nets.py")


def test_a_folder_of_tables_is_no_table_and_no_study(tmp_path):
    (tmp_path / "runs.parquet").mkdir()
    assert mistaken_for("specification", tmp_path / "runs.parquet") is None


def test_commands_are_written_for_a_shell():
    assert "`widthwise run 'my study.toml'`" in mistaken_for("table", "my study.toml")
    said = mistaken_for("table", "my nets.py:build")
    assert "`widthwise inspect 'my nets.py:build'`" in said
    # What goes into a specification is no word of a shell.
    assert 'its networks are "my nets.py:build"' in said
    assert 'path = "my data.npz"' in mistaken_for("table", "my data.npz")


def test_a_command_that_lacks_something_says_what():
    assert "`widthwise analyze runs.csv --width … --x …`" in mistaken_for("study", "runs.csv")
