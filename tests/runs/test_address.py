"""Addresses of object stores, as users write them."""

from pathlib import Path

import pytest

from widthwise.errors import InputError
from widthwise.runs.address import Address, place_of


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket", Address("s3", "bucket")),
        ("s3://bucket/", Address("s3", "bucket")),
        ("gs://a.bucket-2/studies/w=4", Address("gs", "a.bucket-2", ("studies", "w=4"))),
        ("az://container/one", Address("az", "container", ("one",))),
    ],
)
def test_are_read_and_written(text, address):
    assert Address.parse(text) == address
    assert str(address) == text.removesuffix("/")
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///prefix",
        "http://bucket/prefix",
        "S3://bucket",
        "s3://bucket//prefix",
        "s3://bucket/../other",
        "s3://bucket/.",
        "s3://bucket/two words",
        "s3://bucket/na\nme",
        "s3://bucket/ḡ",
        "s3://bucket/%2e%2e",
        "s3://KEY:hush@bucket/prefix",
        "s3://KEY:hu/sh@bucket/prefix",
        "s3://KEY:hu sh@bucket",
        "s3://KEY:hush",
        "s3://hush@bucket",
        "s3://bucket/prefix?token=hush",
        "s3://bucket/prefix#hush",
    ],
)
def test_anything_else_is_refused_without_a_secret_in_the_message(text):
    with pytest.raises(InputError, match="store must be a folder, or an address") as caught:
        Address.parse(text)
    assert "hu" not in str(caught.value)
    assert "KEY" not in str(caught.value)


def test_a_place_is_a_folder_unless_it_is_written_as_an_address(tmp_path):
    assert place_of("s3://bucket/a") == Address("s3", "bucket", ("a",))
    assert place_of("s3/bucket") == Path("s3/bucket")
    assert place_of(tmp_path) == tmp_path
