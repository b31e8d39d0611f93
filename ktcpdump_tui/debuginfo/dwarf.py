"""The numbers of DWARF 5 (chapter 7) and GNU's extensions that this package reads."""

from __future__ import annotations

from typing import Final

# Tags (table 7.3).
TAG_ARRAY_TYPE: Final = 0x01
TAG_CLASS_TYPE: Final = 0x02
TAG_ENUMERATION_TYPE: Final = 0x04
TAG_FORMAL_PARAMETER: Final = 0x05
TAG_LEXICAL_BLOCK: Final = 0x0B
TAG_MEMBER: Final = 0x0D
TAG_POINTER_TYPE: Final = 0x0F
TAG_REFERENCE_TYPE: Final = 0x10
TAG_STRUCTURE_TYPE: Final = 0x13
TAG_SUBROUTINE_TYPE: Final = 0x15
TAG_TYPEDEF: Final = 0x16
TAG_UNION_TYPE: Final = 0x17
TAG_UNSPECIFIED_PARAMETERS: Final = 0x18
TAG_INLINED_SUBROUTINE: Final = 0x1D
TAG_SUBRANGE_TYPE: Final = 0x21
TAG_BASE_TYPE: Final = 0x24
TAG_CATCH_BLOCK: Final = 0x25
TAG_CONST_TYPE: Final = 0x26
TAG_ENUMERATOR: Final = 0x28
TAG_SUBPROGRAM: Final = 0x2E
TAG_TRY_BLOCK: Final = 0x32
TAG_VARIABLE: Final = 0x34
TAG_VOLATILE_TYPE: Final = 0x35
TAG_RESTRICT_TYPE: Final = 0x37
TAG_NAMESPACE: Final = 0x39
TAG_UNSPECIFIED_TYPE: Final = 0x3B
TAG_RVALUE_REFERENCE_TYPE: Final = 0x42
TAG_ATOMIC_TYPE: Final = 0x47
TAG_CALL_SITE: Final = 0x48
TAG_CALL_SITE_PARAMETER: Final = 0x49
TAG_GNU_CALL_SITE: Final = 0x4109
TAG_GNU_CALL_SITE_PARAMETER: Final = 0x410A

# Attributes (table 7.5).
AT_SIBLING: Final = 0x01
AT_LOCATION: Final = 0x02
AT_NAME: Final = 0x03
AT_BYTE_SIZE: Final = 0x0B
AT_BIT_OFFSET: Final = 0x0C
AT_BIT_SIZE: Final = 0x0D
AT_STMT_LIST: Final = 0x10
AT_LOW_PC: Final = 0x11
AT_HIGH_PC: Final = 0x12
AT_LANGUAGE: Final = 0x13
AT_COMP_DIR: Final = 0x1B
AT_CONST_VALUE: Final = 0x1C
AT_PROTOTYPED: Final = 0x27
AT_UPPER_BOUND: Final = 0x2F
AT_ABSTRACT_ORIGIN: Final = 0x31
AT_COUNT: Final = 0x37
AT_DATA_MEMBER_LOCATION: Final = 0x38
AT_DECLARATION: Final = 0x3C
AT_ENCODING: Final = 0x3E
AT_FRAME_BASE: Final = 0x40
AT_SPECIFICATION: Final = 0x47
AT_TYPE: Final = 0x49
AT_RANGES: Final = 0x55
AT_CALL_COLUMN: Final = 0x57
AT_CALL_FILE: Final = 0x58
AT_CALL_LINE: Final = 0x59
AT_DATA_BIT_OFFSET: Final = 0x6B
AT_STR_OFFSETS_BASE: Final = 0x72
AT_ADDR_BASE: Final = 0x73
AT_RNGLISTS_BASE: Final = 0x74
AT_DWO_NAME: Final = 0x76
AT_CALL_RETURN_PC: Final = 0x7D
AT_CALL_VALUE: Final = 0x7E
AT_CALL_ORIGIN: Final = 0x7F
AT_LOCLISTS_BASE: Final = 0x8C
AT_GNU_CALL_SITE_VALUE: Final = 0x2111
AT_GNU_DWO_NAME: Final = 0x2130

# Forms (table 7.6).
FORM_ADDR: Final = 0x01
FORM_BLOCK2: Final = 0x03
FORM_BLOCK4: Final = 0x04
FORM_DATA2: Final = 0x05
FORM_DATA4: Final = 0x06
FORM_DATA8: Final = 0x07
FORM_STRING: Final = 0x08
FORM_BLOCK: Final = 0x09
FORM_BLOCK1: Final = 0x0A
FORM_DATA1: Final = 0x0B
FORM_FLAG: Final = 0x0C
FORM_SDATA: Final = 0x0D
FORM_STRP: Final = 0x0E
FORM_UDATA: Final = 0x0F
FORM_REF_ADDR: Final = 0x10
FORM_REF1: Final = 0x11
FORM_REF2: Final = 0x12
FORM_REF4: Final = 0x13
FORM_REF8: Final = 0x14
FORM_REF_UDATA: Final = 0x15
FORM_INDIRECT: Final = 0x16
FORM_SEC_OFFSET: Final = 0x17
FORM_EXPRLOC: Final = 0x18
FORM_FLAG_PRESENT: Final = 0x19
FORM_STRX: Final = 0x1A
FORM_ADDRX: Final = 0x1B
FORM_REF_SUP4: Final = 0x1C
FORM_STRP_SUP: Final = 0x1D
FORM_DATA16: Final = 0x1E
FORM_LINE_STRP: Final = 0x1F
FORM_REF_SIG8: Final = 0x20
FORM_IMPLICIT_CONST: Final = 0x21
FORM_LOCLISTX: Final = 0x22
FORM_RNGLISTX: Final = 0x23
FORM_REF_SUP8: Final = 0x24
FORM_STRX1: Final = 0x25
FORM_STRX2: Final = 0x26
FORM_STRX3: Final = 0x27
FORM_STRX4: Final = 0x28
FORM_ADDRX1: Final = 0x29
FORM_ADDRX2: Final = 0x2A
FORM_ADDRX3: Final = 0x2B
FORM_ADDRX4: Final = 0x2C
FORM_GNU_REF_ALT: Final = 0x1F20
FORM_GNU_STRP_ALT: Final = 0x1F21

# Range list entries (table 7.30).
RLE_END_OF_LIST: Final = 0
RLE_BASE_ADDRESSX: Final = 1
RLE_STARTX_ENDX: Final = 2
RLE_STARTX_LENGTH: Final = 3
RLE_OFFSET_PAIR: Final = 4
RLE_BASE_ADDRESS: Final = 5
RLE_START_END: Final = 6
RLE_START_LENGTH: Final = 7

# Unit types (table 7.2).
UT_TYPE: Final = 2
UT_SKELETON: Final = 4
UT_SPLIT_COMPILE: Final = 5
UT_SPLIT_TYPE: Final = 6

#: The only language of table 7.17 that is no compiler's: GNU as and clang give it to assembler code.
LANG_MIPS_ASSEMBLER: Final = 0x8001

# Base type encodings (table 7.11).
ATE_BOOLEAN: Final = 0x02
ATE_COMPLEX_FLOAT: Final = 0x03
ATE_FLOAT: Final = 0x04
ATE_SIGNED: Final = 0x05
ATE_SIGNED_CHAR: Final = 0x06
ATE_UNSIGNED: Final = 0x07
ATE_UNSIGNED_CHAR: Final = 0x08

# Location list entries (table 7.10); the rest are as in range lists, one number further on.
LLE_DEFAULT_LOCATION: Final = 5
#: GCC's -gvariable-location-views=incompat5: two view numbers that a stop at an instruction does not need.
LLE_GNU_VIEW_PAIR: Final = 9
