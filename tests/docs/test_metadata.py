"""The version stands in three places, and they agree."""

import re
import tomllib

from pages import ROOT

import widthwise


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (cited,) = re.findall(r"^version: (\S+)$", citation, flags=re.M)
    assert widthwise.__version__ == project["version"] == cited


def test_the_version_has_its_place_in_the_changes():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    release = widthwise.__version__.partition(".dev")[0]
    assert re.search(rf"^## {re.escape(release)}\b", changes, flags=re.M)
