"""The language of the ``:`` prompt: gdb's words where gdb has one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ktcpdump_tui.errors import UsageError

#: Name: what it takes, what it does. The help screen and the completion come from here.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "goto": (
        "EVENT|TIME|LOCATION|loss|drop",
        "go there: 1200 (or that alone), 1.5s, 14:03:02, ip_rcv, F.c:9",
    ),
    "packet": ("ID", "go to a packet's first event"),
    "only": ("[ID]", "list only this packet's events, or all again"),
    "compare": ("A B", "two packets side by side: where their paths part, and the values there"),
    "filter": ("[FILTER]", "list only what a tcpdump expression, fn:, file:, cpu:, packet:, is:drop select"),
    "break": ("[LOCATION] [if EXPRESSION]", "set a breakpoint: FILE:LINE, LINE, SYMBOL[+OFFSET], 0xADDRESS"),
    "tbreak": ("[LOCATION] [if EXPRESSION]", "set a breakpoint that stops once"),
    "watch": ("EXPRESSION [if EXPRESSION]", "show a C expression, and stop where its value changes"),
    "catch": ("drop", "stop where a packet is dropped"),
    "condition": ("NUMBER [EXPRESSION]", "stop there only if this is true; or always again"),
    "ignore": ("NUMBER COUNT", "pass over it the next COUNT times"),
    "enable": ("[NUMBER…]", "let these, or all, stop again"),
    "disable": ("[NUMBER…]", "let these, or all, stop nobody"),
    "delete": ("[NUMBER…]", "delete these, or all"),
    "info": ("break", "list breakpoints, watches and catches"),
    "last": ("EXPRESSION", "back to who wrote the value of an expression last"),
    "change": ("EXPRESSION", "on to where the value of an expression changes next"),
    "display": ("EXPRESSION", "show a C expression at every event"),
    "undisplay": ("EXPRESSION", "remove it"),
    "unwatch": ("EXPRESSION", "remove it, and what stops at its changes"),
    "list": ("FILE[:LINE]", "show a source file"),
    "step": ("[COUNT]", "next source line, entering inlined and traced functions"),
    "next": ("[COUNT]", "next source line of this frame"),
    "until": ("[LOCATION]", "as next, but not back in a loop; or to a place in this frame"),
    "advance": ("LOCATION", "to a place, or to the end of this frame"),
    "stepi": ("[COUNT]", "next instruction"),
    "finish": ("[COUNT]", "until this frame returns"),
    "continue": ("[COUNT]", "until a breakpoint"),
    "reverse-step": ("[COUNT]", "step backwards"),
    "reverse-next": ("[COUNT]", "next backwards"),
    "reverse-stepi": ("[COUNT]", "stepi backwards"),
    "reverse-finish": ("[COUNT]", "back to where this frame was called"),
    "reverse-continue": ("[COUNT]", "back to a breakpoint"),
    "across": ("", "let steps go on in other packets, or stay in one"),
    "drop": ("", "to where this packet was dropped, then to what decided it, and back"),
    "next-drop": ("", "to the next drop"),
    "previous-drop": ("", "to the drop before"),
    "up": ("", "show the caller of the inlined function"),
    "down": ("", "and the inlined function again"),
    "backtrace": ("", "the frames around this one: the call chain at the event"),
    "disassemble": ("", "show or hide the instructions"),
    "probe": ("SPEC", "probe more while the capture runs: what -i takes, such as tcp_v4_rcv:*"),
    "unprobe": ("SPEC", "remove these probes; their events stay"),
    "record": ("FILE", "keep the capture in FILE.ktrace: all of it so far, and what is still to come"),
    "save": ("FILE [all | FILTER]", "save what is listed, or all, as FILE.ktrace; save! replaces a file"),
    "export": ("FILE [all | FILTER]", "write .pcap .pcapng .jsonl .txt .info .parquet, by the suffix"),
    "stop": ("", "end the capture, and go on looking at it"),
    "log": ("", "what was written on standard error"),
    "theme": ("dark|light|contrast|ansi", "change the colours"),
    "profile": ("NAME", "go on with other breakpoints, watches and columns"),
    "mouse": ("", "leave the mouse to the terminal, for selecting text, or take it back"),
    "palette": ("", "all commands, keys and functions, found by some of their letters"),
    "help": ("", "this screen"),
    "quit": ("", "end"),
}

#: gdb's short forms.
SHORT: Final = {
    "b": "break", "u": "until", "d": "delete", "c": "continue", "s": "step", "n": "next", "si": "stepi",
    "fin": "finish", "l": "list",
    "q": "quit", "h": "help", "rs": "reverse-step", "rn": "reverse-next", "rsi": "reverse-stepi",
    "rc": "reverse-continue", "adv": "advance", "tb": "tbreak", "i": "info", "cond": "condition",
    "en": "enable", "bt": "backtrace", "where": "backtrace",
    "rf": "reverse-finish", "disp": "display", "j": "goto", "dis": "disassemble",
    "p": "packet", "g": "goto", "w": "watch",
}  # fmt: skip

#: Commands that a ``!`` has do what they else ask about or refuse: replace a file, throw a capture away.
FORCED: Final = frozenset(("record", "save", "export", "quit"))


@dataclass(frozen=True, slots=True)
class Command:
    """A command of COMMANDS, and what follows it; ``force`` where a ``!`` stands behind its name."""

    name: str
    argument: str = ""
    force: bool = False


def parse(text: str) -> Command | None:
    """Return the command that ``text`` names: whole, short, or an unambiguous beginning; None for nothing.

    UsageError names what is wrong.
    """
    text = text.strip()
    if not text:
        return None
    word, _, argument = text.partition(" ")
    argument = argument.strip()
    if word.replace(",", "").isdecimal() and not argument:
        return Command("goto", word.replace(",", ""))
    if match := re.fullmatch(r"(\d+)\s*([a-z-]+)", text):
        word, argument = match[2], match[1]  # 5n, as vim counts
    force, word = word.endswith("!"), word.removesuffix("!")
    name = SHORT.get(word, word)
    if name not in COMMANDS:
        found = [known for known in COMMANDS if known.startswith(name)]
        if len(found) > 1:
            raise UsageError(f"'{word}' may mean {', '.join(found)}", "type more of it")
        if not found:
            raise UsageError(f"there is no command '{word}'", "press ? for the commands")
        name = found[0]
    takes = COMMANDS[name][0]
    if takes and not takes.startswith("[") and not argument:
        raise UsageError(f"'{name}' needs {takes}", f"for instance :{name} {_EXAMPLES.get(name, takes)}")
    if not takes and argument:
        raise UsageError(f"'{name}' takes nothing after it", f":{name}")
    if takes == "[COUNT]" and argument and not (argument.isdecimal() and int(argument)):
        raise UsageError(f"'{argument}' is not a count", f":{name} 5")
    if name == "packet" or (name == "only" and argument):
        argument = argument.replace(",", "")
        if not argument.isdecimal():
            raise UsageError(f"'{argument}' is not a number", f":{name} {_EXAMPLES[name]}")
    if force and name not in FORCED:
        raise UsageError(f"'{name}' takes no !", f":{name}")
    return Command(name, argument, force)


_EXAMPLES: Final = {
    "goto": "1200", "packet": "3", "only": "3", "break": "net/ipv4/ip_input.c:488", "watch": "iph->ttl",
    "display": "iph->ttl", "undisplay": "iph->ttl", "unwatch": "iph->ttl", "last": "iph->ttl",
    "catch": "drop", "change": "iph->ttl",
    "condition": "1 skb->len > 100", "ignore": "1 10", "info": "break", "advance": "488",
    "list": "net/ipv4/ip_input.c:488", "probe": "ip_rcv_core:*", "unprobe": "ip_rcv_core+*",
    "record": "ping.ktrace", "save": "ping.ktrace", "export": "ping.pcapng", "theme": "light",
    "profile": "nat", "compare": "1 3",
}  # fmt: skip
