"""Profiles and places: kept wholly or not at all, by several processes at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from ktcpdump_tui.config import Place, Profile, Profiles, SavedBreakpoint
from ktcpdump_tui.errors import UsageError, UserError


@pytest.fixture
def profiles(tmp_path):
    return Profiles(tmp_path / "config", tmp_path / "state")


FULL = Profile(
    (SavedBreakpoint("net/ipv4/ip_input.c:488", "skb->len > 100", False, 3), SavedBreakpoint("ip_rcv")),
    ("iph->ttl",),
    ("no", "function"),
    {"function": 30},
    {"inspector": 40, "theme": "light", "open": True},
    ("icmp",),
    ("next 5",),
)


def test_a_profile_comes_back_as_it_was(profiles):
    assert profiles.load("default") == Profile()
    assert profiles.update("nat", lambda _: FULL) == FULL
    assert profiles.load("nat") == FULL
    assert profiles.names() == ["nat"]


def test_a_change_keeps_what_others_wrote_meanwhile(profiles):
    profiles.update("a", lambda profile: replace(profile, watches=("skb->len",)))
    profiles.update("a", lambda profile: replace(profile, columns=("no",)))
    assert profiles.load("a") == Profile(watches=("skb->len",), columns=("no",))


def test_processes_that_change_a_profile_at_once_lose_nothing(tmp_path):
    program = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from ktcpdump_tui.config import Profiles\n"
        "for n in range(10):\n"
        "    Profiles(Path(sys.argv[1]), Path(sys.argv[1])).update('p',"
        " lambda p: replace(p, watches=(*p.watches, f'{sys.argv[2]}+{n}')))\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)]) for number in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(set(Profiles(tmp_path, tmp_path).load("p").watches)) == 30


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"watches": 3}', '{"watches": [3]}', '{"breakpoints": [{}]}', '{"widths": {"a": []}}'],
)
def test_a_damaged_profile_is_one_sentence_with_what_mends_it(profiles, tmp_path, text):
    path = tmp_path / "config" / "profiles" / "default.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match="is damaged") as caught:
        profiles.load("default")
    assert caught.value.remedy == f"mv {path} {path}.old"


def test_what_a_later_version_added_is_passed_over(profiles, tmp_path):
    profiles.update("a", lambda _: FULL)
    path = tmp_path / "config" / "profiles" / "a.json"
    path.write_text(path.read_text().replace("{", '{"later": 1,', 1))
    assert profiles.load("a") == FULL


def test_a_profiles_name_is_no_path(profiles):
    with pytest.raises(UsageError, match="no name for a profile"):
        profiles.load("../x")


def test_a_trace_is_found_where_it_was_left(profiles, tmp_path):
    trace = tmp_path / "a.ktrace"
    trace.touch()
    assert profiles.place(trace) is None
    profiles.leave(trace, Place(7, (3, 9), "icmp", 2))
    assert profiles.place(trace) == Place(7, (3, 9), "icmp", 2)
    other = tmp_path / "b.ktrace"
    other.touch()
    other.rename(trace)
    assert profiles.place(trace) is None, "another file of that name"


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "config").touch()
    with pytest.raises(UserError, match="cannot be written"):
        Profiles(tmp_path / "config", tmp_path).update("a", lambda profile: profile)
