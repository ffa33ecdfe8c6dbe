//! Byte-level BPE, as GPT-2 introduced it: the alphabet is the 256 bytes, each written as a
//! character that can be seen.
//!
//! ```text
//! byte        33..126  161..172  174..255   the rest, in order
//! character   itself (Latin-1)              U+0100, U+0101, ...     (a blank is U+0120)
//! ```

use std::path::Path;

use serde_json::{Value, json};

use super::{
    json::{BpeModel, Framing, TokenizerJson},
    pre_tokenizer::{self, PreTokenizer},
    vocabulary::Vocabulary,
};
use crate::Error;

/// The character that stands for a byte.
pub(super) fn character(byte: u8) -> char {
    let shown = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if shown(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !shown(b)).count() as u32;
    char::from_u32(256 + rank).expect("below U+0200")
}

/// The characters that stand for all bytes.
pub(super) fn alphabet() -> [char; 256] {
    std::array::from_fn(|byte| character(byte as u8))
}

/// The tokenizer.json of a byte-level BPE with these merges.
pub(crate) fn tokenizer_json(
    file: &Path,
    vocabulary: &Vocabulary,
    merges: &[(&str, &str)],
    pre_tokenizer: &PreTokenizer,
    framing: &Framing,
) -> Result<String, Error> {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let mut steps: Vec<Value> =
        pre_tokenizer.splits.iter().map(|regex| pre_tokenizer::split(regex)).collect();
    steps.push(byte_level(false));
    TokenizerJson {
        vocabulary,
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
        post_processor: framing.post_processor(vocabulary),
        decoder: byte_level(true),
        model: BpeModel {
            unk_token: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: pre_tokenizer.ignore_merges,
            vocab: vocabulary,
            merges,
        },
    }
    .write(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let mut alphabet = alphabet();
        assert_eq!((alphabet[32], alphabet[10], alphabet[65]), ('\u{120}', '\u{10a}', 'A'));
        assert_eq!((alphabet[127], alphabet[173]), ('\u{121}', '\u{143}'));
        alphabet.sort_unstable();
        assert!(alphabet.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(alphabet.iter().all(|c| !c.is_whitespace()));
    }
}
