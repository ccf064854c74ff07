"""A study whose tasks do not move on says so, and waits."""

import pytest
from tiny_studies import InlineExecutor, clouds, fields

from widthwise.execution import Quiet
from widthwise.study import Study


class Slow(InlineExecutor):
    def events(self):
        yield Quiet(self._waiting[0].key, 600.0)
        yield from super().events()


@pytest.mark.slow
def test_it_is_told_also_without_progress(tmp_path, capsys):
    study = Study.create(tmp_path / "s", fields(), data=clouds())
    study.run(1, progress=False, executor=Slow)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no progress for 10 min")
    assert line.endswith("is alive")
    assert study.status().runs_landed == 8
