"""Specifications and command lines with odd values, from a seed.

A sample is part of the suite (test_fuzz.py). All of them, 500 specifications and 400 command lines:

    PYTHONPATH=tests python tests/cli/fuzz.py --seed 0

prints what failed, and how long and how much memory the worst took. Other seeds are other ones.
"""

import argparse
import contextlib
import inspect
import io
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import typer
from tiny_studies import InlineExecutor, clouds

from widthwise import cli
from widthwise.execution import EXECUTORS

NUM_SPECS, NUM_LINES = 500, 400
SECONDS, GIGABYTES = 60, 2.0
COMMANDS = typer.main.get_command(cli.app).commands

NETWORKS = """
import sys
import torch
from torch import nn

print("imported")


def build(w):
    print("built")
    width = int(8 * w)
    return nn.Sequential(nn.Flatten(), nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


def ends(w):
    sys.exit(0)


def nothing(w):
    return None


def frozen(w):
    return build(w).requires_grad_(False)


def lazy(w):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
"""


def deep(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# What json does not write, by what stands for it in a specification: deep arrays, a number that
# Python does not convert, one beyond floats.
RAW = {
    "@deep": "[" * 1000 + "]" * 1000,
    "@deeper": "[" * 20_000 + "]" * 20_000,
    "@digits": "1" * 5000,
    "@beyond": "1e400",
    "@twice": '1, "seeds": 2, "base_width": 4, "steps": 8',
}
# Small numbers are run; between them and what nobody means there is nothing, which would take long.
NUMBERS = [
    0, -1, 1, 2, 3, 7, 0.5, 1e-300, -1e308, 1e308, float("inf"), float("nan"), 10**12, 10**19,
    2**63, 2**64, -(2**63), 10**320, -0.0, 1.000001, 5e-324,
]  # fmt: skip
TEXTS = [
    "", " ", "x", "\0", "\x1b[2J", "\ud800", "ε̄", "a" * 10_000, "../..", "/dev/zero", "/dev/null",
    "auto", "cuda:99", "none", "=", "1e5", "builtins:int", "math:sqrt", "os:_exit_",
    "~nobody/x.py:f",
    "a\0b.py:f", "nets.py:", ":", "nets.py:ends", "nets.py:nothing", "nets.py:frozen",
    "nets.py:lazy", "nets.py:build", "mlp", "cnn", "wide_resnet", "\x07\x9b31m", "\u202eback",
    "a\r\nb", "\ufeff", "8", "NaN", "{}", "%s%n", "~", "nets.py:sys.exit", "nets.py:__name__",
    ".:f", "d.npz:f", *RAW,
]  # fmt: skip
OTHERS = [
    True, False, None, [], {}, [[]], [1, "a"], [True], [1, 1, 2], [0.1, float("nan")], deep(60),
    {"from": 1, "to": 4, "num": 2}, {"from": 1, "to": 4, "num": 10**10}, {"from": 0, "to": 1e308},
    {"from": 1e-300, "to": 1e300, "num": 3}, {"from": 1, "to": 10**320, "num": 3},
    [1, 1.000001], [1, 1 + 2**-52], [0], [-1], [10**320], [float("inf")], ["auto"], [None], [{}],
    {"from": float("nan"), "to": 4, "num": 2}, {"": 1}, {"from": True, "to": 2, "num": 2}, *RAW,
]  # fmt: skip
KEYS = {
    "": ["title", "family", "data", "grid", "search", "training", "packing", "limits", "extra"],
    "family": [
        "kind", "parameterization", "base_width", "depth", "bias", "activation", "normalization",
        "pooling", "widen_stem", "extra",
    ],
    "data": [
        "name", "path", "num_train", "num_test", "num_validation", "seed", "preprocessing",
    ],
    "grid": [
        "widening_factor", "seeds", "momentum", "learning_rate", "batch_size",
        "max_stable_learning_rate", "stability_margin", "max_batch_size",
    ],
    "training": [
        "steps", "epochs", "physical_time", "evaluations", "late_fraction", "sampling", "nesterov",
        "weight_decay", "schedule", "warmup", "decay_at", "decay_factor", "loss",
        "label_smoothing", "augmentation", "crop_padding", "ghost_batch_size", "precision",
    ],
    "packing": ["size", "max_replicas", "memory_mb"],
    "hardware": ["device"],
    "analysis": ["seed"],
    "limits": ["runs", "steps"],
}  # fmt: skip

NAMES = {
    "title", "kind", "parameterization", "activation", "normalization", "pooling", "name", "path",
    "preprocessing", "sampling", "schedule", "augmentation", "loss", "precision", "device",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a command line ended.

    Attributes:
        code: exit code; None after a traceback.
        out, err: what was printed.
        seconds: that it took, without those in which others had the processor.
    """

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def fault(self) -> str | None:
        """What a user should not meet, if there is something."""
        if self.code not in (0, 1, 2):
            return f"ended with {self.code}"
        if "Traceback" in self.out + self.err:
            return "a traceback"
        err = self.err.replace("imported\n", "").replace("built\n", "")  # by NETWORKS, with --json
        usage = err.lstrip().startswith("Usage:")  # Typer's own, about the command line
        if self.code and not usage and (lines := err.splitlines()) != lines[-1:]:
            return f"{len(lines)} lines"
        if self.code and not usage and not err.startswith("widthwise: "):
            return "no line about it"
        return f"{self.seconds:.0f} s" if self.seconds > SECONDS else None


def odd_value(rng, like=None):
    """Any value; mostly one of the kind that belongs there, which comes farther."""
    if like is not None and rng.random() < 0.75:
        return rng.choice(like)
    return rng.choice(rng.choice([NUMBERS, TEXTS, OTHERS]))


def odd_spec(rng, folder):
    """A small study with one to three odd values, as the text of a file and the file's ending."""
    spec = {
        "family": rng.choice([{"base_width": 4}, {"kind": "nets.py:build"}]),
        "data": {"name": "npz", "path": str(folder / "d.npz"), "preprocessing": "none"},
        "grid": {"widening_factor": [1, 2], "learning_rate": 0.1, "batch_size": 8, "seeds": 2},
        "training": {"steps": 8, "evaluations": 8},
        "packing": {"size": 4},
    }
    for _ in range(rng.choice([1, 1, 2, 3])):
        table = rng.choice(list(KEYS))
        key = rng.choice(KEYS[table])
        value = odd_value(rng, TEXTS if key in NAMES else NUMBERS if table else None)
        if key == "seeds" and rng.random() < 0.3:
            value = 20231127  # one seed may be meant
        node = spec if not table else spec.setdefault(table, {})
        if isinstance(node, dict):
            if key in ("epochs", "physical_time") and table == "training":
                node.pop("steps", None)
            node[key] = value
    content = _with_raw(json.dumps(spec)).encode()
    if rng.random() < 0.1:
        content = _with_raw(as_toml(spec)).encode("utf-8", "surrogatepass")
    return rng.choices(
        [content, b"\xef\xbb\xbf" + content, content[:-3], _utf_16(content),
         b"[" * 100_000, b"\xff\xfe\x00", b""],
        [60, 3, 1, 1, 1, 1, 1],
    )[0]  # fmt: skip


def _utf_16(content):
    return content.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")


def _with_raw(text):
    for mark, raw in RAW.items():
        text = text.replace(f'"{mark}"', raw)
    return text


def as_toml(spec):
    """Tables of one level; what TOML cannot say is left out."""
    lines = [f"{k} = {_toml(v)}" for k, v in spec.items() if not _is_table(v) and v is not None]
    for name, table in spec.items():
        if _is_table(table):
            lines.append(f"[{name}]")
            lines += [f"{k} = {_toml(v)}" for k, v in table.items() if v is not None]
    return "\n".join(lines)


def _is_table(value):
    return isinstance(value, dict) and bool(value)


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan as TOML has them
    return "''" if value is None else json.dumps(value, ensure_ascii=False)


def odd_line(rng, folder):
    """A command with some of its options, odd or sound."""
    name = rng.choice(sorted(COMMANDS))
    files = [str(folder / f) for f in ("spec.json", "absent.toml", "nets.py", "d.npz", "")]
    sound = {"learning_rate": "0.1", "batch_size": "8", "widening_factor": "4"}
    nets = ["nets.py:build", "nets.py:ends", "nets.py:nothing", "builtins:int", "mlp", "absent:f"]
    words, annotations = [name], inspect.get_annotations(COMMANDS[name].callback)
    for parameter in COMMANDS[name].params:
        if name == "reproduce" and parameter.name in ("claims", "yes"):
            continue
        option = parameter.param_type_name == "option"
        required = parameter.required or parameter.name in sound
        if rng.random() > (0.95 if required else 0.25):
            continue
        texts = [str(value) for value in (*NUMBERS, *TEXTS) if "\0" not in str(value)]
        numbers = [*map(str, NUMBERS), RAW["@digits"], RAW["@beyond"]]
        annotation = str(annotations[parameter.name])
        if re.search("int|float", annotation) and rng.random() < 0.9:
            kind = int if "int" in annotation else object
            odd = rng.choice([str(value) for value in NUMBERS if isinstance(value, kind)])
            odd = rng.choice([odd, odd, odd, RAW["@digits"]])
        elif parameter.name == "widths":
            odd = ",".join(rng.choices(numbers, k=2))
        elif parameter.name == "keep":
            odd = rng.choice(["stability", "momentum", "batch_size", "largest_batch", "x"])
        elif parameter.name in ("spec", "directory", "first", "second"):
            odd = rng.choice(files)
        elif parameter.name in ("reference", "target", "base", "network"):
            odd = rng.choice(nets)
        else:
            odd = rng.choice([rng.choice(texts), rng.choice(files), rng.choice(nets)])
        kept = parameter.name in sound and rng.random() < 0.7
        value = sound[parameter.name] if kept else odd
        if parameter.name == "settings":
            key = rng.choice([f"{t}.{k}" for t in KEYS if t for k in KEYS[t]])
            value = f"{key}={value}"
        if parameter.name == "output":
            value = str(folder / "out")
        if not option:
            words.append(value.encode("utf-8", "replace").decode())
        elif parameter.is_flag:
            words.append(rng.choice(parameter.opts))
        else:
            words += [rng.choice(parameter.opts), value.encode("utf-8", "replace").decode()]
    if name == "reproduce":
        words.append(rng.choice(["--list", "nonsense"]))
    if name in ("probe", "calibrate", "run"):
        words.append("-q")
    if name == "probe":  # a probe that runs is to be a short one
        words += ["--steps", rng.choice(["2", "1000000000000"]), "--seeds", "2"]
        words += ["--data", "mnist1d", "--set", "data.num_train=64"]
    return words


def call(*words):
    """Runs a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    started, code = own_time(), None
    with (
        mock.patch.object(sys, "argv", ["widthwise", *words]),
        mock.patch.dict(EXECUTORS, local=InlineExecutor),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = 0 if ended.code is None else ended.code
        except BaseException:
            err.write(traceback.format_exc())
    return Outcome(code, out.getvalue(), err.getvalue(), own_time() - started)


def own_time():
    """Seconds on some clock that stands still while this process waits for a processor, where the
    system tells; asleep it runs."""
    waited = 0
    with contextlib.suppress(OSError):
        waited = int(Path("/proc/self/schedstat").read_text().split()[1])
    return time.monotonic() - waited / 1e9


def write_files(folder):
    """What commands read."""
    (folder / "nets.py").write_text(NETWORKS)
    clouds().save(folder / "d.npz")
    spec = {
        "family": {"base_width": 4},
        "data": {"name": "npz", "path": str(folder / "d.npz"), "preprocessing": "none"},
        "training": {"steps": 8, "evaluations": 8},
        "packing": {"size": 4},
    }
    (folder / "spec.json").write_text(json.dumps(spec))


def try_spec(number, folder, seed=0):
    """(what was tried, how it ended) of one specification; `folder` is the working directory."""
    rng = random.Random(f"specification {number} of {seed}")
    content = odd_spec(rng, folder)
    is_json = content.lstrip(b"\xef\xbb\xbf").startswith(b"{")
    path = folder / f"spec-{number}.{'json' if is_json else 'toml'}"
    path.write_bytes(content)
    return content[:2000], call("run", str(path), "-q", "-o", str(folder / f"study-{number}"))


def try_line(number, folder, seed=0):
    """The same of one command line."""
    words = odd_line(random.Random(f"command line {number} of {seed}"), folder)
    return words, call(*words)


def main() -> int:
    parser = argparse.ArgumentParser(description="Odd specifications and command lines.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--specs", type=int, default=NUM_SPECS)
    parser.add_argument("--lines", type=int, default=NUM_LINES)
    asked = parser.parse_args()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    failed, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        folder = Path(place)
        write_files(folder)
        for attempt, count in ((try_spec, asked.specs), (try_line, asked.lines)):
            for number in range(count):
                signal.alarm(30 * SECONDS)  # what is asleep for ever; a busy machine may take long
                tried, outcome = attempt(number, folder, asked.seed)
                signal.alarm(0)
                slowest = max(slowest, outcome.seconds)
                if outcome.fault is not None:
                    failed += 1
                    print(f"{attempt.__name__} {number}: {outcome.fault}\n{tried}")
                    print(outcome.err[-1500:], flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{asked.specs} + {asked.lines}: {failed} failed; slowest {slowest:.1f} s, {peak:.2f} GB")
    return 1 if failed or peak > GIGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
