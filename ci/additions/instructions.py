"""Which instructions multiply, and where branches go, in objdump's (AT&T) syntax."""

import re
from typing import NamedTuple

# A list of what is forbidden, as patterns wider than today's instructions: new ones that multiply are named like
# the old. A pattern is searched anywhere in the mnemonic. Divisions and roots count: they multiply inside.
MULTIPLIES = {
    "x86-64": re.compile(
        r"""
          mul(?!tishift)       # mul, imul, mulx, pmul*, mulps, vpmul*, fmul, pclmul*; vpmultishiftqb is a shift
        | madd | msub          # pmadd*, vpmadd52*, vf[n]madd*, vf[n]msub*
        | ^vpma[cd]            # XOP's multiply-accumulate
        | ^v?dp | ^vp4?dp      # dot products: dpps, vdpbf16ps, vpdpbusd and the rest of VNNI
        | ^tt?(dp|cmm)         # products of AMX tiles
        | gf2p8 | aes | crc32  # products of polynomials
        | div | rcp | sqrt     # div, idiv, vdivps, rcpss, vrsqrt14ps
        | scalef | ^fscale     # products with powers of two
        """,
        re.VERBOSE,
    ),
    "aarch64": re.compile(
        r"""
          mul                  # mul, smull, umulh, sqdmulh, fmul, fmulx, pmull
        | mad | msub | mneg    # madd, smaddl, fmadd, fnmsub, mneg, and SVE's mad
        | msb                  # SVE's msb, fmsb
        | ml[as]               # mla, smlal, fmls, fmlal, sqrdmlah, smmla, bfmlalb
        | dot                  # sdot, udot, usdot, bfdot
        | mop[as4]             # outer products of SME
        | aes | crc32          # products of polynomials
        | div | recp | sqrt    # sdiv, fdiv, frecpe, ursqrte
        | fscale               # products with powers of two
        """,
        re.VERBOSE,
    ),
}

# Written before the mnemonic. {evex} and the like are recognized by their braces.
PREFIX = re.compile(
    r"\{.*|rep(n?[ez])?|lock|data16|data32|addr32|addr16|[c-g]s|ss|bnd|notrack|xacquire|xrelease|rex.*"
)

BRANCH = {
    "x86-64": re.compile(r"l?(call|jmp)[lqw]?|j\w+|loop\w*|xbegin"),
    "aarch64": re.compile(r"b|bl|bc?\.\w+|[ct]bn?z|bl?r(a[ab]z?)?"),
}


class Branch(NamedTuple):
    """Where a branch goes: to code, or to what a slot in memory holds; neither if only the running program knows."""

    code: int | None = None
    slot: int | None = None
    # objdump's name of the place; the only one for the stubs of a dynamic linker.
    label: str = ""


def mnemonic(text: str) -> str:
    """Empty if nothing but prefixes was decoded."""
    return next((word for word in text.split() if not PREFIX.fullmatch(word)), "")


def complaint(machine: str, text: str) -> str | None:
    """What is wrong with one instruction by itself."""
    name = mnemonic(text)
    if not re.match("[a-z]", name) or "(bad)" in text or "undefined" in text:
        return "not decoded, so it could be anything"
    if MULTIPLIES[machine].search(name):
        return "multiplies"
    return None


def branch(machine: str, text: str) -> Branch | None:
    """None if the instruction is no branch."""
    name = mnemonic(text)
    if not BRANCH[machine].fullmatch(name):
        return None
    operands = text.partition(name)[2]
    if m := re.search(r"\*0x[0-9a-f]+\(%rip\)\s+# ([0-9a-f]+)", operands):
        return Branch(slot=int(m[1], 16))
    # The last operand, perhaps followed by its label and a comment.
    if m := re.fullmatch(r"(?:.*,)?\s*(?:0x)?([0-9a-f]+)(?: <(.*?)>)?(?:\s*(?://|#).*)?", operands):
        return Branch(code=int(m[1], 16), label=m[2] or "")
    return Branch()
