"""Commands of the user's get the environment the user has."""

from __future__ import annotations

import os

import pytest

from ktcpdump_tui import environment


@pytest.mark.parametrize("users", [None, "4"])
def test_the_users_commands_see_nothing_of_what_is_set_for_libraries(monkeypatch, users):
    monkeypatch.setattr(environment, "_set", set())
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if users is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", users)
    before = dict(os.environ)
    environment.prepare()
    assert os.environ["OPENBLAS_NUM_THREADS"] == (users or "1")
    assert environment.of_the_user() == before
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", users or "1")  # so that it is undone
