"""config.toml: what it sets, and what is said of a wrong entry."""

from __future__ import annotations

import pytest

from ktcpdump_tui.config import Settings, load_settings


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Settings:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load_settings(path)

    return write


def test_without_a_file_everything_is_as_documented(tmp_path):
    settings = load_settings(tmp_path / "none.toml")
    assert (settings.style, settings.mouse, settings.ask_on_quit, settings.profile) == (
        "gdb", True, True, "default",
    )  # fmt: skip
    assert not settings.problems


def test_the_file_is_found_in_the_xdg_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "ktcpdump-tui").mkdir()
    (tmp_path / "ktcpdump-tui" / "config.toml").write_text('style = "vim"\n')
    assert load_settings().style == "vim"


def test_entries_are_taken(written):
    settings = written(
        'style = "vim"\nmouse = false\nask-on-quit = false\ntheme = "light"\nprofile = "nat"\n'
        '[keys]\nstep = "f7"\nreverse-step = ["shift+f7", "S"]\n'
    )
    assert settings.style == "vim"
    assert not settings.mouse
    assert not settings.ask_on_quit
    assert (settings.theme, settings.profile) == ("light", "nat")
    assert settings.keys == {"step": ("f7",), "reverse-step": ("shift+f7", "S")}
    assert not settings.problems


WRONG = {
    'style = "emacs"': (1, 'style must be "gdb" or "vim"'),
    "\n\nmouse = 1": (3, "mouse must be true or false"),
    "colour = 'red'": (1, "there is no setting 'colour'"),
    "style = vim": (1, "Invalid value"),
    "mouse = true\nstyle = ": (2, "Invalid value"),
    "[keys]\nstep = 7": (2, "keys of step must be like"),
    "keys = 3": (1, "keys must be a table"),
    "profile = '../x'": (1, "profile must be a name"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_entry_is_one_sentence_with_file_and_line(written, text):
    settings = written(text)
    line, sentence = WRONG[text]
    (problem,) = settings.problems
    assert problem.startswith(f"{settings.path}:{line}: {sentence}")
    assert "\n" not in problem


def test_a_wrong_entry_leaves_the_others(written):
    settings = written('style = "emacs"\nmouse = false\n')
    assert (settings.style, settings.mouse) == ("gdb", False)


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"mouse = true\n\xff\n")
    assert load_settings(path).problems == (f"{path}:2: this is not UTF-8",)
