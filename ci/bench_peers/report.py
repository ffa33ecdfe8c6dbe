"""Medians, ratios and the table."""

import statistics

from bench_peers.entries import FULL, OURS, TERNARY

# What the project promises: at least this many times the best peer, by kind, test and threads (an absent number
# of threads has the promise of the next smaller one). One thread is bound by arithmetic, more by memory.
PROMISED = {
    (TERNARY, "decode"): {1: 1.5, 2: 1.15},
    (TERNARY, "prefill"): {1: 1.5},
    (FULL, "decode"): {1: 1.0},
}
# Seconds from start to the first token, and peak memory over weights and cache.
LOAD_SECONDS, MEMORY_RATIO = 1.5, 1.05


def promised(kind: str, test: str, threads: int) -> float | None:
    by_threads = PROMISED.get((kind, test.split()[0]), {})
    known = [n for n in by_threads if n <= threads]
    return by_threads[max(known)] if known else None


def ratios(results: list[dict]) -> list[dict]:
    """For each shape, kind, number of threads and test: ours to the peer with the highest median."""
    groups: dict[tuple, list[dict]] = {}
    for result in results:
        key = result["shape"], result["kind"], result["threads"], result["test"]
        groups.setdefault(key, []).append(result)
    found = []
    for (shape, kind, threads, test), group in groups.items():
        ours = max((r for r in group if r["program"] == OURS), key=middle, default=None)
        peer = max((r for r in group if r["program"] != OURS), key=middle, default=None)
        if ours is None or peer is None:
            continue
        rounds = [a / b for a, b in zip(ours["samples"], peer["samples"], strict=True)]
        found.append(
            {
                "shape": shape,
                "kind": kind,
                "threads": threads,
                "test": test,
                "ours": ours["format"],
                "peer": f"{peer['program']} {peer['format']}",
                "ratio": statistics.median(rounds),
                "low": min(rounds),
                "high": max(rounds),
                "of_bests": max(ours["samples"]) / max(peer["samples"]),
                "promised": promised(kind, test, threads),
            }
        )
    return found


def middle(result: dict) -> float:
    return statistics.median(result["samples"])


def kept(document: dict) -> bool:
    """Whether every promise that was measured holds."""
    rates = all(r["promised"] is None or r["ratio"] >= r["promised"] for r in document["ratios"])
    loads = all(statistics.median(load["seconds"]) <= LOAD_SECONDS for load in of_promise(document["load"]))
    return rates and loads and all(memory_ratio(m) <= MEMORY_RATIO for m in document["memory"])


def of_promise(loads: list[dict]) -> list[dict]:
    return [load for load in loads if load["program"] == OURS and load["kind"] == TERNARY]


def memory_ratio(measured: dict) -> float:
    return measured["peak_bytes"] / (measured["weight_bytes"] + measured["cache_bytes"])


def text(document: dict) -> str:
    machine = document["machine"]
    lines = [f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']:.1f} at the start"]
    lines += [f"{program} {build}" for program, build in sorted(document["programs"].items())]
    results = document["results"]
    for shape, threads in dict.fromkeys((r["shape"], r["threads"]) for r in results):
        lines += ["", *table([r for r in results if (r["shape"], r["threads"]) == (shape, threads)])]
        of_this = [r for r in document["ratios"] if (r["shape"], r["threads"]) == (shape, threads)]
        lines += [ratio_line(r) for r in of_this]
    if document["load"]:
        lines += ["", f"start to first token, {document['load'][0]['shape']}, seconds"]
    for load in document["load"]:
        name = f"{load['program']} {load['format']}"
        lines.append(f"  {name:26}{statistics.median(load['seconds']):9.2f}{min(load['seconds']):9.2f}")
    for m in document["memory"]:
        lines += ["", f"peak resident memory of {m['program']} {m['format']}, {m['shape']}, {m['context']} tokens: "
                  f"{m['peak_bytes'] / 1e6:.0f} MB, {memory_ratio(m):.3f} times weights and cache "
                  f"({m['weight_bytes'] / 1e6:.0f} + {m['cache_bytes'] / 1e6:.0f} MB)"]
    return "\n".join(lines)


def table(results: list[dict]) -> list[str]:
    """One line an entry; for each test the median and the best in tokens per second."""
    tests = list(dict.fromkeys(r["test"] for r in results))
    plural = "" if results[0]["threads"] == 1 else "s"
    head = f"{results[0]['shape']}, {results[0]['threads']} thread{plural}"
    lines = [f"{head:28}{'MB':>7}" + "".join(f"{test:>14}{'best':>8}" for test in tests)]
    rows: dict[tuple, dict] = {}
    for r in results:
        rows.setdefault((r["kind"], f"{r['program']} {r['format']}"), {})[r["test"]] = r
    for (_, name), by_test in rows.items():
        size = next(iter(by_test.values()))["file_bytes"] / 1e6
        line = f"  {name:26}{size:7.0f}"
        for test in tests:
            r = by_test.get(test)
            line += f"{middle(r):14.2f}{max(r['samples']):8.2f}" if r else f"{'-':>14}{'-':>8}"
        lines.append(line)
    return lines


def ratio_line(r: dict) -> str:
    line = f"  {r['test']}: b158 {r['ours']} is {r['ratio']:.2f} ({r['low']:.2f} to {r['high']:.2f}) times {r['peer']}"
    if r["promised"] is not None:
        line += f"; promised {r['promised']:.2f}: {'kept' if r['ratio'] >= r['promised'] else 'NOT kept'}"
    return line
