"""Giving the instructions of a plan their source line, their inline chain and their frame rule."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.frames import frame_rules
from ktcpdump_tui.debuginfo.functions import Functions
from ktcpdump_tui.model import InlineFrame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.model import Instruction


def annotate(
    plan: Sequence[Instruction],
    kernel: DebugImage | None,
    slide: int,
    modules: Mapping[str, DebugImage],
    cache: DiskCache | None = None,
) -> list[Instruction]:
    """Return ``plan`` with ``source`` and ``inlined_by`` filled in, and ``frame`` where it was None.

    ``slide`` is run-time minus link-time address of the kernel in bytes; the images of modules were opened
    with their run-time section addresses. Instructions without an image stay as they are. ``cache`` is where
    decoded functions are kept (the default one if None). Raises UserError on a damaged image.
    """
    cache = cache or DiskCache()
    functions: dict[str | None, Functions] = {}
    if kernel:
        functions[None] = Functions(kernel, cache)
    for name, image in modules.items():
        functions[name] = Functions(image, cache)
    annotated = []
    for instruction in plan:
        known = functions.get(instruction.module)
        if known is not None:
            shift = 0 if instruction.module else slide
            instruction = _annotated(instruction, known, instruction.address - shift)
        annotated.append(instruction)
    return annotated


def _annotated(instruction: Instruction, functions: Functions, address: int) -> Instruction:
    table = functions.starting_at(address - instruction.offset)
    offset = instruction.offset
    if table and offset < table.size:
        source, chain, frame = table.line(offset), table.chain(offset), table.frame(offset)
    else:  # assembler code, or a symbol that is no function's beginning
        image = functions.image
        source, chain = image.source_line(address), image.inline_chain(address)
        frame = instruction.frame or frame_rules([address], image)[0]
    if not chain and source:
        chain = (InlineFrame(instruction.symbol, source.file, source.line),)
    return replace(instruction, source=source, inlined_by=chain, frame=instruction.frame or frame)
