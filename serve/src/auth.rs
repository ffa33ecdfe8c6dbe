//! The API key.

use sha2::{Digest, Sha256};

/// A key that a request must bring, as its digest: comparing digests takes the same time wherever keys differ.
#[derive(Clone, Debug)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn new(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether the value of `Authorization` is `Bearer KEY`.
    pub(crate) fn opens(&self, authorization: Option<&[u8]>) -> bool {
        let bearer = authorization.and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(key.trim_ascii())
        });
        let Some(key) = bearer else { return false };
        let digest: [u8; 32] = Sha256::digest(key).into();
        self.0.iter().zip(digest).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens() {
        let key = Key::new("sécret");
        assert!(key.opens(Some("Bearer sécret".as_bytes())) && key.opens(Some("bearer  sécret ".as_bytes())));
        for wrong in ["Bearer secret", "Bearer ", "Bearer", "", "Basic sécret", "sécret", "Bearer sécre"] {
            assert!(!key.opens(Some(wrong.as_bytes())), "{wrong}");
        }
        assert!(!key.opens(None));
    }
}
