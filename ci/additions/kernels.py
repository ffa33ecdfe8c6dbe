"""What the ternary kernels of a binary are, and what in them is more than additions."""

import re
from typing import NamedTuple

from additions.binary import Binary, Failure, Function, Instruction
from additions.instructions import branch, complaint

# Searched, not matched: an instance of a library's function for a kernel's closure is part of the kernel.
PATH = re.compile(r"\bb158_kernels(?:\[\w+\])?::ternary::(\w+).*?::(ternary_\w+)")

# Where a kernel may go besides other kernels: to its end by a panic, and to moving and filling memory.
HARMLESS = re.compile(
    r"core::panicking::.*"
    # Bounds, unwrap, expect: core::slice::index::slice_index_fail, core::option::unwrap_failed
    r"|core::(slice|str|array|option|result)::.*fail(ed)?(::.*)?"
    r"|alloc::.*(handle_alloc_error|handle_error|capacity_overflow)(::.*)?"
    r"|bytemuck::internal::something_went_wrong"  # a panic
    r"|_Unwind_Resume(@.*)?"
    r"|(memset|memcpy|memmove)(@.*)?"
    # The linker's detour around an erratum of the Cortex-A53: one load or store that it moved there, and back.
    r"|e843419@.*"
)


class Kernel(NamedTuple):
    function: Function
    set: str
    name: str


def kernels(binary: Binary) -> list[Kernel]:
    found = []
    for function in binary.functions:
        if m := PATH.search(function.name):
            found.append(Kernel(function, m[1], m[2]))
        elif re.match("_ZN|_R", function.name) and re.search("b158_kernels.*ternary_", function.name):
            raise Failure(f"{function.name}: objdump does not read this name", "use binutils 2.36 or newer")
    return found


def complaints(binary: Binary, kernel: Kernel, instructions: list[Instruction]) -> list[str]:
    """One line for each instruction that has no place in a kernel."""
    inside = {instruction.address for instruction in instructions}
    wrong = []
    for address, text in instructions:
        reason = complaint(binary.machine, text) or leaves(binary, text, inside)
        if reason:
            wrong.append(f"{kernel.function.name} at {address:#x}: {text}: {reason}")
    return wrong


def leaves(binary: Binary, text: str, inside: set[int]) -> str | None:
    """Where an instruction branches that is neither inside the kernel, nor a kernel, nor harmless."""
    target = branch(binary.machine, text)
    if target is None or target.code in inside:
        return None
    if target.code is not None:
        names = binary.names(target.code) or [target.label or f"{target.code:#x}"]
    elif target.slot is not None:
        names = binary.imports.get(target.slot, [])
    else:
        names = []
    if names and all(PATH.search(name) or HARMLESS.fullmatch(name) for name in names):
        return None
    return f"goes to {' = '.join(names) or 'a place known only at run time'}, which is not checked"
