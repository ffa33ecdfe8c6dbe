"""`ci/check-additions` on kernels that only add, and on kernels that do not.

Programs are compiled from the sources below; nothing is run. The tests for aarch64 compile through
`ci/cross-aarch64`, which installs what it needs.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

CI = pathlib.Path(__file__).resolve().parents[1]
RUSTC = os.environ.get("RUSTC", "rustc")

# A program whose path of functions is that of the kernels. KERNEL stands for the function under test.
PROGRAM = """
#![allow(unused)]
pub mod ternary {
    pub mod SET {
        #[cfg(target_arch = "x86_64")] use std::arch::{asm, x86_64::*};
        #[cfg(target_arch = "aarch64")] use std::arch::{asm, aarch64::*};
        // Another module's function, which may do anything.
        #[inline(never)] pub fn helper(x: i32) -> i32 { x.wrapping_mul(x) }
        KERNEL
    }
}
fn main() { std::hint::black_box(ternary::SET::ternary_kernel as *const ()); }
"""

ADDS = """
#[inline(never)]
pub fn ternary_kernel(x: &[i8], codes: &[u8], out: &mut [i32]) {
    // Bounds checks, a panic, a fill, another kernel, a loop: all that a kernel may have.
    out.fill(0);
    for i in 0..codes.len() {
        let masked = if codes[i] & 1 == 0 { 0 } else { i32::from(x[i]) };
        out[i & 31] += if codes[i] & 2 == 0 { masked } else { -masked };
    }
    ternary_last(out);
}
#[inline(never)]
pub fn ternary_last(out: &mut [i32]) { out[0] += i32::try_from(out.len()).unwrap(); }
"""

GENERIC = """
#[inline(never)]
pub fn ternary_any<const N: usize>(x: [i32; N]) -> i32 { x[0] + x[N - 1] }
#[inline(never)]
pub fn ternary_kernel(x: i32) -> i32 {
    let twice = |x: i32| x OPERATION x;
    ternary_any([x; 2]) + ternary_any([x; 3]) + twice(x)
}
"""

INTEGER = "#[inline(never)] pub fn ternary_kernel(x: i32, y: i32) -> i32 { x * y }"
FLOAT = "#[inline(never)] pub fn ternary_kernel(x: f32, y: f32) -> f32 { x * y }"
DIVIDES = "#[inline(never)] pub fn ternary_kernel(x: u32, y: u32) -> u32 { x / (y | 1) }"
# An address by multiplication: 24 bytes are no shift.
ADDRESS = """
#[inline(never)]
pub fn ternary_kernel(x: &[[u8; 56]], i: usize) -> u8 { if i < x.len() { x[i][7] } else { 0 } }
"""
MADDUBS = """
#[target_feature(enable = "avx2")] #[inline(never)]
pub fn ternary_kernel(x: __m256i, y: __m256i) -> __m256i { _mm256_maddubs_epi16(x, y) }
"""
DPBUSD = """
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")] #[inline(never)]
pub fn ternary_kernel(s: __m512i, x: __m512i, y: __m512i) -> __m512i { _mm512_dpbusd_epi32(s, x, y) }
"""
DOT = """
#[inline(never)]
pub fn ternary_kernel() { unsafe { asm!(".arch_extension dotprod", "sdot v0.4s, v1.16b, v2.16b", out("v0") _) } }
"""
CALLS = "#[inline(never)] pub fn ternary_kernel(x: i32) -> i32 { helper(x + 1) + 1 }"
TAIL_CALLS = "#[inline(never)] pub fn ternary_kernel(x: i32) -> i32 { helper(x + 1) }"
CALLS_POINTER = "#[inline(never)] pub fn ternary_kernel(f: &dyn Fn(i32) -> i32) -> i32 { f(1) + 1 }"
UNDECODED = "#[inline(never)] pub fn ternary_kernel() { unsafe { asm!(BYTES) } }"


class Case(unittest.TestCase):
    target = "x86_64-unknown-linux-gnu"
    set = "avx2"

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def compile(self, kernel: str, *options: str, crate: str = "b158_kernels") -> pathlib.Path:
        source, program = self.folder / "kernels.rs", self.folder / "program"
        source.write_text(PROGRAM.replace("KERNEL", kernel).replace("SET", self.set))
        command = [RUSTC]
        if self.target.startswith("aarch64"):
            # The script may choose another compiler.
            shell = '"${RUSTC:-rustc}" -C linker="$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER" "$@"'
            command = [str(CI / "cross-aarch64"), "sh", "-c", shell, "sh"]
        command += [f"--crate-name={crate}", "--edition=2024", "-Copt-level=3", f"--target={self.target}"]
        command += [*options, str(source), "-o", str(program)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return program

    def check(self, program: pathlib.Path, *options: str) -> tuple[int, str, str]:
        command = [str(CI / "check-additions"), *options, str(program)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        self.assertNotIn("Traceback", done.stderr)
        return done.returncode, done.stdout, done.stderr

    def passes(self, program: pathlib.Path, *options: str) -> str:
        code, out, err = self.check(program, *options)
        self.assertEqual((code, err), (0, ""))
        return out

    def fails(self, program: pathlib.Path, message: str, *options: str) -> str:
        code, _, err = self.check(program, *options)
        self.assertEqual(code, 1, err)
        self.assertRegex(err, message)
        self.assertIn("\nhint: ", err)
        return err


class X86(Case):
    def test_additions_pass(self) -> None:
        out = self.passes(self.compile(ADDS), "--require", "avx2,avx2::ternary_last")
        self.assertRegex(out, r"^x86-64 avx2: 2 symbols, \d+ instructions checked\n$")

    def test_multiplications_fail(self) -> None:
        for kernel, instruction in [
            (INTEGER, "imul .*: multiplies"),
            (FLOAT, "mulss .*: multiplies"),
            (DIVIDES, "div .*: multiplies"),
            (ADDRESS, "imul .*: multiplies"),
            (MADDUBS, "vpmaddubsw .*: multiplies"),
            (DPBUSD, "vpdpbusd .*: multiplies"),
            (UNDECODED.replace("BYTES", '".byte 0x06"'), r"\(bad\).*: not decoded"),
        ]:
            with self.subTest(instruction):
                program = self.compile(kernel)
                self.fails(
                    program,
                    f"error: b158_kernels::ternary::avx2::ternary_kernel at 0x[0-9a-f]+: {instruction}",
                )

    def test_calls_of_unchecked_code_fail(self) -> None:
        helper = "goes to b158_kernels::ternary::avx2::helper, which is not checked"
        self.fails(self.compile(CALLS), f"call .*{helper}")
        self.fails(self.compile(TAIL_CALLS), f"jmp .*{helper}")
        self.fails(self.compile(CALLS_POINTER), r"(call|jmp) .*goes to a place known only at run time")

    def test_generic_functions_and_closures_are_checked(self) -> None:
        # In the compiler's usual names and in the newer ones; not optimized, so that the closure is a function.
        for options in ([], ["-Csymbol-mangling-version=v0"]):
            with self.subTest(options):
                adds, multiplies = GENERIC.replace("OPERATION", "+"), GENERIC.replace("OPERATION", "*")
                out = self.passes(self.compile(adds, "-Copt-level=0", *options))
                # Two instances, the closure, and the function around it.
                self.assertIn("avx2: 4 symbols", out)
                program = self.compile(multiplies, "-Copt-level=0", *options)
                self.fails(program, r"ternary_kernel::\{+closure.* imul .*: multiplies")

    def test_what_is_missing_fails(self) -> None:
        program = self.compile(ADDS)
        for name in ("avx512", "avx2::ternary_other"):
            self.fails(
                program, f"error: {name}: required, but this binary has none", "--require", f"avx2,{name}"
            )
        subprocess.run(["strip", program], check=True)
        self.fails(program, "no ternary kernel among 0 function symbols\nhint: .*without `strip`")
        self.fails(self.compile("pub fn ternary_kernel() {}").with_name("kernels.rs"), "not an ELF file")
        self.fails(self.folder / "nothing", "No such file")

    def test_a_program_without_kernels_fails(self) -> None:
        program = self.compile(ADDS, crate="other")
        self.fails(program, r"no ternary kernel among [1-9]\d* function symbols")

    def test_objdump_is_found_or_named(self) -> None:
        program = self.compile(ADDS)
        self.passes(program, "--objdump", shutil.which("objdump") or "")
        self.fails(program, "nothing: No such file", "--objdump", "/nothing")
        # One that says nothing shows no kernel.
        self.fails(program, "no ternary kernel", "--objdump", "/bin/true")


class Aarch64(Case):
    target = "aarch64-unknown-linux-gnu"
    set = "neon"

    def test_additions_pass(self) -> None:
        out = self.passes(self.compile(ADDS), "--require", "neon")
        self.assertRegex(out, r"^aarch64 neon: 2 symbols, \d+ instructions checked\n$")

    def test_multiplications_fail(self) -> None:
        for kernel, instruction in [
            (INTEGER, "mul .*: multiplies"),
            (FLOAT, "fmul .*: multiplies"),
            (DIVIDES, "udiv .*: multiplies"),
            (ADDRESS, "(mul|madd|umaddl) .*: multiplies"),
            (DOT, "sdot .*: multiplies"),
            (UNDECODED.replace("BYTES", '".inst 0x00ffffff"'), r"\.inst .*: not decoded"),
        ]:
            with self.subTest(instruction):
                self.fails(self.compile(kernel), f"neon::ternary_kernel at 0x[0-9a-f]+: {instruction}")

    def test_calls_of_unchecked_code_fail(self) -> None:
        helper = "goes to b158_kernels::ternary::neon::helper, which is not checked"
        self.fails(self.compile(CALLS), f"bl .*{helper}")
        self.fails(self.compile(TAIL_CALLS), f" b .*{helper}")
        self.fails(self.compile(CALLS_POINTER), r"(blr|br) .*goes to a place known only at run time")


# One kernel for each of these instructions, assembled.
MULTIPLY = {
    "x86_64": """
        mul %rbx; imul %rbx; imul %rax, %rbx; imul $24, %rax, %rbx; mulb (%rax); mulx %rax, %rbx, %rcx
        div %rbx; idiv %ecx
        pmullw %xmm0, %xmm1; pmulhw %mm0, %mm1; pmuludq %xmm0, %xmm1; pmaddwd %xmm0, %xmm1
        pmaddubsw %xmm0, %xmm1
        pmulhrsw %xmm0, %xmm1; pclmulqdq $0, %xmm0, %xmm1; gf2p8mulb %xmm0, %xmm1
        gf2p8affineqb $0, %xmm0, %xmm1
        mulps %xmm0, %xmm1; mulsd %xmm0, %xmm1; divps %xmm0, %xmm1; sqrtss %xmm0, %xmm1; rcpps %xmm0, %xmm1
        rsqrtps %xmm0, %xmm1; dpps $1, %xmm0, %xmm1; vdppd $1, %xmm0, %xmm1, %xmm2; fmul %st(1), %st; fdivp
        fscale
        vpmullw %ymm0, %ymm1, %ymm2; vpmuldq %zmm0, %zmm1, %zmm2; vpmullq %zmm0, %zmm1, %zmm2{%k1}{z}
        vpmaddwd %ymm0, %ymm1, %ymm2; vpmaddubsw %zmm0, %zmm1, %zmm2; vpmadd52luq %zmm0, %zmm1, %zmm2
        vpdpbusd %zmm0, %zmm1, %zmm2; {vex} vpdpbusd %ymm0, %ymm1, %ymm2; vpdpwssds %xmm0, %xmm1, %xmm2
        vmulps %zmm0, %zmm1, %zmm2; vmulss %xmm0, %xmm1, %xmm2; vmulph %zmm0, %zmm1, %zmm2
        vdivps %ymm0, %ymm1, %ymm2
        vfmadd231ps %zmm0, %zmm1, %zmm2; vfmsub132sd %xmm0, %xmm1, %xmm2; vfnmadd213ps %ymm0, %ymm1, %ymm2
        vfmaddsub231pd %ymm0, %ymm1, %ymm2; vfmaddcph %zmm0, %zmm1, %zmm2; vdpbf16ps %zmm0, %zmm1, %zmm2
        vrcp14ps %zmm0, %zmm1; vrsqrt14ps %zmm0, %zmm1; vscalefps %zmm0, %zmm1, %zmm2
        vpclmulqdq $0, %zmm0, %zmm1, %zmm2
        tdpbssd %tmm0, %tmm1, %tmm2; tdpbf16ps %tmm0, %tmm1, %tmm2; vpmacsdd %xmm0, %xmm1, %xmm2, %xmm3
        aesenc %xmm0, %xmm1; crc32 %eax, %ebx; rex mul %ebx
    """,
    "aarch64": """
        mul x0, x1, x2; madd x0, x1, x2, x3; msub x0, x1, x2, x3; mneg x0, x1, x2; smull x0, w1, w2
        umull x0, w1, w2
        smaddl x0, w1, w2, x3; umsubl x0, w1, w2, x3; smulh x0, x1, x2; umulh x0, x1, x2; sdiv x0, x1, x2
        udiv w0, w1, w2
        mul v0.8h, v1.8h, v2.8h; mla v0.4s, v1.4s, v2.4s; mls v0.16b, v1.16b, v2.16b; mla v0.4s, v1.4s, v2.s[0]
        smull v0.8h, v1.8b, v2.8b; umull2 v0.8h, v1.16b, v2.16b; smlal v0.8h, v1.8b, v2.8b
        umlsl v0.8h, v1.8b, v2.8b
        sqdmulh v0.8h, v1.8h, v2.8h; sqrdmulh v0.8h, v1.8h, v2.8h; sqdmlal v0.4s, v1.4h, v2.4h
        sqrdmlah v0.8h, v1.8h, v2.8h
        pmul v0.16b, v1.16b, v2.16b; pmull v0.8h, v1.8b, v2.8b; sdot v0.4s, v1.16b, v2.16b
        udot v0.2s, v1.8b, v2.8b
        usdot v0.4s, v1.16b, v2.16b; sudot v0.4s, v1.16b, v2.4b[0]; smmla v0.4s, v1.16b, v2.16b
        ummla v0.4s, v1.16b, v2.16b
        usmmla v0.4s, v1.16b, v2.16b; bfdot v0.4s, v1.8h, v2.8h; bfmmla v0.4s, v1.8h, v2.8h
        bfmlalb v0.4s, v1.8h, v2.8h
        fmul s0, s1, s2; fmul v0.4s, v1.4s, v2.4s; fmulx d0, d1, d2; fnmul s0, s1, s2; fmadd s0, s1, s2, s3
        fmsub d0, d1, d2, d3; fnmadd s0, s1, s2, s3; fmla v0.4s, v1.4s, v2.4s; fmls v0.2d, v1.2d, v2.2d
        fmlal v0.4s, v1.4h, v2.4h; fcmla v0.4s, v1.4s, v2.4s, #0; fdiv s0, s1, s2; fsqrt s0, s1; frecpe s0, s1
        frsqrte v0.4s, v1.4s; urecpe v0.4s, v1.4s; mul z0.s, p0/m, z0.s, z1.s; mad z0.s, p0/m, z1.s, z2.s
        msb z0.s, p0/m, z1.s, z2.s; fmad z0.s, p0/m, z1.s, z2.s; sdot z0.s, z1.b, z2.b
        sdivr z0.s, p0/m, z0.s, z1.s
        crc32b w0, w1, w2; aesmc v0.16b, v1.16b
    """,
}
ADD = {
    "x86_64": """
        add %rax, %rbx; lea (%rax,%rbx,8), %rcx; shl $5, %rax; rep stosq; ret; ud2; endbr64
        nopw 0x0(%rax,%rax,1)
        vpaddw %ymm0, %ymm1, %ymm2; vpsadbw %zmm0, %zmm1, %zmm2; vpsignb %ymm0, %ymm1, %ymm2
        vpshufb %zmm0, %zmm1, %zmm2
        vpsubb %zmm0, %zmm1, %zmm2{%k1}; vpternlogd $0x96, %zmm0, %zmm1, %zmm2; vpermi2w %zmm0, %zmm1, %zmm2
        vpmultishiftqb %zmm0, %zmm1, %zmm2; vpmovsxwd %ymm0, %zmm1; vpmaskmovd (%rax), %ymm0, %ymm1
        phaddw %xmm0, %xmm1
        vpmaxsb %ymm0, %ymm1, %ymm2; vpermb %zmm0, %zmm1, %zmm2; kmovq %k1, %rax; vpopcntb %zmm0, %zmm1
        pext %rax, %rbx, %rcx
        vmovdqu64 (%rax), %zmm0; addpd %xmm0, %xmm1; movddup %xmm0, %xmm1; vzeroupper; mpsadbw $0, %xmm0, %xmm1
    """,
    "aarch64": """
        add x0, x1, x2, lsl #3; sub x0, x1, #1; neg x0, x1; lsl x0, x1, #4; ret; brk #1
        ldp q0, q1, [x0], #32; adrp x0, .
        add v0.16b, v1.16b, v2.16b; saddw v0.8h, v1.8h, v2.8b; sadalp v0.4s, v1.8h; saddlv h0, v1.16b
        addv s0, v1.4s
        addp v0.4s, v1.4s, v2.4s; tbl v0.16b, {v1.16b}, v2.16b; tbl v0.16b, {v1.16b, v2.16b}, v3.16b
        sshl v0.16b, v1.16b, v2.16b
        bsl v0.16b, v1.16b, v2.16b; cmtst v0.16b, v1.16b, v2.16b; sshll v0.8h, v1.8b, #0
        usra v0.16b, v1.16b, #2
        zip1 v0.16b, v1.16b, v2.16b; smax v0.4s, v1.4s, v2.4s; movi v0.2d, #0; dup v0.4s, w0
        sabal v0.8h, v1.8b, v2.8b
        ssubl v0.8h, v1.8b, v2.8b; add z0.b, z1.b, z2.b; eor3 v0.16b, v1.16b, v2.16b, v3.16b; mvn v0.16b, v1.16b
    """,
}
# What the assembler must know; on x86-64 it knows all.
ARCH = {"x86_64": "", "aarch64": ".arch armv8.6-a+sve2+bf16+i8mm+fp16+fp16fml+aes+sha3+crc\n"}


class Assembled(Case):
    def each(self, machine: str, table: dict[str, str]) -> tuple[list[str], str]:
        """The instructions of a table, and what the check says about one kernel for each of them."""
        instructions = [
            one.strip() for line in table[machine].splitlines() for one in line.split(";") if one.strip()
        ]
        text = ARCH[machine]
        for i, instruction in enumerate(instructions):
            name = f"ternary_{i:03}"
            symbol = f"_ZN12b158_kernels7ternary4test{len(name)}{name}17h0123456789abcdefE"
            text += f".type {symbol}, %function\n{symbol}: {instruction}\n.size {symbol}, . - {symbol}\n"
        (self.folder / "a.s").write_text(text)
        assembler = f"{machine}-linux-gnu-as"
        if not shutil.which(assembler):
            assembler = "as"
        done = subprocess.run(
            [assembler, "a.s", "-o", "a.o"], cwd=self.folder, check=False, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        _, out, err = self.check(self.folder / "a.o")
        self.assertIn(f"test: {len(instructions)} symbols, {len(instructions)} instructions checked", out)
        return instructions, err

    def test_every_multiplication_is_known(self) -> None:
        for machine in MULTIPLY:
            instructions, err = self.each(machine, MULTIPLY)
            for i, instruction in enumerate(instructions):
                with self.subTest(instruction):
                    self.assertRegex(err, rf"ternary_{i:03} at .*: multiplies\n")

    def test_no_addition_is_blamed(self) -> None:
        for machine in ADD:
            with self.subTest(machine):
                self.assertEqual(self.each(machine, ADD)[1], "")


if __name__ == "__main__":
    unittest.main()
