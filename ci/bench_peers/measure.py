"""Runs the programs and reads their figures."""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

from bench_peers.entries import OURS, TERNARY, Entry
from bench_peers.failure import Failure

PROMPT, DECODE = 512, 64
PREFILL_TEST, DECODE_TEST = f"prefill {PROMPT}", f"decode {DECODE}"
# Prompt and decoded tokens of the memory's measure: a context of 2,048.
CONTEXT = (1984, 64)


def everything(found: list[Entry], options: argparse.Namespace) -> dict:
    """Every measure of the command line, and the machine they were taken on."""
    document = {"machine": machine(), "programs": {}, "results": [], "load": [], "memory": []}
    for shape in options.shapes:
        present = [entry for entry in found if entry.model(shape, options.models).is_file()]
        for entry in found:
            if entry not in present:
                print(f"{shape}: no {entry.name}: {entry.model(shape, options.models)} is missing", file=sys.stderr)
        for entry in present:
            warm(entry.model(shape, options.models))
        document["results"] += rates_of_shape(present, shape, options, document["programs"])
        if not options.no_load and shape == options.shapes[-1]:
            document["load"] = loads(present, shape, options)
            document["memory"] = memory(present, shape, options)
    return document


def rates_of_shape(found: list[Entry], shape: str, options: argparse.Namespace, programs: dict) -> list[dict]:
    samples: dict[tuple[str, int, str], list[float]] = {}
    for round_ in range(options.rounds):
        for threads in options.threads:
            for entry in found:
                model = entry.model(shape, options.models)
                rates = ours(entry, model, threads) if entry.program == OURS else peer(entry, model, threads, programs)
                for test, rate in rates.items():
                    samples.setdefault((entry.name, threads, test), []).append(rate)
                figures = ", ".join(f"{test} {rate:.1f}" for test, rate in rates.items())
                progress(f"{shape}, round {round_ + 1}, {threads} threads: {entry.name}: {figures}")
    by_name = {entry.name: entry for entry in found}
    return [
        {
            "shape": shape,
            "threads": threads,
            "test": test,
            "program": by_name[name].program,
            "format": by_name[name].label,
            "kind": by_name[name].kind,
            "flags": list(by_name[name].flags),
            "file_bytes": by_name[name].model(shape, options.models).stat().st_size,
            "samples": values,
        }
        for (name, threads, test), values in samples.items()
    ]


def peer(entry: Entry, model: pathlib.Path, threads: int, programs: dict) -> dict[str, float]:
    """Tokens per second of one run of llama-bench."""
    command = [entry.binary, "-m", model, "-t", threads, "-p", PROMPT, "-n", DECODE, "-r", 1, "-o", "json", *entry.flags]
    output = run(command)
    programs.setdefault(entry.program, llama_bench_build(output))
    return llama_bench_rates(output)


def llama_bench_tests(output: str) -> list[dict]:
    """The objects of `llama-bench -o json`; forks print other things in front of it."""
    start = output.find("[\n")
    try:
        return json.loads(output[max(start, 0) :])
    except ValueError as error:
        raise Failure(f"llama-bench printed no JSON: {error}\n{output[:500]}", "is it a llama-bench?") from error


def llama_bench_rates(output: str) -> dict[str, float]:
    rates = {}
    for test in llama_bench_tests(output):
        prompt, decoded = test["n_prompt"], test["n_gen"]
        name = f"prefill {prompt}" if decoded == 0 else f"decode {decoded}"
        rates[name] = max(test["samples_ts"])
    return rates


def llama_bench_build(output: str) -> str:
    tests = llama_bench_tests(output)
    return f"{tests[0]['build_commit']} ({tests[0]['build_number']})" if tests else "unknown"


def ours(entry: Entry, model: pathlib.Path, threads: int) -> dict[str, float]:
    """Tokens per second of one run of `b158 bench`: the same two tests."""
    command = [entry.binary, "--json", "--threads", threads, "bench", model, "--runs", 1]
    command += ["--prefill", PROMPT, "--depth", 0, "--decode", DECODE, *entry.flags]
    return b158_rates(json.loads(run(command)))


def b158_rates(document: dict) -> dict[str, float]:
    """The figures of `b158 bench --json`: of decoding, those after nothing."""
    measured = document["formats"][0]
    rates = {f"prefill {p['tokens']}": p["tokens_per_second"] for p in measured["prefill"]}
    for decode in measured["decode"]:
        if decode["depth_tokens"] == 0:
            rates[f"decode {decode['tokens']}"] = decode["tokens_per_second"]
    return rates


def loads(found: list[Entry], shape: str, options: argparse.Namespace) -> list[dict]:
    """Seconds of a whole process that loads the model and computes one token's logits."""
    samples: dict[str, list[float]] = {}
    threads = max(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for entry in found:
                model = entry.model(shape, options.models)
                if entry.program == OURS:
                    command = [entry.binary, "--threads", threads, "logits", model, "--tokens", 1]
                    command += ["-o", f"{folder}/logits.safetensors"]
                else:
                    command = [entry.binary, "-m", model, "-t", threads, "-p", 1, "-n", 0, "-r", 1, *entry.flags]
                samples.setdefault(entry.name, []).append(watched(command)[0])
    return [
        {"shape": shape, "threads": threads, "program": e.program, "format": e.label, "kind": e.kind,
         "seconds": samples[e.name]}
        for e in found
    ]


def memory(found: list[Entry], shape: str, options: argparse.Namespace) -> list[dict]:
    """Peak resident bytes of ours after a context of 2,048 tokens, and what it has to hold."""
    measured = []
    prompt, decoded = CONTEXT
    for entry in found:
        if entry.program != OURS or entry.kind != TERNARY:
            continue
        command = [entry.binary, "--json", "--threads", max(options.threads), "bench"]
        command += [entry.model(shape, options.models), "--runs", 1, "--prefill", PROMPT]
        command += ["--depth", prompt, "--decode", decoded]
        weights, cache, peak = b158_memory(json.loads(run([*command, *entry.flags])))
        measured.append(
            {"shape": shape, "context": prompt + decoded, "program": entry.program, "format": entry.label,
             "peak_bytes": peak, "weight_bytes": weights, "cache_bytes": cache}
        )
    return measured


def b158_memory(document: dict) -> tuple[int, int, int]:
    """Bytes of weights, of the largest key-value cache, and of the peak that the program saw before it read a buffer
    of its own to measure the memory's bandwidth."""
    measured = document["formats"][0]
    parts = ("ternary", "dense", "embedding", "head", "norm")
    weights = sum(measured["memory"][f"{part}_bytes"] for part in parts)
    cache = max(decode["cache_bytes"] for decode in measured["decode"])
    return weights, cache, measured["peak_resident_bytes"]


def run(command: list) -> str:
    return watched(command)[1]


def watched(command: list) -> tuple[float, str]:
    """Runs a command; returns its seconds and its standard output."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        process.wait()
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            tail = err.read().decode(errors="replace")[-1500:]
            raise Failure(f"{' '.join(words)}: exit {process.returncode}\n{tail}", "run this command by itself")
        return seconds, out.read().decode(errors="replace")


def warm(path: pathlib.Path) -> None:
    """Reads a file, so that no program is the one that waits for the disk."""
    with open(path, "rb") as file:
        while file.read(1 << 24):
            pass


def machine() -> dict:
    model = platform.processor() or "unknown"
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "load_average": os.getloadavg()[0]}


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
