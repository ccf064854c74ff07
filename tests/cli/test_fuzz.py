"""A sample of fuzz.py: odd specifications and command lines end in one line, never in a traceback.

All of them: ``PYTHONPATH=tests python tests/cli/fuzz.py --seed 0``.
"""

import signal
import time

import fuzz
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("fuzz")
    fuzz.write_files(place)
    return place


@pytest.fixture(autouse=True)
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", [fuzz.try_spec, fuzz.try_line])
@pytest.mark.parametrize("number", range(30))
def test_odd_input_is_one_line(attempt, number, folder):
    tried, outcome = attempt(number, folder)
    assert outcome.fault is None, f"{tried}\n{outcome.err}"


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (fuzz.Outcome(None, "", "Traceback …", 1.0), "ended with None"),
        (fuzz.Outcome(1, "", "widthwise: a\nb\n", 1.0), "2 lines"),
        (fuzz.Outcome(2, "", "", 1.0), "no line about it"),
        (fuzz.Outcome(0, "", "", 61.0), "61 s"),
    ],
)
def test_faults_are_seen(outcome, fault):
    assert outcome.fault == fault


def test_time_is_that_of_sleep_but_not_that_of_waiting_for_a_processor(monkeypatch):
    before = fuzz.own_time()
    time.sleep(0.05)
    assert fuzz.own_time() - before > 0.02
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(fuzz.Path, "read_text", lambda path: "7000000000 30000000000 12")
    assert fuzz.own_time() == 70.0
