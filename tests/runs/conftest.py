"""Every kind of store, for the tests that all of them must pass."""

import secrets

import pytest
from object_stores import BUCKET, s3_server, speaking_to

from widthwise.runs.address import Address
from widthwise.runs.memory import Memory


@pytest.fixture(scope="session")
def s3_port():
    with s3_server() as port:
        yield port


@pytest.fixture
def s3_place(s3_port):
    """An address in a bucket where nothing is yet."""
    with speaking_to(s3_port):
        yield Address("s3", BUCKET, ("studies", secrets.token_hex(8)))


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.cluster)])
def place(request, tmp_path):
    """Where a store can be made, of every kind."""
    match request.param:
        case "folder":
            return tmp_path / "store"
        case "memory":
            return Memory()
    return request.getfixturevalue("s3_place")
