//! Which instruction set the kernels run on.

use std::{ffi::OsStr, fmt, str::FromStr, sync::OnceLock};

#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Op, Portable, Simd};

/// An instruction set that this machine has.
///
/// A value can only be obtained by detection, so whoever holds one may use the set. All sets give
/// the same results, bit for bit; they differ in speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// The names that [`Isa::from_str`] knows, whether or not this machine has them.
const NAMES: [&str; 5] = ["auto", "scalar", "avx2", "avx512", "neon"];

/// The environment variable that names the set to use where nobody asks for another.
const VARIABLE: &str = "B158_ISA";

impl Isa {
    /// Plain Rust, on every machine.
    pub const SCALAR: Self = Self(Set::Scalar);

    /// The set to use where nobody asks for another: that of [`Isa::from_env`], and [`Isa::fastest`] where
    /// the variable is no set of this machine. A program that does not want to hide that mistake checks
    /// [`Isa::from_env`] when it starts.
    pub fn best() -> Self {
        Self::from_env().unwrap_or_else(|_| Self::fastest())
    }

    /// The set that the environment variable `B158_ISA` names; `auto` where it is not set. Read once.
    ///
    /// # Errors
    /// The name means nothing, or this machine lacks the set.
    pub fn from_env() -> Result<Self, ParseIsaError> {
        static ASKED: OnceLock<Result<Isa, ParseIsaError>> = OnceLock::new();
        ASKED.get_or_init(|| Self::from_variable(std::env::var_os(VARIABLE).as_deref())).clone()
    }

    fn from_variable(value: Option<&OsStr>) -> Result<Self, ParseIsaError> {
        value.map_or_else(|| Ok(Self::fastest()), |name| name.to_string_lossy().parse())
    }

    /// The fastest set that this machine has.
    pub fn fastest() -> Self {
        Self::available().last().copied().unwrap_or(Self::SCALAR)
    }

    /// Every set that this machine has, slowest first.
    pub fn available() -> Vec<Self> {
        let scalar = [Some(Set::Scalar)].into_iter();
        #[cfg(target_arch = "x86_64")]
        let sets = scalar.chain([Avx2::detect().map(Set::Avx2), Avx512::detect().map(Set::Avx512)]);
        #[cfg(target_arch = "aarch64")]
        let sets = scalar.chain([Neon::detect().map(Set::Neon)]);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let sets = scalar;
        sets.flatten().map(Self).collect()
    }

    /// The name that [`Isa::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
        }
    }

    pub(crate) fn set(self) -> Set {
        self.0
    }

    /// Runs `op` compiled for this set.
    pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
        match self.0 {
            Set::Scalar => Portable.vectorize(op),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(avx2) => avx2.vectorize(op),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) => avx512.vectorize(op),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(neon) => neon.vectorize(op),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no instruction set, or none of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIsaError {
    /// The name means nothing.
    #[error("there is no instruction set named {0:?}\nhint: the names are {names}", names = NAMES.join(", "))]
    Unknown(String),
    /// The name is known, this machine lacks the set.
    #[error(
        "this machine does not have the instruction set {name}\nhint: use auto, or one of those it has: {has}",
        has = available_names()
    )]
    Unavailable {
        /// The set's name.
        name: &'static str,
    },
}

fn available_names() -> String {
    Isa::available().into_iter().map(Isa::name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Isa {
    type Err = ParseIsaError;

    /// `auto` is [`Isa::fastest`], any other name is the set itself.
    fn from_str(s: &str) -> Result<Self, ParseIsaError> {
        if s == "auto" {
            return Ok(Self::fastest());
        }
        let name =
            NAMES.into_iter().find(|name| *name == s).ok_or_else(|| ParseIsaError::Unknown(s.into()))?;
        Self::available()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or(ParseIsaError::Unavailable { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for isa in Isa::available() {
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        assert_eq!("auto".parse(), Ok(Isa::fastest()));
        assert!(Isa::available().into_iter().all(|isa| NAMES.contains(&isa.name())));
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no instruction set named \"sse9\"\nhint: the names are auto, scalar, avx2, avx512, neon"
        );
    }

    #[test]
    fn the_variable_names_a_set_or_is_an_error() {
        let read = |value: Option<&str>| Isa::from_variable(value.map(OsStr::new));
        assert_eq!(read(None), Ok(Isa::fastest()));
        assert_eq!(read(Some("auto")), Ok(Isa::fastest()));
        for isa in Isa::available() {
            assert_eq!(read(Some(isa.name())), Ok(isa));
        }
        assert_eq!(read(Some("")), Err(ParseIsaError::Unknown(String::new())));
        // No machine has both.
        let missing = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
        assert_eq!(read(Some(missing)), Err(ParseIsaError::Unavailable { name: missing }));
        assert_eq!(Isa::best(), Isa::from_env().unwrap_or(Isa::fastest()));
    }

    #[test]
    fn missing_sets_are_refused_with_those_there_are() {
        let message = ParseIsaError::Unavailable { name: "avx2" }.to_string();
        assert!(
            message.starts_with("this machine does not have the instruction set avx2\nhint: "),
            "{message}"
        );
        assert!(message.contains("scalar"), "{message}");
    }
}
