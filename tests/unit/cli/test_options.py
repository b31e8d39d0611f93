"""The command line, parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.options import Options, guest_arguments, parse

words = shlex.split


def test_an_expression_may_be_several_words_between_options() -> None:
    options = parse(words("--no-tui -c 3 icmp and -i ip_rcv,tcp_v4_rcv+* host 1.1.1.1 -i veth_xmit"))
    assert options.expression == "icmp and host 1.1.1.1"
    assert options.specs == ("ip_rcv,tcp_v4_rcv+*", "veth_xmit")
    assert options.events == 3
    assert options.headless


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("icmp", True),
        ("--no-tui icmp", False),
        ("--json icmp", False),
        ("--no-tui --watch skb->len icmp", True),
        ("--json --locals icmp", True),
        ("--no-tui -o out.ktrace icmp", True),
        ("--no-tui -w out.pcapng icmp", True),
        ("-o - icmp", True),
    ],
)
def test_variables_are_read_only_where_something_shows_them(line: str, needed: bool) -> None:
    assert parse(words(line)).needs_variables is needed


@pytest.mark.parametrize(
    ("words", "lab", "expression"),
    [
        (["--lab", "icmp"], "default", "icmp"),
        (["--lab=6.1", "icmp"], "6.1", "icmp"),
        (["icmp", "--lab"], "default", "icmp"),
        (["--", "--lab"], None, "--lab"),
        (["icmp"], None, "icmp"),
    ],
)
def test_lab_does_not_eat_the_expression(words: list[str], lab: str | None, expression: str) -> None:
    options = parse(words)
    assert (options.lab, options.expression) == (lab, expression)


def test_after_two_dashes_everything_is_expression() -> None:
    assert parse(["-c", "1", "--", "tcp[0]", "=", "-1"]).expression == "tcp[0] = -1"


def test_what_is_not_given_is_nothing() -> None:
    assert parse([]) == Options(command_line=("ktcpdump-tui",))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-d", "/x/vmlinux"], "debug_image", Path("/x/vmlinux")),
        (["--debug-image=/x/vmlinux"], "debug_image", Path("/x/vmlinux")),
        (["--mark", "0x10/0xff"], "mark", (16, 255)),
        (["--mark", "7"], "mark", (7, 0xFFFFFFFF)),
        (["--max-size", "500M"], "max_size", 500 << 20),
        (["--max-size", "1.5GiB"], "max_size", 3 << 29),
        (["--duration", "0.5"], "duration", 0.5),
        (["-S", "0"], "snaplen", 2048),
        (["--max-cpu", "12.5%"], "max_cpu", 12.5),
        (["--max-cpu", "0"], "max_cpu", 0),
        (["-S128"], "snaplen", 128),
        (["--stack", "1001"], "stack", 1008),
        (["-s", "a", "--source", "b=c"], "sources", ("a", "b=c")),
        (
            ["--json", "--watch", "iph->ttl - 1", "--watch", "skb->len"],
            "watches",
            ("iph->ttl - 1", "skb->len"),
        ),
        (["-r", "x", "--compare", "1", "2"], "compare", (1, 2)),
        (["-r", "-"], "replay", "-"),
        (["-w", "-"], "write", "-"),
        (["--netns", "4026531840"], "netns", 4026531840),
    ],
)
def test_values(words: list[str], name: str, value: object) -> None:
    assert getattr(parse(words), name) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--blab", "unknown option --blab\n  did you mean --lab?"),
        ("--recrod x", "unknown option --recrod\n  did you mean --record?"),
        ("-Q", "unknown option -Q"),
        ("-c 0", "-c: 0 is less than 1"),
        ("-c ten", "-c: 'ten' is not a whole number"),
        ("--packets -3", "--packets: -3 is less than 1"),
        ("--duration 0", "--duration: '0' is not a number of seconds above 0"),
        ("--duration nan", "--duration: 'nan' is not"),
        ("-S 100000", "--snaplen: 100000 is more than the 2048 bytes"),
        ("--stack 5000", "--stack: 5000 is not a number of bytes from 8 to 4096"),
        ("--max-size 12", "--max-size: 12 is less than 1M"),
        ("--max-size lots", "'lots' is not a number of bytes"),
        ("--max-cpu -1", "--max-cpu: '-1' is not a percentage, 0 or above"),
        ("--max-cpu half", "--max-cpu: 'half' is not a percentage"),
        ("--mark 1/2/3", "--mark: '2/3' is not a whole number"),
        ("--mark 0x1ffffffff", "does not fit in 32 bits"),
        ("-i", "--interface-function: expected one argument"),
        ("--lab=newest", "--lab=newest is no kernel version"),
        ("--no-tui=1", "--no-tui: ignored explicit argument '1'"),
        ("-r x -i ip_rcv", "-r shows what was recorded, so -i comes too late"),
        ("-r x -o a.ktrace", "-r shows what was recorded, so -o comes too late"),
        ("-r - -o -", "so -o comes too late"),
        ("-r x --lab", "so --lab comes too late"),
        ("-r x -d v", "so -d comes too late"),
        ("--compare 1 2", "--compare needs a recorded trace"),
        ("-r x --compare 1", "--compare: expected 2 arguments"),
        ("--json -w -", "-w - and --json would both write to stdout"),
        ("-w - -o -", "-w - and -o - would both write to stdout"),
        ("-w x -o x", "-w and -o both name x"),
        ("--locals --no-tui", "--locals needs --json"),
        ("--list ip_rcv icmp", "--list captures nothing, so EXPRESSION has no meaning with it"),
        ("--check -c 3", "--check captures nothing, so -c has no meaning with it"),
        ("--check --list x", "--list captures nothing, so --check has no meaning with it"),
        ("--lab -o -", "-o - is what the program elsewhere writes"),
        ("--ssh a -o -", "-o - is what the program elsewhere writes"),
        ("--ssh a --ssh b", "--ssh names two hosts, and a trace is of one kernel"),
        ("--ssh a --lab", "--ssh and --lab both say where to capture"),
        ("--ssh=-oProxyCommand=x", "is no host"),
        ("--control --no-tui", "--control is for a capture whose trace goes to stdout"),
        ("-r x --ssh a", "-r shows what was recorded, so --ssh comes too late"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        parse(words.split())
    assert error.value.status == 2
    assert error.value.remedy


def test_help_names_every_option_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    named = (
        "-i SPEC, --interface-function SPEC, -d PATH, --debug-image PATH, -w FILE, --write FILE, "
        "-o FILE.ktrace, --record, -r FILE.ktrace, --replay, --no-tui, --json, -s PATH, --source, -S N, "
        "--snaplen, -c N, --packets N, --duration SECONDS, --cmd COMMAND, --ready-file FILE, --max-probes N, "
        "--max-size BYTES, --netns N, --ifname NAME, --mark VALUE[/MASK], --filter-tunnel, --survey, "
        "--locals, --watch EXPR, --compare A B, --list SPEC, --lab[=VERSION], --check, -v, --verbose, "
        "-V, --version, -h, --help"
    )
    for option in named.split(", "):
        assert option in shown, option
    assert max(len(line) for line in shown.splitlines()) <= 110


def test_a_capture_elsewhere_gets_the_same_options() -> None:
    here = parse(
        words(
            "--lab=6.1 --json -c 5 --packets 2 --duration 3 -S 64 --stack 512 --netns 7 --ifname lo "
            "--mark 1/3 --max-probes 10 --max-cpu 75 -i a+* -i b,c:* --survey --capture skb->sk "
            "-v -s tree -w x.pcap -o y.ktrace --watch z icmp or arp --cmd 'ping -c 1 ::1' "
            "--filter-tunnel 'tcp port 80'"
        )
    )
    there = parse(guest_arguments(here, Path("/v")))
    same = words(
        "expression specs events packets duration snaplen stack netns ifname mark max_probes max_cpu survey "
        "captures verbose command filter_tunnel"
    )
    assert {name: getattr(there, name) for name in same} == {name: getattr(here, name) for name in same}
    assert (there.record, there.lab, there.json, there.debug_image) == ("-", None, False, Path("/v"))
