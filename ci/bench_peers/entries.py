"""Who is compared with whom: programs, formats, flags, and how each one's file is made."""

import argparse
import pathlib
import subprocess
import sys
from typing import NamedTuple

from bench_peers.failure import Failure

OURS = "b158"
# The kinds of weights; ratios are taken within one.
TERNARY, FULL = "ternary", "f16"

# Where a peer is built: the option of the command line, and the peer's name.
FOLDERS = {
    "llama-cpp": "llama.cpp",
    "bitnet-cpp": "bitnet.cpp",
    "bitnet-cpp-tl2": "bitnet.cpp",
    "ik-llama": "ik_llama.cpp",
}


class Format(NamedTuple):
    """One format of one peer."""

    option: str
    label: str
    file: str  # what follows SHAPE in the file's name
    kind: str = TERNARY
    flags: tuple[str, ...] = ()
    quantize: str | None = None  # the name that the peer's llama-quantize knows it by
    threads: tuple[str, ...] = ()  # llama-quantize's last argument


FORMATS = [
    Format("llama-cpp", "F16", "-twin-f16.gguf", kind=FULL),
    Format("llama-cpp", "TQ1_0", ".llama.cpp-tq1_0.gguf", quantize="TQ1_0"),
    Format("llama-cpp", "TQ2_0", ".llama.cpp-tq2_0.gguf", quantize="TQ2_0"),
    # With more threads than one its llama-quantize corrupts I2_S.
    # With its default batches of 512 it crashes on these models.
    Format("bitnet-cpp", "I2_S", ".bitnet.cpp-i2_s.gguf", flags=("-ub", "128"), quantize="I2_S", threads=("1",)),
    Format("bitnet-cpp-tl2", "TL2", "-tl2.gguf"),
    Format("ik-llama", "IQ1_BN", ".ik_llama.cpp-iq1_bn.gguf", quantize="IQ1_BN"),
    Format("ik-llama", "IQ2_BN", ".ik_llama.cpp-iq2_bn.gguf", quantize="IQ2_BN"),
    Format("ik-llama", "IQ2_BN -rtr", ".ik_llama.cpp-iq2_bn.gguf", flags=("-rtr", "1"), quantize="IQ2_BN"),
]
SOURCE = "-f16.gguf"


class Entry(NamedTuple):
    """A program with a format: one line of the table."""

    program: str
    label: str
    kind: str
    binary: pathlib.Path
    file: str
    flags: tuple[str, ...] = ()
    pack: tuple[str, ...] | None = None  # a command in which SOURCE and OUT stand for paths

    @property
    def name(self) -> str:
        return f"{self.program} {self.label}"

    def model(self, shape: str, models: pathlib.Path) -> pathlib.Path:
        return models / (shape + self.file)


def contestants(options: argparse.Namespace) -> list[Entry]:
    """The entries of all peers that the command line names, and ours first."""
    # Resolved, since a bare name would be looked for on PATH.
    command = options.b158.resolve()
    if not command.is_file():
        raise Failure(f"{options.b158}: no such program", "cargo build --release, or give --b158 PATH")
    flags = tuple(options.b158_flags.split())
    convert = (str(command), "convert", "SOURCE", "-o", "OUT", "--to", "tq2_0", "--head", "f16")
    convert += ("--activation", "silu")
    found = [
        Entry(OURS, "F16", FULL, command, "-twin-f16.gguf", flags),
        Entry(OURS, "tq2_0", TERNARY, command, ".b158-tq2_0.gguf", flags, convert),
    ]
    for f in FORMATS:
        folder = getattr(options, f.option.replace("-", "_"))
        if folder is None:
            continue
        bench, quantize = folder / "bin/llama-bench", folder / "bin/llama-quantize"
        if not bench.is_file():
            raise Failure(f"{bench}: no such program", f"give --{f.option} the folder of a build with llama-bench")
        pack = None
        if f.quantize:
            heads = ("--token-embedding-type", "f16", "--output-tensor-type", "f16")
            pack = (str(quantize), *heads, "SOURCE", "OUT", f.quantize, *f.threads)
        found.append(Entry(FOLDERS[f.option], f.label, f.kind, bench, f.file, f.flags, pack))
    if options.only:
        found = [e for e in found if any(text in e.name for text in options.only)]
    return found


def pack(found: list[Entry], shape: str, models: pathlib.Path) -> None:
    """Makes the files of one shape that are missing or older than their source."""
    source = models / (shape + SOURCE)
    for entry in found:
        out = entry.model(shape, models)
        if entry.pack is None or up_to_date(out, source):
            continue
        if not source.is_file():
            raise Failure(f"{source}: no such file", "see `ci/bench-peers --help` for what --models holds")
        print(f"making {out}", file=sys.stderr, flush=True)
        # Only a whole file gets the name that is looked for.
        partial = out.with_name(f"partial-{out.name}")
        paths = {"SOURCE": str(source), "OUT": str(partial)}
        command = [paths.get(word, word) for word in entry.pack]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            partial.unlink(missing_ok=True)
            raise Failure(f"{' '.join(command)}\n{done.stderr[-1500:]}", "the program could not pack the model")
        partial.rename(out)


def up_to_date(out: pathlib.Path, source: pathlib.Path) -> bool:
    return out.is_file() and (not source.is_file() or out.stat().st_mtime >= source.stat().st_mtime)
