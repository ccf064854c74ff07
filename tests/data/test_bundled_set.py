import hashlib
import importlib.util
import lzma
import time
from pathlib import Path

import numpy as np
import pytest

from widthwise.data import bundled_set
from widthwise.data.bundled_set import NUM_TEST, NUM_TRAIN, read_bundled
from widthwise.data.sources import FASHION_MNIST, locate_idx_set, read_idx_set
from widthwise.errors import InputError

FOLDER = Path(bundled_set.__file__).parent / "bundled"
TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_bundled_data.py"
SYSTEM_FOLDER = Path(FASHION_MNIST.system_folders[0])
needs_full_set = pytest.mark.skipif(
    locate_idx_set(FASHION_MNIST, str(SYSTEM_FOLDER)) is None,
    reason="Debian's package dataset-fashion-mnist is not installed",
)


@pytest.mark.slow
def test_sizes_and_balance():
    raw = read_bundled()
    assert raw.train_inputs.shape == (NUM_TRAIN, 28, 28)
    assert raw.test_inputs.shape == (NUM_TEST, 28, 28)
    assert set(np.bincount(raw.train_labels)) == {NUM_TRAIN // 10}
    assert set(np.bincount(raw.test_labels)) == {NUM_TEST // 10}


@pytest.mark.slow
def test_no_test_image_is_a_training_image():
    raw = read_bundled()
    train = {image.tobytes() for image in raw.train_inputs}
    assert not train & {image.tobytes() for image in raw.test_inputs}


@pytest.mark.slow
def test_files_are_small_and_quick_to_read():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6_000_000
    start = time.perf_counter()
    read_bundled()
    assert time.perf_counter() - start < 5  # about 0.4 s; room for a busy machine


def test_licence_notice_is_complete():
    notice = " ".join((FOLDER / "NOTICE").read_text(encoding="utf-8").split())
    for part in (
        "Copyright (c) 2017 Zalando SE",
        "Permission is hereby granted, free of charge",
        "The above copyright notice and this permission notice shall be included in all copies",
        "OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.",
        f"({NUM_TRAIN:,} images)",
        f"({NUM_TEST:,} images)",
    ):
        assert part in notice


@pytest.mark.slow
def test_what_all_share_cannot_be_changed():
    raw = bundled_set.read_bundled()
    arrays = (raw.train_inputs, raw.train_labels, raw.test_inputs, raw.test_labels)
    assert not any(array.flags.writeable for array in arrays)


@pytest.mark.slow
def test_changed_content_is_noticed(monkeypatch):
    monkeypatch.setitem(bundled_set._SHA256, "t10k-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(InputError, match=r"bundled t10k-labels-idx1-ubyte.xz must have"):
        read_bundled()


@pytest.mark.slow
@needs_full_set
def test_made_by_the_tool_from_the_full_set():
    spec = importlib.util.spec_from_file_location("make_bundled_data", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arrays = tool.subset(read_idx_set(SYSTEM_FOLDER, FASHION_MNIST))
    for stem, array in arrays.items():
        content = tool.format_idx(array)
        assert hashlib.sha256(content).hexdigest() == bundled_set._SHA256[stem]
        assert lzma.decompress((FOLDER / f"{stem}.xz").read_bytes()) == content
