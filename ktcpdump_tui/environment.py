"""What is set in the environment for the libraries used here, and what commands of the user get."""

from __future__ import annotations

import os

_WANTED = {
    # Nothing here multiplies matrices: the threads numpy's library for it begins when it is imported would
    # only spin for a while, on a core that others need.
    "OPENBLAS_NUM_THREADS": "1",
}

_set: set[str] = set()


def prepare() -> None:
    """Set what the user has not set; before numpy is imported."""
    for name, value in _WANTED.items():
        if name not in os.environ:
            os.environ[name] = value
            _set.add(name)


def of_the_user() -> dict[str, str]:
    """Return the environment as it was."""
    return {name: value for name, value in os.environ.items() if name not in _set}
