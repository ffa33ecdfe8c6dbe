"""`ci/slurm/submit` and the task that it submits, with programs that only say how they were called."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

SLURM = pathlib.Path(__file__).resolve().parents[1] / "slurm"

# Numbers its calls, and keeps arguments, a script on standard input and the number of shards.
SBATCH = """#!/bin/sh
number=$(($(ls "$CALLS" | wc -l) + 7))
{ printf '%s\\n' "$@"; echo "shards $B158_SHARDS"; case $* in *.sbatch*) ;; *) cat ;; esac; } > "$CALLS/$number"
echo "$number;cluster"
"""


class Submit(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.calls = self.folder / "calls"
        self.calls.mkdir()
        self.program("sbatch", SBATCH)
        self.b158 = self.program("b158", '#!/bin/sh\nprintf "%s\\n" "$@" "threads $B158_THREADS"\nexit 5\n')

    def program(self, name: str, text: str) -> pathlib.Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path.resolve()

    def environment(self, **more: str) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "B158"))}
        path = f"{self.folder}:{plain['PATH']}"
        return plain | {"PATH": path, "CALLS": str(self.calls), "B158": str(self.b158)} | more

    def submit(self, *arguments: str, **environment: str) -> tuple[int, str, list[list[str]]]:
        done = subprocess.run(
            [SLURM / "submit", *arguments],
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        calls = [path.read_text().splitlines() for path in sorted(self.calls.iterdir())]
        return done.returncode, done.stdout, calls

    def test_a_suite(self) -> None:
        code, out, (array, join) = self.submit(
            "eval", "my suite.yaml", "out", "16", "--time=1", "--mem", "4G", "--", "--data", "a b"
        )
        self.assertEqual((code, out), (0, "array 7\njoin 8\n"))
        work = ["eval", "my suite.yaml", "-o", "out", "--data", "a b", "shards 16"]
        options = ["--time=1", "--mem", "4G"]
        self.assertEqual(array, ["--parsable", "--array=1-16", *options, str(SLURM / "array.sbatch"), *work])
        self.assertEqual(join[1:3], ["--dependency=afterok:7", "--kill-on-invalid-dep=yes"])
        self.assertEqual(join[-6:-3], options)
        self.assertEqual(join[-1], f"exec {self.b158} merge out -o out")

    def test_some_tasks_of_a_batch_again(self) -> None:
        code, _, (array, join) = self.submit("convert", "my jobs.yaml", "3,7-9%2/12")
        self.assertEqual((code, array[1], array[-1]), (0, "--array=3,7-9%2", "shards 12"))
        self.assertIn("--dependency=afterany:7", join)
        self.assertEqual(join[-1], f"exec {self.b158} convert --batch my\\ jobs.yaml --join")

    def test_mistakes_submit_nothing(self) -> None:
        for mistake in ([], ["eval", "s.yaml", "out"], ["run", "m", "1"], ["convert", "j.yaml", "0"], ["convert", "j.yaml", "x/3"]):
            code, out, calls = self.submit(*mistake)
            self.assertEqual((code, calls), (2, []), mistake)
            self.assertIn("ci/slurm/submit eval SUITE.yaml DIR N", out)
        code, out, calls = self.submit("convert", "j.yaml", "3", B158="no-such-program")
        self.assertEqual((code, calls), (1, []))
        self.assertIn("hint: install it", out)

    def test_a_task(self) -> None:
        task = [SLURM / "array.sbatch", "eval", "s.yaml", "-o", "out"]
        for shards, shard in [({}, "slurm"), ({"B158_SHARDS": "16"}, "slurm/16")]:
            environment = self.environment(SLURM_CPUS_PER_TASK="3", **shards)
            done = subprocess.run(["bash", *task], env=environment, stdout=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 5, "the program's own")
            said = done.stdout.splitlines()[1:]
            self.assertEqual(said, ["eval", "s.yaml", "-o", "out", "--shard", shard, "--resume", "threads 3"])

    def test_a_task_that_runs_out_of_time_is_queued_again(self) -> None:
        self.program("b158", '#!/bin/sh\ntouch "$CALLS/begun"\nexec sleep 60\n')
        self.program("scontrol", '#!/bin/sh\necho "$@" > "$CALLS/scontrol"\nexit 1\n')
        for restarts, requeued in [("3", True), ("50", False)]:
            environment = self.environment(SLURM_JOB_ID="42", SLURM_RESTART_COUNT=restarts)
            task = subprocess.Popen(
                ["bash", SLURM / "array.sbatch", "eval", "s.yaml"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            begun = time.monotonic()
            while not (self.calls / "begun").exists() and time.monotonic() < begun + 20:
                time.sleep(0.02)
            task.send_signal(signal.SIGUSR1)
            out, _ = task.communicate(timeout=40)
            self.assertEqual(task.returncode, 1, "where it cannot be queued again, it has failed")
            asked = self.calls / "scontrol"
            self.assertEqual(asked.exists() and asked.read_text(), requeued and "requeue 42\n", out)
            for path in self.calls.iterdir():
                path.unlink()
        self.assertIn("raise the time limit", out)


if __name__ == "__main__":
    unittest.main()
