"""Devices and precisions: what is refused, what is said, and what is put back."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from widthwise import hardware
from widthwise.errors import InputError
from widthwise.hardware import (
    bf16_units,
    computing,
    describe_hardware,
    idle_card_note,
    precision_note,
    require_precision,
    resolve_device,
    rounded_products,
    rounds_products,
)

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def cards(monkeypatch):
    """Pretends that there are CUDA devices, of given compute capabilities."""

    def pretend(*capabilities):
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(cuda, "get_device_capability", lambda d: capabilities[d.index])
        monkeypatch.setattr(cuda, "get_device_name", lambda d: f"Card {d.index}")
        monkeypatch.setattr(
            cuda,
            "get_device_properties",
            lambda i: SimpleNamespace(
                name=f"Card {i}",
                major=capabilities[i][0],
                minor=capabilities[i][1],
                total_memory=80e9,
            ),
        )

    return pretend


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Pretends that this CPU has given units, as PyTorch or as Linux tells."""

    def pretend(*, told=None, flags=""):
        for unit, question in (
            ("amx", "_is_amx_tile_supported"),
            ("avx512", "_is_avx512_bf16_supported"),
        ):
            if told is None:
                monkeypatch.delattr(torch.cpu, question, raising=False)
            else:
                answer = unit in told
                monkeypatch.setattr(torch.cpu, question, lambda a=answer: a, raising=False)
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu {flags} sse\n")
        monkeypatch.setattr(hardware, "_CPUINFO", path)
        bf16_units.cache_clear()

    yield pretend
    bf16_units.cache_clear()


class TestResolveDevice:
    @pytest.mark.parametrize(
        ("name", "capabilities", "expected"),
        [
            ("auto", [], "cpu"),
            ("cpu", [], "cpu"),
            ("auto", [(9, 0)], "cpu"),  # until an engine has been tried on one
            ("cpu", [(9, 0)], "cpu"),
            ("cuda", [(9, 0)], "cuda:0"),
            ("cuda:1", [(9, 0), (8, 0)], "cuda:1"),
        ],
    )
    def test_names_of_devices(self, cards, name, capabilities, expected):
        cards(*capabilities)
        assert resolve_device(name) == torch.device(expected)

    def test_a_card_that_is_left_idle_is_said(self, cards):
        cards((9, 0))
        assert "CUDA device is here" in idle_card_note("auto")
        assert idle_card_note("cpu") is None
        cards()
        assert idle_card_note("auto") is None

    @pytest.mark.parametrize(
        ("name", "capabilities", "message"),
        [
            ("gpu", [], '"cuda" or "cuda:N", got \'gpu\''),
            ("cuda:", [(9, 0)], "got 'cuda:'"),
            ("cuda", [], 'needs a CUDA device.*take "cpu"'),
            ("cuda:1", [(9, 0)], "one of the 1 CUDA devices here, counted from 0, got 'cuda:1'"),
        ],
    )
    def test_what_is_not_there_is_refused(self, cards, name, capabilities, message):
        cards(*capabilities)
        with pytest.raises(InputError, match=message):
            resolve_device(name)


class TestPrecision:
    @pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
    def test_recent_cards_have_all(self, cards, precision):
        cards((8, 0))
        require_precision(precision, CARD)

    @pytest.mark.parametrize("precision", ["tf32", "bf16"])
    def test_older_cards_have_float32_only(self, cards, precision):
        cards((7, 5))
        require_precision("float32", CARD)
        with pytest.raises(InputError, match=r"8\.0 or higher, got 7\.5 \(Card 0\); take"):
            require_precision(precision, CARD)

    def test_tf32_is_refused_on_a_cpu(self):
        with pytest.raises(InputError, match='needs a CUDA device, got device "cpu"'):
            require_precision("tf32", CPU)

    def test_an_unknown_precision_is_refused(self):
        with pytest.raises(InputError, match="float32, tf32, bf16, got 'fp8'"):
            require_precision("fp8", CPU)

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("units", [("amx", "avx512"), ("amx",), ("avx512",), ()])
    def test_bf16_on_a_cpu_needs_a_unit_for_it(self, processor, units, known):
        if known:
            processor(told=units, flags="amx_bf16 avx512_bf16")  # what PyTorch says counts
        else:
            processor(flags=" ".join(f"{unit}_bf16" for unit in units))
        assert bf16_units() == units
        if units:
            require_precision("bf16", CPU)
        else:
            with pytest.raises(InputError, match='got Some CPU, which has neither; take "float32"'):
                require_precision("bf16", CPU)

    def test_another_system_without_cpuinfo_has_no_units(self, processor, monkeypatch, tmp_path):
        processor(flags="amx_bf16")
        monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "absent")
        assert bf16_units() == ()

    def test_a_note_where_float32_is_faster(self, processor):
        processor(told=("avx512",))
        note = precision_note("bf16", CPU)
        assert "without AMX" in note
        assert "\n" not in note
        assert precision_note("float32", CPU) is None
        assert precision_note("bf16", CARD) is None

    def test_no_note_with_amx(self, processor):
        processor(told=("amx", "avx512"))
        assert precision_note("bf16", CPU) is None


def settings():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


class TestComputing:
    @pytest.mark.parametrize(
        ("precision", "expected"),
        [("float32", ("highest", False)), ("bf16", ("highest", False)), ("tf32", ("high", True))],
    )
    def test_on_a_card(self, cards, precision, expected):
        cards((8, 0))
        before = settings()
        with computing(precision, CARD):
            assert settings() == expected
        assert settings() == before

    def test_settings_are_put_back_after_an_error(self, cards):
        cards((8, 0))
        before = settings()
        with pytest.raises(ZeroDivisionError), computing("tf32", CARD):
            raise ZeroDivisionError
        assert settings() == before

    def test_full_float32_whatever_the_process_had_set(self):
        torch.set_float32_matmul_precision("medium")
        try:
            with computing("float32", CPU):
                assert settings() == ("highest", False)
            assert settings()[0] == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")

    def test_refuses_what_the_device_cannot_do(self):
        with pytest.raises(InputError, match="tf32"), computing("tf32", CPU):
            pytest.fail("entered")


class TestRoundedProducts:
    def test_the_setting_is_put_back_even_after_an_error(self):
        before = settings()
        with rounded_products():
            assert settings()[0] == "medium"
        assert settings() == before
        with pytest.raises(ZeroDivisionError), rounded_products():
            raise ZeroDivisionError
        assert settings() == before

    def test_without_them_nothing_is_said_to_be_rounded(self, monkeypatch):
        monkeypatch.setattr(hardware, "rounded_products", nullcontext)
        assert not rounds_products.__wrapped__()

    @pytest.mark.skipif(not rounds_products(), reason="needs a CPU with AMX")
    @pytest.mark.parametrize("size", [(1, 16, 24, 24), (3, 16, 784, 64), (2, 128, 64, 10)])
    def test_operands_are_rounded_and_sums_are_not(self, size):
        replicas, batch, fan_in, fan_out = size
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(replicas, batch, fan_in, generator=generator)
        weight = torch.randn(replicas, fan_out, fan_in, generator=generator)
        start = torch.randn(replicas, fan_out, batch, generator=generator)
        with rounded_products():
            forward = torch.bmm(x, weight.transpose(1, 2))
            added = start.clone().baddbmm_(weight, x.transpose(1, 2))
        exact, rounded = (
            torch.bmm(a.double(), b.double().transpose(1, 2))
            for a, b in ((x, weight), (x.bfloat16(), weight.bfloat16()))
        )
        for ours in (forward, (added - start).transpose(1, 2)):
            assert torch.allclose(ours.double(), rounded, rtol=0, atol=1e-4)
            assert not torch.allclose(ours.double(), exact, rtol=0, atol=1e-2)


class TestDescription:
    def test_names_units_and_cards_in_one_line(self, processor, cards):
        processor(told=("amx", "avx512"))
        cards((9, 0))
        line = describe_hardware()
        assert line.startswith("CPU Some CPU (")
        assert "AMX-BF16 and AVX512-BF16" in line
        assert line.endswith("cuda:0 Card 0 (capability 9.0, 80 GB)")

    def test_says_what_is_not_there(self, processor, cards):
        processor(told=())
        cards()
        assert describe_hardware().endswith("no bf16 units); no CUDA device")
