"""Families of the user's own: found, checked, trained, recognized when edited."""

import functools
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from engines.training_alone import dense_engine
from polars.testing import assert_frame_equal
from tiny_studies import clouds, comparable, fields, in_this_process
from torch import nn

from widthwise.errors import InputError
from widthwise.families import UserFamily, beside, family_code, mlp, reference_to, user_family
from widthwise.study import Study
from widthwise.study.family_spec import FamilySpec

CHAIN = """
from torch import nn
import torch

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.hidden, self.readout = nn.Linear(6, 4 * width), nn.Linear(4 * width, 3)

    def forward(self, x):
        return self.readout(torch.relu(self.hidden(x.flatten(1))))

def build(width):
    return Net(width)
"""
RESIDUAL = CHAIN.replace(
    "return self.readout(torch.relu(self.hidden(x.flatten(1))))",
    """
        h = self.hidden(x.flatten(1))
        return self.readout(h + torch.tanh(h))""",
)


def top_level_family(width):
    """Found by workers as "test_user_families:top_level_family"."""
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4 * width), nn.ReLU(), nn.Linear(4 * width, 3))


def with_seed(width, seed):
    generator = torch.Generator().manual_seed(seed)
    network = top_level_family(width)
    with torch.no_grad():
        network[1].weight.normal_(generator=generator)
    return network


class CallableFamily:
    def __call__(self, width):
        return top_level_family(width)


AS_OBJECT = CallableFamily()
AS_PARTIAL = functools.partial(top_level_family)
NOT_A_FUNCTION = 3


@pytest.fixture
def trained(monkeypatch):
    return in_this_process(monkeypatch)


def run(directory, **spec):
    study = Study.create(directory, fields(**spec), data=clouds())
    study.run(1, progress=False)
    return study


class TestWaysToName:
    @pytest.mark.slow
    def test_file_and_function(self, tmp_path, trained):
        (tmp_path / "nets.py").write_text(CHAIN)
        table = run(tmp_path / "s", family=f"{tmp_path / 'nets.py'}:build").results()
        assert set(table["engine"]) == {dense_engine()}
        assert set(table["family"]) == {"build"}
        assert set(table["status"]) == {"ok"}

    @pytest.mark.slow
    def test_file_beside_the_specification(self, tmp_path, trained, monkeypatch):
        (tmp_path / "nets.py").write_text(CHAIN)
        (tmp_path / "spec.toml").write_text(
            "training = {steps = 24, evaluations = 8}\n"
            '[family]\nkind = "nets.py:build"\n'
            "[grid]\nwidening_factor = 1\nlearning_rate = 0.1\nbatch_size = 8\nseeds = 2\n"
        )
        monkeypatch.chdir("/")
        study = Study.create(tmp_path / "s", tmp_path / "spec.toml", data=clouds())
        study.run(1, progress=False)
        assert len(study.results()) == 2

    @pytest.mark.slow
    def test_module_and_function(self, tmp_path, trained, monkeypatch):
        (tmp_path / "nets_in_a_module.py").write_text(CHAIN)
        monkeypatch.syspath_prepend(tmp_path)
        study = run(tmp_path / "s", family={"kind": "nets_in_a_module:build"})
        assert len(study.results()) == 8

    @pytest.mark.slow
    def test_callable(self, tmp_path, trained):
        study = run(tmp_path / "s", family=top_level_family)
        assert study.spec.family.kind == f"{__name__}:top_level_family"
        same = run(
            tmp_path / "t", family={"kind": top_level_family, "parameterization": "standard"}
        )
        ours, theirs = (comparable(s.results()).drop("spec_hash") for s in (study, same))
        assert_frame_equal(ours, theirs, check_exact=True)

    @pytest.mark.slow
    def test_residual_networks_run_in_packed_form(self, tmp_path, trained):
        (tmp_path / "nets.py").write_text(RESIDUAL)
        table = run(tmp_path / "s", family=f"{tmp_path / 'nets.py'}:build").results()
        assert set(table["engine"]) == {"graph"}
        assert set(table["status"]) == {"ok"}

    @pytest.mark.slow
    def test_dropout_and_batch_norm(self, tmp_path, trained):
        (tmp_path / "nets.py").write_text(
            "from torch import nn\ndef build(width):\n    return nn.Sequential(nn.Flatten(), "
            "nn.Linear(6, 4 * width), nn.BatchNorm1d(4 * width), nn.ReLU(), nn.Dropout(0.1), "
            "nn.Linear(4 * width, 3))"
        )
        table = run(tmp_path / "s", family=f"{tmp_path / 'nets.py'}:build").results()
        assert set(table["engine"]) == {"graph"}
        assert set(table["status"]) == {"ok"}

    def test_batch_norm_of_one_example_is_refused_before_anything_is_written(self, tmp_path):
        (tmp_path / "nets.py").write_text(
            "from torch import nn\ndef build(width):\n    return nn.Sequential(nn.Flatten(), "
            "nn.Linear(6, 4 * width), nn.BatchNorm1d(4 * width), nn.Linear(4 * width, 3))"
        )
        with pytest.raises(InputError, match="batch norm needs at least two values a channel"):
            run(tmp_path / "s", family=f"{tmp_path / 'nets.py'}:build", grid={"batch_size": 1})
        assert not (tmp_path / "s").exists()

    @pytest.mark.cluster
    def test_in_a_worker_process(self, tmp_path):
        """With everything looked up afresh: the file, the data, the specification."""
        (tmp_path / "nets.py").write_text(RESIDUAL)
        spec = {"family": f"{tmp_path / 'nets.py'}:build", "grid": {"widening_factor": 1}}
        assert set(run(tmp_path / "s", **spec).results()["engine"]) == {"graph"}


BESIDE = """
from torch import nn
import {one}

def build(width):
    import {two}
    return nn.Sequential(nn.Flatten(), {two}.Net(width))
"""
HELPER = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(6, 4 * width)

    def forward(self, x):
        import {three}
        return {three}.activation(self.layer(x))
"""


class TestImports:
    """Modules beside the user are found, and the path is left as it was."""

    @pytest.fixture
    def names(self, tmp_path, monkeypatch):
        """Modules of their own for each test, in the working directory."""
        unique = f"beside_{abs(hash(tmp_path))}"
        names = {name: f"{unique}_{name}" for name in ("nets", "one", "two", "three")}
        texts = {
            "nets": BESIDE,
            "one": "",
            "two": HELPER,
            "three": "from torch import relu as activation",
        }
        for name, text in texts.items():
            (tmp_path / f"{names[name]}.py").write_text(text.format(**names))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        monkeypatch.setattr(beside, "_directories", [])
        monkeypatch.setattr(beside, "_working", set())
        yield names
        for name in names.values():
            sys.modules.pop(name, None)

    def test_while_it_is_imported_called_and_run(self, names, monkeypatch):
        before = list(sys.path)
        family = user_family(f"{names['nets']}:build")
        assert names["one"] in sys.modules
        assert sys.path == before
        monkeypatch.chdir("/")
        module = family.build(2)
        assert names["two"] in sys.modules
        assert sys.path == before
        assert module(torch.ones(1, 6)).shape == (1, 8)
        assert names["three"] in sys.modules

    def test_the_users_own_comes_first_while_it_is_called(self, names, tmp_path, monkeypatch):
        other = tmp_path / "other"
        other.mkdir()
        (other / f"{names['two']}.py").write_text("raise RuntimeError('another module')")
        monkeypatch.syspath_prepend(other)
        user_family(f"{names['nets']}:build").build(1)

    def test_the_path_is_left_alone_where_the_import_fails(self, names, tmp_path):
        before = list(sys.path)
        (tmp_path / f"{names['one']}.py").write_text("raise RuntimeError('boom')")
        with pytest.raises(InputError, match="boom"):
            user_family(f"{names['nets']}:build")
        assert sys.path == before

    def test_what_the_user_adds_stays(self, names, tmp_path):
        (tmp_path / f"{names['one']}.py").write_text("import sys\nsys.path.append('/of/the/user')")
        user_family(f"{names['nets']}:build")
        assert sys.path[-1] == "/of/the/user"

    def test_workers_look_there_too(self, names, tmp_path):
        assert beside.working_directories() == []
        user_family(f"{names['nets']}:build")
        assert beside.working_directories() == [str(tmp_path)]

    def test_other_modules_do_not_see_it(self, names, tmp_path, monkeypatch):
        """What is found elsewhere is not shadowed by a file beside the user."""
        user_family(f"{names['nets']}:build")
        (tmp_path / "this.py").write_text("raise RuntimeError('shadowed')")
        monkeypatch.delitem(sys.modules, "this", raising=False)
        assert str(tmp_path) not in importlib.util.find_spec("this").origin


SIBLING = "from torch import nn\ndef layer(n, m): return nn.Linear({scale} * n, m)\n"
USES_SIBLING = """
from torch import nn
from {layers} import layer

def build(width):
    return nn.Sequential(nn.Flatten(), layer(6, width))
"""


class TestModulesBesideAFile:
    """A file imports what lies beside it, as a script does; nothing else changes."""

    @pytest.fixture(autouse=True)
    def unchanged(self, monkeypatch):
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        monkeypatch.setattr(sys, "modules", dict(sys.modules))
        before = list(sys.path)
        yield
        assert sys.path == before

    @staticmethod
    def write(folder, layers="layers_beside", scale=1):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{layers.strip('.')}.py").write_text(SIBLING.format(scale=scale))
        (folder / "nets.py").write_text(USES_SIBLING.format(layers=layers))
        return f"{folder / 'nets.py'}:build"

    @staticmethod
    def fan_in(family):
        return family.build(2)[1].in_features

    def test_a_sibling(self, tmp_path):
        assert self.fan_in(user_family(self.write(tmp_path))) == 6

    def test_a_sibling_that_is_imported_by_a_sibling_and_later(self, tmp_path):
        reference = self.write(tmp_path)
        (tmp_path / "layers_beside.py").write_text(
            "def layer(n, m):\n    from deeper_beside import layer\n    return layer(n, m)\n"
        )
        (tmp_path / "deeper_beside.py").write_text(SIBLING.format(scale=3))
        assert self.fan_in(user_family(reference)) == 18

    def test_equal_names_in_two_folders(self, tmp_path):
        first = user_family(self.write(tmp_path / "a"))
        second = user_family(self.write(tmp_path / "b", scale=2))
        for _ in range(2):
            assert (self.fan_in(first), self.fan_in(second)) == (6, 12)
        assert self.fan_in(user_family(f"{tmp_path / 'a' / 'nets.py'}:build")) == 6

    def test_one_folder_lacks_what_another_has(self, tmp_path):
        first = user_family(self.write(tmp_path / "a"))
        reference = self.write(tmp_path / "b")
        (tmp_path / "b" / "layers_beside.py").unlink()
        with pytest.raises(InputError, match="No module named 'layers_beside'"):
            user_family(reference)
        assert self.fan_in(first) == 6

    def test_an_edited_sibling_is_read_again(self, tmp_path):
        reference = self.write(tmp_path)
        assert self.fan_in(user_family(reference)) == 6
        (tmp_path / "layers_beside.py").write_text(SIBLING.format(scale="1 + 4"))
        assert self.fan_in(user_family(reference)) == 4 * 6 + 1

    @pytest.mark.parametrize("package", ["pkg_beside", "outer_beside/inner"])
    @pytest.mark.parametrize("declared", [True, False])
    def test_relative_imports(self, tmp_path, package, declared):
        folder = tmp_path / package
        reference = self.write(folder, layers=".layers")
        if declared:
            (folder / "__init__.py").touch()
            (tmp_path / package.partition("/")[0] / "__init__.py").touch()
        family = user_family(reference)
        assert self.fan_in(family) == 6
        assert family.name == "build"

    def test_a_package_that_is_hidden_by_another(self, tmp_path):
        folder = tmp_path / "json"
        reference = self.write(folder, layers=".layers")
        (folder / "__init__.py").touch()
        with pytest.raises(InputError, match=r"'json' of .*nets\.py must be the one it lies in"):
            user_family(reference)

    def test_too_many_dots(self, tmp_path):
        reference = self.write(tmp_path, layers="." * 60 + "layers")
        with pytest.raises(InputError, match="could not be imported: ImportError"):
            user_family(reference)

    def test_files_named_like_the_standard_library(self, tmp_path):
        """Libraries and the family itself get the real ones."""
        reference = self.write(tmp_path)
        text = (tmp_path / "nets.py").read_text()
        (tmp_path / "nets.py").write_text("import colorsys, imghdr_of_nobody\n" + text)
        (tmp_path / "imghdr_of_nobody.py").write_text("import colorsys\ncolorsys.rgb_to_hsv\n")
        (tmp_path / "colorsys.py").write_text("raise RuntimeError('not this one')")
        sys.modules.pop("colorsys", None)
        assert self.fan_in(user_family(reference)) == 6

    def test_a_folder_of_data_hides_no_library(self, tmp_path):
        reference = self.write(tmp_path)
        (tmp_path / "packaging").mkdir()
        for name in [name for name in sys.modules if name.partition(".")[0] == "packaging"]:
            del sys.modules[name]
        text = (tmp_path / "nets.py").read_text()
        (tmp_path / "nets.py").write_text("import packaging.version\n" + text)
        assert self.fan_in(user_family(reference)) == 6


class TestBuilding:
    def test_the_seed_reaches_default_initializations(self):
        family = UserFamily(reference="m:f", function=top_level_family)
        first, same, other = (family.build(2, seed=s)[1].weight for s in (1, 1, 2))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)

    def test_functions_that_take_a_seed_get_it(self):
        family = UserFamily(reference="m:f", function=with_seed)
        assert not torch.equal(family.build(2, seed=1)[1].weight, family.build(2, seed=2)[1].weight)

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        UserFamily(reference="m:f", function=top_level_family).build(2, seed=7)
        assert torch.equal(torch.rand(3), expected)

    def test_whole_factors_arrive_as_integers(self):
        seen = []

        def build(width):
            seen.append(width)
            return nn.Linear(6, 3)

        family = UserFamily(reference="m:f", function=build)
        family.build(2.0)
        family.build(2.5)
        assert [type(width) for width in seen] == [int, float]

    def test_initial_variance(self):
        family = UserFamily(reference="m:f", function=top_level_family)
        assert [family.init_variance(w) for w in (1, 4)] == [1.0, 0.25]
        ntk = UserFamily(reference="m:f", function=top_level_family, parameterization="ntk")
        assert [ntk.init_variance(w) for w in (1, 4)] == [1.0, 1.0]

    def test_pytorchs_own_initialization(self):
        """Whatever the table of parameterizations has is accepted; built-in families draw two."""
        names = {"parameterization": "default"}
        family = UserFamily(reference="m:f", function=top_level_family, **names)
        assert [family.init_variance(w) for w in (1, 4)] == [1.0, 0.25]
        spec = FamilySpec(kind=f"{__name__}:top_level_family", **names)
        assert spec.family((6,), 3).parameterization == "default"
        with pytest.raises(InputError, match="standard, ntk, got 'default': built-in families"):
            mlp((6,), 3, **names)
        with pytest.raises(ValueError, match="use a function of your own"):
            FamilySpec(kind="mlp", **names)

    def test_other_parameterizations_are_refused(self):
        with pytest.raises(InputError, match="got 'unknown'"):
            UserFamily(reference="m:f", function=top_level_family, parameterization="unknown")


class TestSource:
    @pytest.mark.parametrize("name", ["top_level_family", "AS_OBJECT", "AS_PARTIAL"])
    def test_of_anything_that_can_be_called(self, name):
        family = user_family(f"{__name__}:{name}")
        assert family_code(family) == family_code(user_family(f"{__name__}:with_seed"))
        assert isinstance(family.build(1), nn.Module)

    @pytest.mark.slow
    @pytest.mark.parametrize("edited", ["nets.py", "layers_as_written.py", "pack_as_written/x.py"])
    def test_an_edited_file_is_another_module(self, tmp_path, monkeypatch, edited):
        """Also within a second and of the same size, by which Python's cache knows a file."""
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        (tmp_path / "pack_as_written").mkdir()
        files = {
            "nets.py": f"{CHAIN}\nimport layers_as_written, pack_as_written.x\n# 4\n",
            "layers_as_written.py": "units = 4\n",
            "pack_as_written/x.py": "units = 4\n",
        }
        for name, text in files.items():
            (tmp_path / name).write_text(text)
            os.utime(tmp_path / name, (10**9, 10**9))
        before = user_family(f"{tmp_path / 'nets.py'}:build")
        (tmp_path / edited).write_text(files[edited].replace("4", "5"))
        # Python's cache knows whole seconds, and Widthwise the rest.
        os.utime(tmp_path / edited, ns=(10**18 + 1, 10**18 + 1))
        after = user_family(f"{tmp_path / 'nets.py'}:build")
        assert before.build(1).hidden.out_features == 4
        assert after.build(1).hidden.out_features == (5 if edited == "nets.py" else 4)
        units = [sys.modules[name].units for name in ("layers_as_written", "pack_as_written.x")]
        assert units == [5 if edited == name else 4 for name in list(files)[1:]]

    @pytest.mark.slow
    def test_an_edited_file_stops_the_study(self, tmp_path, trained):
        path = tmp_path / "nets.py"
        path.write_text(CHAIN)
        study = Study.create(tmp_path / "s", fields(family=f"{path}:build"), data=clouds())
        path.write_text(CHAIN.replace("relu", "tanh"))
        with pytest.raises(InputError, match=r"nets\.py changed since .* asked for it"):
            study.run(1, progress=False)
        path.write_text(CHAIN + "\n# a remark\n")
        study.run(1, progress=False)
        assert len(study.results()) == 8


BAD_FILES = {
    "raises": ("def build(width):\n    raise RuntimeError('boom')", r"raised RuntimeError: boom"),
    "not a module": ("def build(width):\n    return 3", "must return a torch.nn.Module, got int"),
    "syntax": ("def build(width:\n", "could not be imported: SyntaxError"),
    "import": ("import no_such_module_anywhere", "could not be imported: ModuleNotFoundError"),
    "no function": ("x = 1", "has no 'build'"),
    "not a function": ("build = 3", "must be a function, got int"),
    "logits": (CHAIN.replace("width, 3)", "width, 4)"), r"logits of shape \(8, 3\).* got \(8, 4\)"),
    "inputs": (
        CHAIN.replace("nn.Linear(6", "nn.Linear(7"),
        "must accept inputs of the data set .clouds. of shape",
    ),
    "tuple": (
        CHAIN.replace("return self.readout(torch", "return 1, self.readout(torch"),
        "got tuple",
    ),
    "random numbers": (
        "import torch\nfrom torch import nn\nclass Noise(nn.Module):\n    def forward(self, x):\n"
        "        return x + torch.randn(4)\ndef build(width):\n    return nn.Sequential("
        "nn.Flatten(), nn.Linear(6, 4), Noise(), nn.Linear(4, width), "
        "nn.Linear(width, 3))",
        r"layer '2' \(Noise\) draws from PyTorch's random numbers",
    ),
    "one width only": (
        CHAIN.replace("return Net(width)", "return Net({1: 1}[width])"),
        r"build\(2\) must return a module, but it raised KeyError",
    ),
    "no parameters": (
        "from torch import nn\ndef build(width):\n    return nn.Sequential(nn.Flatten(), "
        "nn.AdaptiveAvgPool1d(3))",
        "raised RuntimeError",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
    def test_bad_families(self, tmp_path, trained, content, message):
        (tmp_path / "nets.py").write_text(content)
        with pytest.raises(InputError, match=message):
            run(tmp_path / "s", family=f"{tmp_path / 'nets.py'}:build")

    @pytest.mark.slow
    def test_a_good_one_passes(self, tmp_path, trained):
        (tmp_path / "nets.py").write_text(CHAIN)
        assert len(run(tmp_path / "s", family=f"{tmp_path / 'nets.py'}:build").results()) == 8

    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            ("nets.py", "is written"),
            (":build", "is written"),
            ("no_such_module_anywhere:build", "could not be imported"),
            ("absent.py:build", "no file"),
            (f"{__name__}:NOT_A_FUNCTION", "must be a function, got int"),
            (f"{__name__}:absent.deeper", "has no 'absent.deeper'"),
        ],
    )
    def test_references(self, reference, message):
        with pytest.raises(InputError, match=message):
            user_family(reference)

    @pytest.mark.parametrize("function", [lambda width: None, AS_OBJECT, AS_PARTIAL])
    def test_callables_that_no_worker_finds(self, function):
        with pytest.raises(InputError, match="importable by worker processes"):
            reference_to(function)

    def test_nested_functions(self):
        def nested(width):
            return None

        with pytest.raises(InputError, match=r"top level of a \.py file"):
            reference_to(nested)

    def test_an_object_that_is_not_what_its_name_says(self):
        @functools.wraps(top_level_family)
        def other(width):
            return None

        with pytest.raises(InputError, match="another object than the one given"):
            reference_to(other)


IN_A_SCRIPT = """
import functools
from torch import nn
from widthwise.families import reference_to

class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Linear(6, width))

    @classmethod
    def deep(cls, width):
        return cls(width)

class Outer:
    class Inner(Net):
        pass

@functools.lru_cache
def cached(width):
    return Net(width)

if __name__ == "__main__":
    for function in (Net, Net.deep, Outer.Inner, cached):
        print(reference_to(function))
"""


@pytest.mark.slow
def test_whatever_a_script_can_name(tmp_path):
    """Classes, their methods, classes in classes, and functions behind a decorator of C."""
    path = tmp_path / "script.py"
    path.write_text(IN_A_SCRIPT)
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    names = ("Net", "Net.deep", "Outer.Inner", "cached")
    assert done.stdout.splitlines() == [f"{path}:{name}" for name in names], done.stderr
    for line in done.stdout.splitlines():
        assert user_family(line).build(2)[0].out_features == 2


SCRIPT = (
    CHAIN
    + """
import widthwise as ww

def main():
    data = ww.data.Dataset.read({data!r})
    spec = dict(family=build, training=dict(steps=24, evaluations=8), grid=dict(
        widening_factor=1, learning_rate=0.1, batch_size=8, seeds=2))
    study = ww.Study.create({study!r}, spec, data=data)
    study.run(1, progress=False)
    print(len(study.results()))
"""
)


class TestScripts:
    def run_script(self, tmp_path, ending):
        clouds().save(tmp_path / "d.npz")
        text = SCRIPT.replace("{data!r}", repr(str(tmp_path / "d.npz")))
        text = text.replace("{study!r}", repr(str(tmp_path / "s")))
        (tmp_path / "script.py").write_text(text + ending)
        command = [sys.executable, str(tmp_path / "script.py")]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    @pytest.mark.slow
    def test_a_function_of_the_script_itself(self, tmp_path):
        done = self.run_script(tmp_path, '\nif __name__ == "__main__":\n    main()\n')
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr

    @pytest.mark.cluster
    def test_without_a_guard_it_is_told_so(self, tmp_path):
        done = self.run_script(tmp_path, "\nmain()\n")
        assert done.returncode == 1
        assert 'put what runs the study under `if __name__ == "__main__":`' in done.stderr


class TestOneNetwork:
    """Commands that look at a network take functions with and without a widening factor."""

    @staticmethod
    def width(function, factor=None):
        family = UserFamily(reference="nets:build", function=function)
        return family.network(factor)[1].out_features

    def test_the_factor_is_handed_over(self):
        assert self.width(top_level_family, 3) == 12

    def test_one_where_it_must_be_told(self):
        assert self.width(top_level_family) == 4

    def test_its_own_default_where_it_is_not_told(self):
        assert self.width(lambda width=5: top_level_family(width)) == 20
        assert self.width(lambda width=5: top_level_family(width), 2) == 8

    def test_a_function_without_a_factor(self):
        assert self.width(lambda: top_level_family(7)) == 28
        with pytest.raises(InputError, match="no parameter for one"):
            self.width(lambda seed: top_level_family(7), 2)

    def test_the_seed_is_handed_over(self):
        family = UserFamily(reference="nets:with_seed", function=with_seed)
        assert torch.equal(family.network(2, 5)[1].weight, with_seed(2, 5)[1].weight)
        assert not torch.equal(family.network(2, 6)[1].weight, with_seed(2, 5)[1].weight)

    def test_an_error_names_the_call(self):
        with pytest.raises(InputError, match=r"nets:build\(\) must return a torch.nn.Module"):
            self.width(lambda: 3)
