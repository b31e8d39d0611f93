"""Numbers of DWARF 5 chapter 7 that variables need: tags, attributes, forms, encodings."""

from __future__ import annotations

from typing import Final


class Tag:
    """DW_TAG_* (DWARF 5 table 7.3)."""

    ARRAY: Final = 0x01
    CLASS: Final = 0x02
    ENUMERATION: Final = 0x04
    FORMAL_PARAMETER: Final = 0x05
    LEXICAL_BLOCK: Final = 0x0B
    MEMBER: Final = 0x0D
    POINTER: Final = 0x0F
    REFERENCE: Final = 0x10
    COMPILE_UNIT: Final = 0x11
    STRUCTURE: Final = 0x13
    SUBROUTINE: Final = 0x15
    TYPEDEF: Final = 0x16
    UNION: Final = 0x17
    UNSPECIFIED_PARAMETERS: Final = 0x18
    INLINED_SUBROUTINE: Final = 0x1D
    SUBRANGE: Final = 0x21
    BASE: Final = 0x24
    CONST: Final = 0x26
    ENUMERATOR: Final = 0x28
    SUBPROGRAM: Final = 0x2E
    VARIABLE: Final = 0x34
    VOLATILE: Final = 0x35
    RESTRICT: Final = 0x37
    UNSPECIFIED: Final = 0x3B
    RVALUE_REFERENCE: Final = 0x42
    ATOMIC: Final = 0x47
    CALL_SITE: Final = 0x48
    CALL_SITE_PARAMETER: Final = 0x49
    GNU_CALL_SITE: Final = 0x4109
    GNU_CALL_SITE_PARAMETER: Final = 0x410A


class At:
    """DW_AT_* (DWARF 5 table 7.5)."""

    SIBLING: Final = 0x01
    LOCATION: Final = 0x02
    NAME: Final = 0x03
    BYTE_SIZE: Final = 0x0B
    BIT_OFFSET: Final = 0x0C
    BIT_SIZE: Final = 0x0D
    LOW_PC: Final = 0x11
    HIGH_PC: Final = 0x12
    CONST_VALUE: Final = 0x1C
    INLINE: Final = 0x20
    PROTOTYPED: Final = 0x27
    UPPER_BOUND: Final = 0x2F
    ABSTRACT_ORIGIN: Final = 0x31
    COUNT: Final = 0x37
    DATA_MEMBER_LOCATION: Final = 0x38
    DECLARATION: Final = 0x3C
    ENCODING: Final = 0x3E
    EXTERNAL: Final = 0x3F
    FRAME_BASE: Final = 0x40
    SPECIFICATION: Final = 0x47
    TYPE: Final = 0x49
    RANGES: Final = 0x55
    DATA_BIT_OFFSET: Final = 0x6B
    STR_OFFSETS_BASE: Final = 0x72
    ADDR_BASE: Final = 0x73
    RNGLISTS_BASE: Final = 0x74
    CALL_RETURN_PC: Final = 0x7D
    CALL_VALUE: Final = 0x7E
    CALL_ORIGIN: Final = 0x7F
    CALL_PC: Final = 0x81
    LOCLISTS_BASE: Final = 0x8C
    GNU_CALL_SITE_VALUE: Final = 0x2111


class Form:
    """DW_FORM_* (DWARF 5 table 7.6)."""

    ADDR: Final = 0x01
    BLOCK2: Final = 0x03
    BLOCK4: Final = 0x04
    DATA2: Final = 0x05
    DATA4: Final = 0x06
    DATA8: Final = 0x07
    STRING: Final = 0x08
    BLOCK: Final = 0x09
    BLOCK1: Final = 0x0A
    DATA1: Final = 0x0B
    FLAG: Final = 0x0C
    SDATA: Final = 0x0D
    STRP: Final = 0x0E
    UDATA: Final = 0x0F
    REF_ADDR: Final = 0x10
    REF1: Final = 0x11
    REF2: Final = 0x12
    REF4: Final = 0x13
    REF8: Final = 0x14
    REF_UDATA: Final = 0x15
    INDIRECT: Final = 0x16
    SEC_OFFSET: Final = 0x17
    EXPRLOC: Final = 0x18
    FLAG_PRESENT: Final = 0x19
    STRX: Final = 0x1A
    ADDRX: Final = 0x1B
    REF_SUP4: Final = 0x1C
    STRP_SUP: Final = 0x1D
    DATA16: Final = 0x1E
    LINE_STRP: Final = 0x1F
    REF_SIG8: Final = 0x20
    IMPLICIT_CONST: Final = 0x21
    LOCLISTX: Final = 0x22
    RNGLISTX: Final = 0x23
    REF_SUP8: Final = 0x24
    STRX1: Final = 0x25
    STRX2: Final = 0x26
    STRX3: Final = 0x27
    STRX4: Final = 0x28
    ADDRX1: Final = 0x29
    ADDRX2: Final = 0x2A
    ADDRX3: Final = 0x2B
    ADDRX4: Final = 0x2C
    GNU_ADDR_INDEX: Final = 0x1F01
    GNU_STR_INDEX: Final = 0x1F02
    GNU_REF_ALT: Final = 0x1F20
    GNU_STRP_ALT: Final = 0x1F21


class Encoding:
    """DW_ATE_* (DWARF 5 table 7.11)."""

    BOOLEAN: Final = 0x02
    COMPLEX_FLOAT: Final = 0x03
    FLOAT: Final = 0x04
    SIGNED: Final = 0x05
    SIGNED_CHAR: Final = 0x06
    UNSIGNED: Final = 0x07
    UNSIGNED_CHAR: Final = 0x08
    UTF: Final = 0x10
