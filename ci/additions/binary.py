"""Functions, instructions and imports of an ELF file, through GNU objdump."""

import functools
import pathlib
import re
import shutil
import subprocess
from collections import defaultdict
from typing import NamedTuple

# The number at byte 18 of an ELF file, and how GNU tools for that machine are named.
MACHINES = {62: "x86-64", 183: "aarch64"}
TRIPLES = {"x86-64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}

SYMBOL = re.compile(
    r"(?P<address>[0-9a-f]+) (?P<flags>.{7}) (?P<section>\S+)\t(?P<size>[0-9a-f]+) "
    # Between size and name stand the symbol's visibility and machine-specific marks, if any.
    r"(?:\s*(?:\.(?:hidden|internal|protected|variant_pcs)|0x[0-9a-f]+) )*\s*(?P<name>.+)"
)
INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\t(.*\S)\s*")
RELOCATION = re.compile(r"([0-9a-f]+) \S+\s+(\S+)")


class Failure(Exception):
    """What stops the check, and what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Function(NamedTuple):
    address: int
    size: int
    name: str


class Instruction(NamedTuple):
    address: int
    text: str


class Binary:
    def __init__(self, path: pathlib.Path, objdump: str | None = None) -> None:
        self.path = path
        self.machine = machine_of(path)
        self._objdump = objdump or find_objdump(self.machine)
        self.functions = self._functions()
        self._names: dict[int, list[str]] = defaultdict(list)
        for function in self.functions:
            self._names[function.address].append(function.name)

    def names(self, address: int) -> list[str]:
        """Every function that begins at an address."""
        return self._names.get(address, [])

    def disassemble(self, function: Function) -> list[Instruction]:
        start, end = function.address, function.address + function.size
        output = self._run(
            # Zeros too: objdump leaves out runs of them.
            "--disassemble", "--disassemble-zeroes", "--wide", "--no-show-raw-insn",
            f"--start-address={start:#x}", f"--stop-address={end:#x}",
        )  # fmt: skip
        matches = map(INSTRUCTION.fullmatch, output.splitlines())
        found = [Instruction(int(m[1], 16), m[2].replace("\t", " ")) for m in matches if m]
        if not found or found[0].address != start or found[-1].address >= end:
            raise Failure(
                f"{function.name}: {self._objdump} does not disassemble {function.size} bytes at {start:#x}",
                f"give --objdump an objdump for {self.machine}",
            )
        return found

    @functools.cached_property
    def imports(self) -> dict[int, list[str]]:
        """The names of what the loader writes into each slot that code may call through."""
        slots = {}
        for line in self._run("--dynamic-reloc").splitlines():
            if m := RELOCATION.fullmatch(line.strip()):
                # A slot for code of this file holds an address: *ABS*+0x1234.
                local = m[2].removeprefix("*ABS*+")
                slots[int(m[1], 16)] = [m[2]] if local == m[2] else self.names(int(local, 16))
        return slots

    def _functions(self) -> list[Function]:
        matches = map(SYMBOL.fullmatch, self._run("--syms", "--demangle=rust").splitlines())
        return [
            Function(int(m["address"], 16), int(m["size"], 16), m["name"])
            for m in matches
            if m and m["flags"].endswith("F") and m["section"] != "*UND*"
        ]

    def _run(self, *options: str) -> str:
        command = [self._objdump, *options, str(self.path)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise Failure(
                f"{self._objdump}: {error.strerror}", "give --objdump the path of GNU objdump"
            ) from error
        if done.returncode != 0:
            raise Failure(
                f"{' '.join(command)}: {done.stderr.strip()}", "is the file whole, and objdump GNU's?"
            )
        return done.stdout


def machine_of(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", "build it first") from error
    number = int.from_bytes(header[18:20], "little")
    if header[:4] != b"\x7fELF" or number not in MACHINES:
        raise Failure(f"{path}: not an ELF file for {' or '.join(TRIPLES)}", "give a program built for Linux")
    return MACHINES[number]


def find_objdump(machine: str) -> str:
    """The one named after the machine, which on Debian every machine can have; else the native one, which may know
    the machine or not: `disassemble` notices."""
    for program in (f"{TRIPLES[machine]}-objdump", "objdump"):
        if shutil.which(program):
            return program
    raise Failure(f"no objdump for {machine}", f"install binutils-{TRIPLES[machine].replace('_', '-')}")
