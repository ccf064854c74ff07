import gzip
import lzma
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from widthwise.data.readers import files
from widthwise.data.readers.files import read_file
from widthwise.data.readers.idx import format_idx, parse_idx, read_idx
from widthwise.data.readers.npz import read_npz
from widthwise.errors import DataNotFoundError, InputError

DTYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]
idx_arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5))
)


@pytest.mark.slow
@given(array=idx_arrays)
def test_round_trip(array):
    again = parse_idx(format_idx(array), source="memory")
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_bytes_follow_the_published_format():
    content = bytes.fromhex("00 00 08 02  00 00 00 01  00 00 00 03  07 08 09")
    assert parse_idx(content, source="memory").tolist() == [[7, 8, 9]]
    assert format_idx(np.array([[7, 8, 9]], dtype=np.uint8)) == content


def test_wide_integers_are_big_endian():
    content = bytes.fromhex("00 00 0b 01  00 00 00 02  01 00  ff fe")
    assert parse_idx(content, source="memory").tolist() == [256, -2]


@pytest.mark.slow
@given(array=idx_arrays, data=st.data())
def test_every_truncation_is_noticed(array, data):
    content = format_idx(array)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(InputError, match="memory must be an IDX file"):
        parse_idx(content[:length], source="memory")


def test_extra_bytes_are_noticed():
    content = format_idx(np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(InputError, match=r"takes 4 bytes.*got 5 \(too long\)"):
        parse_idx(content + b"\x00", source="memory")


@pytest.mark.parametrize("content", [b"\x89PNG....", b"\x00\x00\x07\x01\x00\x00\x00\x01\x00"])
def test_other_formats_are_rejected(content):
    with pytest.raises(InputError, match="begins with"):
        parse_idx(content, source="memory")


def test_zero_dimensions_are_rejected():
    with pytest.raises(InputError, match="got 0 dimensions"):
        parse_idx(b"\x00\x00\x08\x00", source="memory")


@pytest.mark.parametrize(
    "shape", [(0,) * 255, (1,) * 64, (2**32 - 1,) * 2, (0, 2**32 - 1, 2**32 - 1)]
)
def test_headers_of_absurd_sizes_are_rejected(shape):
    content = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    with pytest.raises(InputError, match="memory must be an IDX file") as caught:
        parse_idx(content + b"\x00" * (math.prod(shape) == 1), source="memory")
    assert len(str(caught.value)) < 250


def test_types_that_idx_lacks_are_rejected():
    with pytest.raises(InputError, match="IDX holds"):
        format_idx(np.zeros(3, dtype=np.int64))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_plain_and_compressed_files(tmp_path, compress):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "images"
    path.write_bytes(compress(format_idx(array)))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("kept", [10, 40, -1])
def test_truncated_compressed_files_are_noticed(tmp_path, compress, kept):
    array = np.random.default_rng(0).integers(0, 256, size=(50, 4), dtype=np.uint8)
    path = tmp_path / "images"
    path.write_bytes(compress(format_idx(array))[:kept])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_idx(path)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_what_unpacks_to_gigabytes_is_refused_on_the_way(tmp_path, compress, monkeypatch):
    monkeypatch.setattr(files, "MAX_SIZE", 1 << 20)
    monkeypatch.setattr(files, "_CHUNK", 1 << 16)
    path = tmp_path / "images"
    path.write_bytes(compress(bytes(1 << 20)))
    assert len(read_file(path)) == 1 << 20
    path.write_bytes(compress(bytes(1 << 23)))
    with pytest.raises(InputError, match="bytes hold 1,114,112 or more; store it uncompressed"):
        read_file(path)


def test_incompressible_data_may_have_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_SIZE", 1 << 10)
    content = np.random.default_rng(0).bytes(1 << 16)
    for compress in (gzip.compress, lzma.compress):
        (tmp_path / "images").write_bytes(compress(content))
        assert read_file(tmp_path / "images") == content


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_compressed_files_of_several_parts(tmp_path, compress):
    (tmp_path / "parts").write_bytes(compress(b"one ") + compress(b"two"))
    assert read_file(tmp_path / "parts") == b"one two"


def test_devices_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="is a device or a pipe"):
            read_idx(path)
        with pytest.raises(InputError, match="is a device or a pipe"):
            read_npz(path)


def test_damaged_compressed_file_is_noticed(tmp_path):
    content = bytearray(gzip.compress(format_idx(np.zeros((50, 4), dtype=np.uint8))))
    content[-6] ^= 1  # the check sum
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_idx(path)


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(DataNotFoundError, match="does not exist"):
        read_idx(tmp_path / "absent")
    with pytest.raises(InputError, match="must be a readable file"):
        read_idx(tmp_path)
