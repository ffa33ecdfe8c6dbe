"""`ci/cross-aarch64` builds for aarch64, runs what it built, and passes on what the command says."""

import pathlib
import subprocess
import tempfile
import unittest

CROSS = pathlib.Path(__file__).resolve().parents[1] / "cross-aarch64"
BUILD_AND_RUN = """
"${RUSTC:-rustc}" --target aarch64-unknown-linux-gnu \
  -C linker="$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER" arch.rs
$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER ./arch
"""


def cross(*command: str, folder: str | None = None) -> tuple[int, str, str]:
    done = subprocess.run([CROSS, *command], cwd=folder, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class CrossAarch64(unittest.TestCase):
    def test_builds_and_runs(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "arch.rs")
            source.write_text('fn main() { print!("{}", std::env::consts::ARCH); }')
            code, out, err = cross("sh", "-ec", BUILD_AND_RUN, folder=folder)
            self.assertEqual((code, out), (0, "aarch64"), err)

    def test_passes_on_the_exit_code(self) -> None:
        self.assertEqual(cross("sh", "-c", "exit 7")[0], 7)

    def test_wants_a_command(self) -> None:
        code, _, err = cross()
        self.assertEqual(code, 1)
        self.assertIn("hint: usage: ", err)


if __name__ == "__main__":
    unittest.main()
