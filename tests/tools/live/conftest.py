"""Fixtures of what reaches out over HTTP."""

import pytest

from helpers.web_server import WebServer


@pytest.fixture(scope="module")
def one_server():
    """Started once for the tests of a file."""
    found = WebServer()
    yield found
    found.close()


@pytest.fixture
def server(one_server):
    """As if nothing had been asked or told yet."""
    one_server.forget()
    return one_server
