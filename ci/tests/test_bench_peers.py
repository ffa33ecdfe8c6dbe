"""`ci/bench-peers`: figures read from programs, ratios and promises. The programs are scripts that print figures."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

CI = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CI))

from bench_peers import measure, report
from bench_peers.failure import Failure


def result(program: str, format_: str, samples: list[float], **more: object) -> dict:
    return {
        "shape": "700M", "threads": 1, "test": "decode 64", "program": program, "format": format_,
        "kind": "ternary", "flags": [], "file_bytes": 1_000_000, "samples": samples, **more,
    }


class Reading(unittest.TestCase):
    def test_llama_bench(self) -> None:
        tests = [
            {"n_prompt": 512, "n_gen": 0, "samples_ts": [100.5], "build_commit": "abc", "build_number": 7},
            {"n_prompt": 0, "n_gen": 64, "samples_ts": [20.0, 21.5], "build_commit": "abc", "build_number": 7},
        ]
        printed = "a fork's greeting [x]\n" + json.dumps(tests, indent=2)
        self.assertEqual(measure.llama_bench_rates(printed), {"prefill 512": 100.5, "decode 64": 21.5})
        self.assertEqual(measure.llama_bench_build(printed), "abc (7)")

    def test_llama_bench_without_json(self) -> None:
        with self.assertRaises(Failure) as raised:
            measure.llama_bench_rates("error: no such model")
        self.assertIn("no such model", str(raised.exception))

    def test_b158(self) -> None:
        memory = {f"{part}_bytes": 2 for part in ("ternary", "dense", "embedding", "head", "norm", "mapped", "own")}
        measured = {
            "prefill": [{"tokens": 128, "tokens_per_second": 8.0}, {"tokens": 512, "tokens_per_second": 9.0}],
            "decode": [
                {"depth_tokens": 0, "tokens": 64, "tokens_per_second": 3.0, "cache_bytes": 5},
                {"depth_tokens": 2048, "tokens": 64, "tokens_per_second": 2.0, "cache_bytes": 7},
            ],
            "memory": memory,
            "peak_resident_bytes": 30,
        }
        document = {"formats": [measured, {"prefill": [], "decode": []}]}
        self.assertEqual(measure.b158_rates(document), {"prefill 128": 8.0, "prefill 512": 9.0, "decode 64": 3.0})
        self.assertEqual(measure.b158_memory(document), (10, 7, 30))


class Ratios(unittest.TestCase):
    def test_best_of_each_side_by_median_and_round_by_round(self) -> None:
        found = report.ratios([
            result("b158", "tq2_0", [30.0, 60.0, 33.0]),
            result("b158", "tq1_0", [1.0, 1.0, 1.0]),
            # One lucky round does not make the best peer.
            result("slow", "A", [1.0, 99.0, 1.0]),
            result("fast", "B", [20.0, 30.0, 30.0]),
            result("full", "F16", [500.0, 500.0, 500.0], kind="f16"),
        ])
        self.assertEqual(len(found), 1)
        (found,) = found
        self.assertEqual((found["ours"], found["peer"]), ("tq2_0", "fast B"))
        self.assertEqual((found["ratio"], found["low"], found["high"], found["of_bests"]), (1.5, 1.1, 2.0, 2.0))
        self.assertEqual(found["promised"], 1.5)

    def test_nothing_to_compare_with(self) -> None:
        self.assertEqual(report.ratios([result("b158", "tq2_0", [1.0])]), [])
        self.assertEqual(report.ratios([result("peer", "A", [1.0])]), [])

    def test_promises(self) -> None:
        for kind, test, threads, expected in [
            ("ternary", "decode 64", 1, 1.5), ("ternary", "decode 64", 2, 1.15), ("ternary", "decode 64", 8, 1.15),
            ("ternary", "prefill 512", 2, 1.5), ("f16", "decode 64", 2, 1.0), ("f16", "prefill 512", 1, None),
        ]:
            self.assertEqual(report.promised(kind, test, threads), expected, (kind, test, threads))

    def test_kept(self) -> None:
        ratio = {"promised": 1.5, "ratio": 1.5}
        load = {"program": "b158", "kind": "ternary", "seconds": [1.0, 1.5, 9.0]}
        memory = {"peak_bytes": 105, "weight_bytes": 60, "cache_bytes": 40}
        document = {"ratios": [ratio], "load": [load], "memory": [memory]}
        self.assertTrue(report.kept(document))
        for broken in [
            {"ratios": [ratio | {"ratio": 1.49}]},
            {"load": [load | {"seconds": [1.6]}]},
            {"memory": [memory | {"peak_bytes": 106}]},
        ]:
            self.assertFalse(report.kept(document | broken), broken)
        # What nobody promised, and what peers take, decide nothing.
        self.assertTrue(report.kept({"ratios": [{"promised": None, "ratio": 0.1}],
                                     "load": [load | {"program": "peer", "seconds": [60.0]}], "memory": []}))


LLAMA_BENCH = """#!/bin/sh
printf '[\\n {"n_prompt": 512, "n_gen": 0, "samples_ts": [50.0], "build_commit": "c", "build_number": 1},'
printf '{"n_prompt": 0, "n_gen": 64, "samples_ts": [10.0], "build_commit": "c", "build_number": 1}]\\n'
"""
QUANTIZE = """#!/bin/sh
for word; do case $word in *.gguf) out=$word ;; esac; done
echo packed > "$out"
"""
B158 = """#!/bin/sh
case "$*" in
  convert*) echo packed > "$4"; exit ;;
  *logits*) exit ;;
  *"--depth 0"*) depth=0 ;;
  *) depth=1984 ;;
esac
cat <<END
{"formats": [{"prefill": [{"tokens": 512, "tokens_per_second": 100.0}],
  "decode": [{"depth_tokens": $depth, "tokens": 64, "tokens_per_second": 12.0, "cache_bytes": 100000000}],
  "memory": {"ternary_bytes": 300000000, "dense_bytes": 0, "embedding_bytes": 0, "head_bytes": 0, "norm_bytes": 0},
  "peak_resident_bytes": 404000000}]}
END
"""


class Whole(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.script("b158", B158)
        self.script("peer/bin/llama-bench", LLAMA_BENCH)
        self.script("peer/bin/llama-quantize", QUANTIZE)
        (self.folder / "tiny-f16.gguf").write_text("source")

    def script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.chmod(path, 0o755)

    def bench(self, *more: str) -> subprocess.CompletedProcess:
        command = [CI / "bench-peers", "--models", ".", "--b158", "./b158", "--llama-cpp", "peer"]
        command += ["--shapes", "tiny", "--threads", "1,2", "--rounds", "2", *more]
        return subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True)

    def test_packs_measures_and_reports(self) -> None:
        done = self.bench("--json", "out.json")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in [
            "  decode 64: b158 tq2_0 is 1.20 (1.20 to 1.20) times llama.cpp TQ1_0; promised 1.50: NOT kept",
            "  decode 64: b158 tq2_0 is 1.20 (1.20 to 1.20) times llama.cpp TQ1_0; promised 1.15: kept",
            "  prefill 512: b158 tq2_0 is 2.00 (2.00 to 2.00) times llama.cpp TQ1_0; promised 1.50: kept",
        ]:
            self.assertIn(line, done.stdout.splitlines())
        self.assertIn("start to first token, tiny, seconds", done.stdout)
        self.assertIn("tiny, 2048 tokens", done.stdout)
        # The twin is not there, which is said, and left out.
        self.assertIn("tiny: no llama.cpp F16", done.stderr)
        document = json.loads((self.folder / "out.json").read_text())
        self.assertEqual({len(r["samples"]) for r in document["results"]}, {2})
        self.assertEqual(document["programs"], {"llama.cpp": "c (1)"})
        self.assertEqual(sorted(p.name for p in self.folder.glob("*.gguf")), [
            "tiny-f16.gguf", "tiny.b158-tq2_0.gguf", "tiny.llama.cpp-tq1_0.gguf", "tiny.llama.cpp-tq2_0.gguf",
        ])

    def test_require(self) -> None:
        self.assertEqual(self.bench("--require", "--no-load").returncode, 3)

    def test_files_are_made_once(self) -> None:
        self.assertIn("making", self.bench("--no-load").stderr)
        self.assertNotIn("making", self.bench("--no-load").stderr)

    def test_a_peer_that_fails_is_named(self) -> None:
        self.script("peer/bin/llama-bench", "#!/bin/sh\necho 'no such architecture' >&2; exit 1\n")
        done = self.bench("--no-load")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such architecture", done.stderr)
        self.assertIn("\nhint: ", done.stderr)

    def test_a_peer_that_is_not_built(self) -> None:
        (self.folder / "peer/bin/llama-bench").unlink()
        done = self.bench("--no-load")
        self.assertEqual(done.returncode, 1)
        self.assertIn("error: peer/bin/llama-bench: no such program\nhint: give --llama-cpp", done.stderr)

    def test_no_models(self) -> None:
        (self.folder / "tiny-f16.gguf").unlink()
        done = self.bench("--no-load")
        self.assertEqual(done.returncode, 1)
        self.assertIn("tiny-f16.gguf: no such file\nhint: ", done.stderr)


if __name__ == "__main__":
    unittest.main()
