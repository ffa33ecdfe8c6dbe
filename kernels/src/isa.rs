//! Which instruction set the kernels run on.

use std::{fmt, str::FromStr, sync::OnceLock};

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
}

/// The names that [`Isa::from_str`] knows, whether or not this machine has them.
const NAMES: [&str; 4] = ["auto", "scalar", "avx2", "avx512"];

impl Isa {
    /// Plain Rust, on every machine.
    pub const SCALAR: Self = Self(Set::Scalar);

    /// The fastest set that this machine has. Detected once.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().copied().unwrap_or(Self::SCALAR))
    }

    /// Every set that this machine has, slowest first.
    pub fn available() -> Vec<Self> {
        let scalar = [Self::SCALAR].into_iter();
        #[cfg(target_arch = "x86_64")]
        let sets = scalar.chain(Avx2::detect().map(|avx2| Self(Set::Avx2(avx2)))).chain(Avx512::detect().map(|t| Self(Set::Avx512(t))));
        #[cfg(not(target_arch = "x86_64"))]
        let sets = scalar;
        sets.collect()
    }

    /// The name that [`Isa::from_str`] takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
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
            Set::Avx512(avx512) => avx512.avx2().vectorize(op),
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

    /// `auto` is [`Isa::best`], any other name is the set itself.
    fn from_str(s: &str) -> Result<Self, ParseIsaError> {
        if s == "auto" {
            return Ok(Self::best());
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
        assert_eq!("auto".parse(), Ok(Isa::best()));
        assert!(Isa::available().into_iter().all(|isa| NAMES.contains(&isa.name())));
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = "sse9".parse::<Isa>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no instruction set named \"sse9\"\nhint: the names are auto, scalar, avx2, avx512"
        );
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
