"""What the code of a family is: what belongs to it, what moves it, and what does not."""

import json
import subprocess
import sys
import textwrap
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_studies import clouds, fields, in_this_process, landed_files

from widthwise.errors import InputError
from widthwise.families import UserFamily, code_changes, family_code, user_family
from widthwise.study import Study

NETS = """
from torch import nn
from helper import block

def build(width):
    import late
    return nn.Sequential(nn.Flatten(), block(6, 4 * width), nn.Linear(4 * width, 3))
"""
FILES = {
    "nets.py": NETS,
    "helper.py": "from torch import nn\nimport deeper, pack.inner\n\n"
    "def block(n, m):\n    return nn.Linear(n, deeper.ONE * m)\n",
    "deeper.py": "ONE = 1\n",
    "late.py": "TWO = 2\n",
    "pack/__init__.py": "THREE = 3\n",
    "pack/inner.py": "from . import beside\n",
    "pack/beside.py": "FOUR = 4\n",
    "unrelated.py": "FIVE = 5\n",
    "pack/unrelated.py": "SIX = 6\n",
}
IMPORTED = [name for name in FILES if "unrelated" not in name]


@pytest.fixture(autouse=True)
def unchanged(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(vars(module).get("__path__", vars(module).get("__file__"))):
            del sys.modules[name]


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text, "utf-8")
    return folder


def code(folder, reference="nets.py:build"):
    return family_code(user_family(str(folder / reference))).to_dict()


def modules_of(folder, files, reference="nets.py:build"):
    return list(code(write(folder, files), reference)["modules"])


class TestWhatMovesIt:
    def test_all_that_is_imported_belongs_to_it(self, tmp_path):
        found = code(write(tmp_path, FILES))
        assert list(found["modules"]) == sorted(IMPORTED)
        assert found["packages"] == {}

    @pytest.mark.parametrize("name", IMPORTED)
    def test_an_edited_module_is_named(self, tmp_path, name):
        before = code(write(tmp_path, FILES))
        write(tmp_path, {name: FILES[name] + "SEVEN = 7\n"})
        assert code_changes(before, code(tmp_path)) == [f"{name} changed"]

    @pytest.mark.parametrize("name", IMPORTED)
    def test_remarks_leave_it(self, tmp_path, name):
        before = code(write(tmp_path, FILES))
        write(tmp_path, {name: f'"""A remark."""\n\n# Another.\n\n\n{FILES[name]}\n# The end.\n'})
        assert code(tmp_path) == before

    def test_what_nobody_imports_leaves_it(self, tmp_path):
        before = code(write(tmp_path, FILES))
        write(tmp_path, {"unrelated.py": "x = 1", "pack/unrelated.py": "x = 1", "new.py": "x = 1"})
        assert code(tmp_path) == before

    def test_another_import(self, tmp_path):
        before = code(write(tmp_path, FILES))
        write(tmp_path, {"nets.py": NETS.replace("import late", "import unrelated")})
        assert code_changes(before, code(tmp_path)) == [
            "late.py is no longer imported",
            "nets.py changed",
            "unrelated.py is new",
        ]

    def test_a_folder_that_was_moved(self, tmp_path):
        before = code(write(tmp_path / "a", FILES))
        (tmp_path / "a").rename(tmp_path / "elsewhere")
        assert code(tmp_path / "elsewhere") == before

    def test_two_folders_each_with_its_own_helper(self, tmp_path):
        other = FILES["helper.py"].replace("deeper.ONE", "2 * deeper.ONE")
        write(tmp_path / "a", FILES)
        write(tmp_path / "b", {**FILES, "helper.py": other})
        first = user_family(f"{tmp_path / 'a' / 'nets.py'}:build")
        second = user_family(f"{tmp_path / 'b' / 'nets.py'}:build")
        for _ in range(2):
            codes = [family_code(family).to_dict() for family in (first, second)]
            assert code_changes(*codes) == ["helper.py changed"]
            for family in (first, second):
                family.build(1)


class TestSyntax:
    BODY = "x = 1\nclass C:\n    def f(self, a, *, b=2):\n        return [a, b, 'c']\n"
    FUNCTION = "def build(width):\n    return nn.Linear(6, width)\n"

    def digest(self, folder, text):
        (folder / "nets.py").write_text("from torch import nn\n" + text + self.FUNCTION, "utf-8")
        return code(folder)["modules"]["nets.py"]

    @pytest.mark.parametrize(
        "text",
        [
            "# x\n" + BODY,
            BODY.replace("\n", "\n\n# y\n"),
            BODY.replace("C:\n", "C:\n    'A class.'\n"),
            BODY.replace("b=2):\n", "b=2):\n        '''A\n        method.'''\n"),
            BODY.replace("[a, b, 'c']", '(\n  [a,\n b, "c",])').replace("x = 1", "x=0x1;"),
        ],
    )
    def test_what_does_not_count(self, tmp_path, text):
        assert self.digest(tmp_path, text) == self.digest(tmp_path, self.BODY)

    @pytest.mark.parametrize(
        "text",
        [
            BODY.replace("1", "2"),
            BODY.replace("1", "1.0"),
            BODY.replace("1", "True"),
            BODY.replace("*, ", ""),
            BODY.replace("'c'", "b'c'"),
            BODY.replace("[a, b, 'c']", "(a, b, 'c')"),
            BODY.replace("[a, b, 'c']", "[[a, b], 'c']"),
            BODY.replace("a, b, 'c'", "a, b, None, 'c'"),
            BODY.replace("x = 1", "x = len"),
            BODY.replace("x = 1", "x = 'len'"),
            BODY.replace("x = 1", "x = 1; 'no docstring, but a string'"),
            "",
        ],
    )
    def test_what_counts(self, tmp_path, text):
        assert self.digest(tmp_path, text) != self.digest(tmp_path, self.BODY)

    def test_it_stays_over_versions_of_python(self, tmp_path):
        """Worked out once; another version of Python must find the same."""
        text = self.BODY + "f = lambda *a, **k: {**k, 1: f'{a!r:>{x}}'}\ng = 1e3, 2j, ..., None\n"
        assert self.digest(tmp_path, text).startswith("e228f2045172ff1d")

    def test_deep_trees_and_long_numbers(self, tmp_path):
        text = f"x = {' + '.join(['y'] * 900)} if False else 0x1{'0' * 9999}\n"
        assert self.digest(tmp_path, text) != self.digest(tmp_path, text.replace("0x1", "0x2"))

    def test_a_file_in_another_coding(self, tmp_path):
        text = "# -*- coding: latin-1 -*-\nx = 'é'\nimport helper\n" + "def build(width): pass\n"
        write(tmp_path, {"nets.py": text.encode("latin-1"), "helper.py": ""})
        before = code(tmp_path)
        assert list(before["modules"]) == ["helper.py", "nets.py"]
        utf8 = text.replace("latin-1", "utf-8").encode() + b"# remark\n"
        write(tmp_path, {"nets.py": b"\xef\xbb\xbf" + utf8})
        assert code(tmp_path) == before

    def test_what_is_no_python_counts_by_its_bytes(self, tmp_path):
        files = {"nets.py": "def build(width):\n    import late\n", "late.py": "def ("}
        before = code(write(tmp_path, files))
        write(tmp_path, {"late.py": "def  ("})
        assert code_changes(before, code(tmp_path)) == ["late.py changed"]

    def test_what_there_is_only_compiled(self, tmp_path):
        files = {"nets.py": "def build(width):\n    import late\n", "late.pyc": b"\0one"}
        before = code(write(tmp_path, files))
        write(tmp_path, {"late.pyc": b"\0two"})
        assert code_changes(before, code(tmp_path)) == ["late.pyc changed"]

    def test_escapes_that_python_warns_of(self, tmp_path):
        files = {"nets.py": "def build(width):\n    import late\n", "late.py": r"x = '\d'"}
        assert modules_of(tmp_path, files) == ["late.py", "nets.py"]


IMPORTS = {
    "plain": "import mine",
    "renamed": "import mine as yours",
    "from": "from mine import x",
    "star": "from mine import *",
    "in a function": "def f():\n    import mine",
    "in a method": "class C:\n    def f(self):\n        from mine import x",
    "in a branch": "if 1 > 2:\n    import mine",
    "guarded": "try:\n    import mine\nexcept ImportError:\n    mine = None",
    "by name": "import importlib\nmine = importlib.import_module('mine')",
    "by name, later": "from importlib import import_module as im, import_module\n"
    "def f():\n    return import_module('mine')",
    "by its builtin": "mine = __import__('mine')",
    "by a name that is computed": "import importlib\nmine = importlib.import_module('mi' + 'ne')",
    "from a folder that comes and goes": "import sys\nsys.path.insert(0, __file__[:-7] + 'lib')\n"
    "from far import x\nsys.path.pop(0)",
    "else": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import mine",
    "not as a script": "if __name__ != '__main__':\n    import mine",
}
NOT_IMPORTS = {
    "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mine",
    "for type checkers, longer": "import typing\nif typing.TYPE_CHECKING:\n    import mine",
    "as a script": "if __name__ == '__main__':\n    import mine",
    "as a script, the other way": "if '__main__' == __name__:\n    import mine",
    "a string": "x = 'import mine'",
    "absent": "try:\n    import not_there\nexcept ImportError:\n    pass",
    "the standard library": "import json, os.path, xml.dom as d\nfrom collections import abc",
    "what all have": "import torch.nn.functional as F, numpy as np, widthwise.families",
}


MINE = {"mine.py": "x = 1", "lib/far.py": "x = 1"}


class TestImports:
    FUNCTION = "\ndef build(width):\n    pass\n"

    @pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS)
    def test_ways_to_import(self, tmp_path, text):
        found = code(write(tmp_path, {"nets.py": text + self.FUNCTION, **MINE}))
        (other,) = {*found["modules"]} - {"nets.py"}
        assert other in ("mine.py", "lib/far.py")
        assert found["packages"] == {}

    @pytest.mark.parametrize("text", NOT_IMPORTS.values(), ids=NOT_IMPORTS)
    def test_what_is_not_imported(self, tmp_path, text):
        found = code(write(tmp_path, {"nets.py": text + self.FUNCTION, **MINE}))
        assert [*found["modules"]] == ["nets.py"]
        assert found["packages"] == {}

    def test_circles(self, tmp_path):
        files = {
            "nets.py": "import one" + self.FUNCTION,
            "one.py": "import two",
            "two.py": "import one\ndef f():\n    import nets",
        }
        assert modules_of(tmp_path, files) == ["nets.py", "one.py", "two.py"]

    def test_packages_in_between_and_without_a_file(self, tmp_path):
        files = {
            "nets.py": "import a.b.c as d, n.m.leaf" + self.FUNCTION,
            **dict.fromkeys(("a/__init__.py", "a/b/__init__.py", "a/b/c.py", "n/m/leaf.py"), ""),
            **dict.fromkeys(("a/e.py", "n/other.py"), ""),
        }
        assert modules_of(tmp_path, files) == [
            "a/__init__.py",
            "a/b/__init__.py",
            "a/b/c.py",
            "n/m/leaf.py",
            "nets.py",
        ]

    def test_all_that_a_star_imports(self, tmp_path):
        files = {
            "nets.py": "from a import *" + self.FUNCTION,
            "a/__init__.py": "__all__ = ['one', 'x']\n__all__ += ['two']\nx = 1",
            **dict.fromkeys(("a/one.py", "a/two.py", "a/three.py"), ""),
        }
        assert modules_of(tmp_path, files) == ["a/__init__.py", "a/one.py", "a/two.py", "nets.py"]

    def test_relative_imports_of_a_file_in_a_package(self, tmp_path):
        files = {
            "pkg/__init__.py": "",
            "pkg/sub/__init__.py": "from .. import three",
            "pkg/sub/nets.py": "from . import one\nfrom ..two import x" + self.FUNCTION,
            "pkg/sub/one.py": "from importlib import import_module\n"
            "def f():\n    import_module('..four', __package__)",
            "pkg/two.py": "x = 1",
            "pkg/three.py": "",
            "pkg/four.py": "",
            "pkg/five.py": "",
        }
        found = modules_of(tmp_path, files, "pkg/sub/nets.py:build")
        assert found == sorted(name for name in files if "five" not in name)

    def test_too_many_dots_lead_nowhere(self, tmp_path):
        files = {"nets.py": "def build(width):\n    import late\n", "late.py": "from .. import x"}
        assert modules_of(tmp_path, files) == ["late.py", "nets.py"]

    def test_a_module_on_the_path(self, tmp_path, monkeypatch):
        """Not below the family's folder: by its name, wherever it lies."""
        write(tmp_path, {"lib/far_module.py": "x = 1", "a/nets.py": "import far_module\n"})
        monkeypatch.syspath_prepend(tmp_path / "lib")
        (tmp_path / "a" / "nets.py").write_text("import far_module" + self.FUNCTION)
        assert list(code(tmp_path / "a")["modules"]) == ["far_module", "nets.py"]

    def test_files_named_like_the_standard_library(self, tmp_path):
        files = {"nets.py": "import colorsys" + self.FUNCTION, "colorsys.py": "raise OSError"}
        sys.modules.pop("colorsys", None)
        assert modules_of(tmp_path, files) == ["nets.py"]

    def test_a_file_that_cannot_be_read(self, tmp_path):
        family = user_family(f"{write(tmp_path, FILES) / 'nets.py'}:build")
        (tmp_path / "deeper.py").unlink()
        (tmp_path / "deeper.py").symlink_to(tmp_path / "deeper.py")
        (tmp_path / "nets.py").unlink()
        message = r"code of the family .*nets\.py:build' must be readable, but .*; restore the file"
        with pytest.raises(InputError, match=message):
            family_code(family)


DECORATED = """
import functools
import other

def decorate(function):
    @functools.wraps(function)
    def wrapper(width):
        return function(width)
    return wrapper

class Callable:
    def __call__(self, width): pass
    def method(self, width): pass
    @classmethod
    def of_class(cls, width): pass

@decorate
def wrapped(width): pass
@functools.lru_cache
def cached(width): pass
partial = functools.partial(other.build, 1)
instance = Callable()
method = instance.method
of_class = Callable.of_class
elsewhere = other.build
in_a_partial = functools.partial(functools.partial(print), other.Net)
"""


ASSIGNED = [line.split(" = ")[0] for line in DECORATED.splitlines() if " = " in line]


class TestFunctions:
    @pytest.mark.parametrize("name", ["Callable", "wrapped", "cached", *ASSIGNED])
    def test_of_anything_that_can_be_called(self, tmp_path, name):
        files = {"nets.py": DECORATED, "other.py": "def build(a, width=1): pass\nclass Net: pass"}
        assert modules_of(tmp_path, files, f"nets.py:{name}") == ["nets.py", "other.py"]

    def test_the_module_that_defines_it(self, tmp_path):
        """Nothing but the object leads there."""
        files = {
            "nets.py": "import sys\nbuild = vars(sys.modules['def' + 'ining'])['make']()\n",
            "defining.py": "import more\ndef make():\n    return lambda width: None\n",
            "more.py": "",
            "first.py": "import defining\ndef build(width): pass\n",
        }
        user_family(f"{write(tmp_path, files) / 'first.py'}:build")
        assert list(code(tmp_path)["modules"]) == ["defining.py", "more.py", "nets.py"]

    def test_a_module_of_a_package_is_named_from_its_top(self, tmp_path, monkeypatch):
        """And not from the working directory, in which a study may be resumed."""
        files = {
            "top_package/__init__.py": "",
            "top_package/nets.py": "from top_package import one\ndef build(width): pass\n",
            "top_package/one.py": "import top_module",
            "top_module.py": "",
        }
        write(tmp_path, files)
        monkeypatch.syspath_prepend(tmp_path)
        codes = []
        for folder in (tmp_path, tmp_path / "top_package", tmp_path.parent):
            monkeypatch.chdir(folder)
            codes.append(family_code(user_family("top_package.nets:build")).to_dict())
        assert list(codes[0]["modules"]) == sorted(files)
        assert codes[0] == codes[1] == codes[2]

    def test_a_module_in_the_working_directory(self, tmp_path, monkeypatch):
        write(tmp_path, {"in_cwd.py": "import in_cwd_too\ndef build(w): pass", "in_cwd_too.py": ""})
        monkeypatch.chdir(tmp_path)
        found = family_code(user_family("in_cwd:build"))
        assert list(found.to_dict()["modules"]) == ["in_cwd.py", "in_cwd_too.py"]

    def test_a_family_that_has_no_file(self):
        family = UserFamily(reference="print", function=print)
        assert family_code(family).to_dict() == {"modules": {}, "packages": {}}

    def test_a_function_without_a_module_that_was_named(self):
        family = UserFamily(reference="build:f", function=write)
        assert "test_code.py" in family_code(family).modules


@pytest.mark.slow
class TestPackages:
    """A distribution in a folder like those of pip."""

    @pytest.fixture
    def site(self, tmp_path, monkeypatch):
        site = tmp_path / "lib" / "site-packages"
        self.install(site, "Planted-Nets", "1.0.3", {"planted_nets/__init__.py": "import planted2"})
        self.install(site, "planted2", "7", {"planted2.py": "def build(width): pass"})
        (site / "of_nobody.py").write_text("x = 1")
        monkeypatch.syspath_prepend(site)
        return site

    @staticmethod
    def install(site, name, version, files):
        write(site, files)
        folder = f"{name.replace('-', '_')}-{version}.dist-info"
        record = "".join(f"{file},,\n" for file in files)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        write(site, {f"{folder}/METADATA": text, f"{folder}/RECORD": record})

    def nets(self, folder, text):
        return write(folder, {"nets.py": text + "\ndef build(width): pass\n"})

    def test_its_version_counts_and_its_code_does_not(self, tmp_path, site):
        found = code(self.nets(tmp_path / "a", "def f():\n    from planted_nets import x"))
        assert found["packages"] == {"Planted-Nets": "1.0.3"}
        assert list(found["modules"]) == ["nets.py"]

    def test_another_version_moves_it(self, tmp_path, site, monkeypatch):
        before = code(self.nets(tmp_path / "a", "import planted_nets"))
        monkeypatch.setattr(metadata, "version", lambda name: "1.0.4")
        changes = code_changes(before, code(tmp_path / "a"))
        assert changes == ["Planted-Nets 1.0.3 became 1.0.4"]

    def test_a_family_that_is_installed(self, site):
        found = family_code(user_family("planted2:build")).to_dict()
        assert found == {"modules": {}, "packages": {"planted2": "7"}}

    def test_what_no_distribution_has_installed_is_the_users(self, tmp_path, site):
        found = code(self.nets(tmp_path / "a", "import of_nobody"))
        assert (list(found["modules"]), found["packages"]) == (["nets.py", "of_nobody"], {})

    def test_what_is_installed_in_place_is_the_users(self, tmp_path, site, monkeypatch):
        write(tmp_path, {"src/in_place/__init__.py": "", "src/in_place/one.py": "x = 1"})
        monkeypatch.syspath_prepend(tmp_path / "src")
        self.install(site, "in-place", "1", {})
        write(site, {"in_place-1.dist-info/top_level.txt": "in_place\n"})
        found = code(self.nets(tmp_path / "a", "from in_place import one"))
        assert list(found["modules"]) == ["in_place", "in_place.one", "nets.py"]
        assert found["packages"] == {}

    def test_a_package_that_two_distributions_share(self, tmp_path, site):
        self.install(site, "shared-a", "1", {"shared_by_two/a.py": ""})
        self.install(site, "shared-b", "2", {"shared_by_two/b.py": ""})
        found = code(self.nets(tmp_path / "a", "import shared_by_two.b"))
        assert found["packages"] == {"shared-b": "2"}

    def test_widthwise_is_not_the_users(self, tmp_path):
        found = family_code(user_family("widthwise.families:mlp")).to_dict()
        assert found == {"modules": {}, "packages": {}}


IN_A_SUBPROCESS = """
import json, sys
from widthwise.families import family_code, user_family
if __name__ == "__main__":
    for reference in sys.argv[1:]:
        family = user_family(reference)
        try:
            family.build(1)
        except ValueError:
            pass
    print(json.dumps(family_code(family).to_dict()))
"""


@pytest.mark.slow
def test_a_new_process_finds_the_same(tmp_path):
    """Whatever this one has imported, built, or put on its path."""
    files = {
        **FILES,
        "first.py": "import unrelated, pack.unrelated, conditional\ndef build(width):\n"
        "    import late\n    conditional.held = conditional.later\n",
        "nets.py": NETS + "\nif len('') == 1:\n    import conditional\nimport lazily\n",
        "conditional.py": "import importlib\nlater = importlib.import_module('comp' + 'uted')",
        "computed.py": "",
        "lazily.py": "held = None\ndef f():\n    global held\n    import unrelated as held\n",
    }
    write(tmp_path, files)
    nets, first = f"{tmp_path / 'nets.py'}:build", f"{tmp_path / 'first.py'}:build"
    with pytest.raises(InputError, match="must return"):
        user_family(first).build(1)
    family = user_family(nets)
    ours = [family_code(family).to_dict()]
    family.build(1)
    vars(sys.modules["lazily"])["f"]()
    ours.append(family_code(family).to_dict())
    script = tmp_path / "elsewhere" / "look.py"
    write(tmp_path, {"elsewhere/look.py": IN_A_SUBPROCESS})
    command = [sys.executable, "-P", str(script), first, nets]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    ours.append(json.loads(done.stdout))
    assert all(found == ours[0] for found in ours)
    assert "conditional.py" in ours[0]["modules"]
    assert "unrelated.py" in ours[0]["modules"]


class TestChanges:
    CODES = st.fixed_dictionaries(
        {
            kind: st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"))
            for kind in ("modules", "packages")
        }
    )

    @given(before=CODES, after=CODES)
    def test_one_sentence_a_difference(self, before, after):
        changes = code_changes(before, after)
        different = [
            name
            for kind in before
            for name in {*before[kind], *after[kind]}
            if before[kind].get(name) != after[kind].get(name)
        ]
        assert sorted(change[0] for change in changes) == sorted(different)

    def test_nothing_is_known_of_older_records(self):
        after = {"modules": {"a.py": "1"}, "packages": {}}
        assert code_changes({}, after) == ["a.py is new"]


class TestStudies:
    HELPER = "from torch import nn\n\ndef hidden(n, m):\n    return nn.Linear(n, m){more}\n"
    NETS = textwrap.dedent(
        """
        from torch import nn
        from layers_of_study import hidden

        def build(width):
            return nn.Sequential(nn.Flatten(), hidden(6, 4 * width), nn.Linear(4 * width, 3))
        """
    )

    def begin(self, folder, study):
        (folder / "nets.py").write_text(self.NETS)
        helper = folder / "layers_of_study.py"
        helper.write_text(self.HELPER.format(more=""))
        spec = fields(family=f"{folder / 'nets.py'}:build", grid={"widening_factor": 1})
        return Study.create(study, spec, data=clouds()), helper

    @pytest.mark.slow
    def test_a_helper_edited_after_it_began(self, tmp_path, monkeypatch):
        in_this_process(monkeypatch)
        study, helper = self.begin(tmp_path, tmp_path / "s")
        helper.write_text(self.HELPER.format(more=".requires_grad_(n > 1)"))
        message = r"layers_of_study\.py changed since the study in .* asked for it; restore it, or"
        with pytest.raises(InputError, match=message):
            study.run(1, progress=False)
        helper.write_text(self.HELPER.format(more="  # as before"))
        study.run(1, progress=False)
        assert len(study.results()) == 4

    @pytest.mark.cluster
    def test_a_helper_edited_between_two_runs(self, tmp_path):
        """In worker processes, after some results have landed."""
        study, helper = self.begin(tmp_path, tmp_path / "s")
        study.run(1, progress=False)
        landed_files(tmp_path / "s")[0].unlink()
        helper.write_text(self.HELPER.format(more=".requires_grad_(n > 1)"))
        with pytest.raises(InputError, match=r"layers_of_study\.py changed since the study"):
            Study.open(tmp_path / "s").run(1, progress=False)
