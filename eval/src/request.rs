//! From texts to token ids, as lm-eval 0.4.13 does (`lm_eval/api/model.py`, `lm_eval/utils.py`).
//!
//! ```text
//!   pair:     context "Q: ...\nA:"  continuation " blue"
//!             blanks at the end of the context move to the continuation,
//!             whole = encode(context + continuation), ctx = encode(context), cont = whole[len(ctx)..]
//!
//!   rolling:  t = encode(text), max_length 4, t = [B a b c d e f]   (B: the tokenizer's own BOS)
//!             window 1   reads [B] B a b      predicts B a b c    B twice: 0.4.13 does so, and so do we
//!             window 2   reads b c d e        predicts   d e f    slid left so that its input is full
//!
//!   scoring:  the last max_length + 1 tokens of context + continuation, the context cut at its left
//! ```
//!
//! Token ids in results are those before the cut.
//!
//! Preset `paper` is the pipeline of b1.58's authors (microsoft/BitBLAS, `integration/BitNet/eval_utils.py`, after
//! lm-eval 0.3.0):
//!
//! ```text
//!   pair:     both texts stripped of blanks; ctx = encode(context) with BOS, cont = encode(continuation) by itself:
//!             a byte-level tokenizer gives other ids for "blue" than for " blue", and accuracy collapses
//!   packed:   [B line1 E line2 E] [B line3 E ...]   windows of at most max_length tokens; all but B are scored
//!             (E: EOS; empty lines and lines longer than a window are left out)
//! ```

use rayon::prelude::*;

use crate::evaluate::Preset;
use crate::{Error, LanguageModel, python};

/// One text or window to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The prompt; none for a window of a rolling text.
    pub context: Option<String>,
    /// The continuation, with the delimiter before it; none for a window.
    pub continuation: Option<String>,
    /// Token ids that are read first.
    pub ctx_ids: Vec<u32>,
    /// Token ids that are scored.
    pub cont_ids: Vec<u32>,
}

impl Request {
    /// The context that the model reads: as much of its end as fits into `max_length` together with the
    /// continuation but its last token.
    ///
    /// `max_length` must be at least the length of the continuation, as [`Encoder`] makes sure.
    pub fn visible_context(&self, max_length: usize) -> &[u32] {
        let total = self.ctx_ids.len() + self.cont_ids.len();
        &self.ctx_ids[total.saturating_sub(max_length + 1)..]
    }

    /// Whether the context is longer than what the model reads of it.
    pub fn is_truncated(&self, max_length: usize) -> bool {
        self.ctx_ids.len() + self.cont_ids.len() > max_length + 1
    }
}

/// Texts as windows.
pub(crate) struct Packed {
    pub windows: Vec<Request>,
    /// Texts that are longer than a window.
    pub left_out: usize,
}

/// Why a text gave no request: message and hint.
pub(crate) type Refusal = (String, String);

/// Either a refusal of the text or a failure of the tokenizer.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Context ids and continuation ids.
type Pair = (Vec<u32>, Vec<u32>);

/// Turns texts into token ids for one model.
pub(crate) struct Encoder<'m> {
    model: &'m dyn LanguageModel,
    preset: Preset,
    add_special: bool,
    max_length: usize,
    prefix: u32,
}

impl<'m> Encoder<'m> {
    /// `add_special`: whether the tokenizer adds its special tokens (usually BOS) to texts.
    pub(crate) fn new(
        model: &'m dyn LanguageModel,
        preset: Preset,
        add_special: bool,
        max_length: usize,
    ) -> Result<Self, Error> {
        let prefix = model.bos().or_else(|| model.eos()).ok_or(Error::NoPrefixToken)?;
        Ok(Self { model, preset, add_special, max_length, prefix })
    }

    /// The rules that it encodes by.
    pub(crate) fn preset(&self) -> Preset {
        self.preset
    }

    /// Longest input in tokens.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// A text that starts with BOS already gets no other special tokens.
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let has_bos = self.model.bos_text().is_some_and(|bos| !bos.is_empty() && text.starts_with(bos));
        self.model.encode(text, self.add_special && !has_bos)
    }

    /// Token ids of a prompt and its continuation.
    pub(crate) fn pair(&self, context: &str, continuation: &str) -> Result<Request, Failure> {
        let (ctx_ids, cont_ids) = match self.preset {
            Preset::LmEval if context.is_empty() => self.after_prefix(continuation)?,
            Preset::LmEval => {
                let kept = python::rstrip(context);
                let mut whole = self.encode(&format!("{context}{continuation}"))?;
                let ctx = self.encode(kept)?;
                let cont = whole.split_off(ctx.len().min(whole.len()));
                (ctx, cont)
            }
            Preset::Paper => self.stripped(context, continuation)?,
        };
        let refuse = |message: String, hint: &str| Err(Failure::Refused((message, hint.to_owned())));
        if ctx_ids.is_empty() {
            return refuse("the prompt has no tokens".into(), "let the tokenizer add its BOS token");
        }
        if cont_ids.is_empty() {
            return refuse(
                format!("the continuation {continuation:?} has no tokens"),
                "correct the document or leave it out",
            );
        }
        if cont_ids.len() > self.max_length {
            return refuse(
                format!(
                    "the continuation has {} tokens, the model reads at most {}",
                    cont_ids.len(),
                    self.max_length
                ),
                "raise the context length or leave the document out",
            );
        }
        Ok(Request {
            context: Some(context.to_owned()),
            continuation: Some(continuation.to_owned()),
            ctx_ids,
            cont_ids,
        })
    }

    /// The two texts by themselves, without blanks around them.
    fn stripped(&self, context: &str, continuation: &str) -> Result<Pair, Error> {
        let context = python::strip(context);
        let ctx = if context.is_empty() {
            vec![self.model.eos().unwrap_or(self.prefix)]
        } else {
            self.model.encode(context, self.add_special)?
        };
        Ok((ctx, self.model.encode(python::strip(continuation), false)?))
    }

    /// An empty prompt: the prefix token stands in for it, unless the continuation starts with that token.
    fn after_prefix(&self, continuation: &str) -> Result<Pair, Error> {
        let mut cont = self.model.encode(continuation, false)?;
        if cont.first() == Some(&self.prefix) {
            let rest = cont.split_off(1);
            return Ok((cont, rest));
        }
        Ok((vec![self.prefix], cont))
    }

    /// The windows of a whole text: every token is scored once. A text without tokens has none.
    pub(crate) fn rolling(&self, text: &str) -> Result<Vec<Request>, Error> {
        let tokens = self.encode(text)?;
        let window = |ctx: &[u32], cont: &[u32]| Request {
            context: None,
            continuation: None,
            ctx_ids: ctx.to_vec(),
            cont_ids: cont.to_vec(),
        };
        let mut windows = Vec::new();
        let mut done = 0;
        while done < tokens.len() {
            let end = (done + self.max_length).min(tokens.len());
            if done == 0 {
                windows.push(window(&[self.prefix], &tokens[..end]));
            } else {
                // The input is tokens[end - max_length - 1 .. end - 1]; what it shares with the predictions is
                // not context.
                windows.push(window(&tokens[end - self.max_length - 1..done], &tokens[done..end]));
            }
            done = end;
        }
        Ok(windows)
    }

    /// The windows that texts fill, one after the other; a text is never cut. Empty ones do not count.
    pub(crate) fn packed(&self, texts: &[&str]) -> Result<Packed, Error> {
        let eos = self.model.eos().ok_or(Error::NoEndToken)?;
        let encode = |text: &&str| {
            let mut ids = self.model.encode(text, false)?;
            ids.push(eos);
            Ok(ids)
        };
        let encoded: Vec<Result<Vec<u32>, Error>> =
            texts.par_iter().filter(|text| !text.is_empty()).map(encode).collect();
        let window = |ids: Vec<u32>| Request {
            context: None,
            continuation: None,
            ctx_ids: vec![self.prefix],
            cont_ids: ids,
        };
        let mut packed = Packed { windows: Vec::new(), left_out: 0 };
        let mut filling = Vec::new();
        for ids in encoded {
            let ids = ids?;
            if ids.len() > self.max_length {
                packed.left_out += 1;
                continue;
            }
            if 1 + filling.len() + ids.len() > self.max_length {
                packed.windows.push(window(std::mem::take(&mut filling)));
            }
            filling.extend(ids);
        }
        // A text as long as a window makes one that is longer by its prefix; the pipeline drops such a one at the end.
        if filling.len() < self.max_length {
            packed.windows.push(window(filling));
        } else {
            packed.left_out += 1;
        }
        packed.windows.retain(|window| !window.cont_ids.is_empty());
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Score;

    /// One token per byte, BOS = 256.
    struct Bytes {
        bos: Option<u32>,
    }

    impl LanguageModel for Bytes {
        fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
            let bos = self.bos.filter(|_| add_special || text.starts_with("<s>"));
            Ok(bos.into_iter().chain(text.trim_start_matches("<s>").bytes().map(u32::from)).collect())
        }
        fn bos(&self) -> Option<u32> {
            self.bos
        }
        fn bos_text(&self) -> Option<&str> {
            self.bos.map(|_| "<s>")
        }
        fn eos(&self) -> Option<u32> {
            Some(257)
        }
        fn max_length(&self) -> usize {
            4
        }
        fn score(&self, _: &[u32], _: &[u32]) -> Result<Score, Error> {
            unreachable!("only ids are tested here")
        }
    }

    /// A tokenizer without special tokens.
    struct Bare;

    impl LanguageModel for Bare {
        fn encode(&self, _: &str, _: bool) -> Result<Vec<u32>, Error> {
            Ok(vec![])
        }
        fn bos(&self) -> Option<u32> {
            None
        }
        fn bos_text(&self) -> Option<&str> {
            None
        }
        fn eos(&self) -> Option<u32> {
            None
        }
        fn max_length(&self) -> usize {
            4
        }
        fn score(&self, _: &[u32], _: &[u32]) -> Result<Score, Error> {
            unreachable!("only ids are tested here")
        }
    }

    fn pair(add_special: bool, context: &str, continuation: &str) -> Result<Pair, String> {
        let model = Bytes { bos: Some(256) };
        match Encoder::new(&model, Preset::LmEval, add_special, 4).unwrap().pair(context, continuation) {
            Ok(request) => Ok((request.ctx_ids, request.cont_ids)),
            Err(Failure::Refused((message, _))) => Err(message),
            Err(Failure::Failed(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn pairs() {
        let (a, b, sp) = (97, 98, 32);
        assert_eq!(pair(true, "a", " b"), Ok((vec![256, a], vec![sp, b])));
        assert_eq!(pair(false, "a", " b"), Ok((vec![a], vec![sp, b])));
        assert_eq!(pair(true, "a  ", "b"), Ok((vec![256, a], vec![sp, sp, b])), "blanks move");
        assert_eq!(pair(true, "<s>a", "b"), Ok((vec![256, a], vec![b])), "no second BOS");
        assert_eq!(pair(true, "", "b"), Ok((vec![256], vec![b])));
        assert_eq!(pair(true, "", "<s>b"), Ok((vec![256], vec![b])), "BOS of the continuation");
        assert_eq!(pair(true, " ", "b"), Ok((vec![256], vec![sp, b])));
        assert_eq!(pair(false, " ", "b"), Err("the prompt has no tokens".into()));
        assert_eq!(pair(true, "a", ""), Err("the continuation \"\" has no tokens".into()));
        assert_eq!(
            pair(true, "a", "bbbbb"),
            Err("the continuation has 5 tokens, the model reads at most 4".into())
        );
    }

    #[test]
    fn preset_paper_strips_and_encodes_apart() {
        let model = Bytes { bos: Some(256) };
        let encoder = Encoder::new(&model, Preset::Paper, true, 4).unwrap();
        let ids = |context, continuation| {
            let request = encoder.pair(context, continuation).ok()?;
            Some((request.ctx_ids, request.cont_ids))
        };
        assert_eq!(ids(" a ", " b"), Some((vec![256, 97], vec![98])));
        assert_eq!(ids("  ", " b"), Some((vec![257], vec![98])), "EOS stands for an empty prompt");
        assert_eq!(ids("a", " "), None, "nothing is left to score");
    }

    #[test]
    fn texts_are_packed_into_windows() {
        let model = Bytes { bos: Some(256) };
        let encoder = Encoder::new(&model, Preset::Paper, true, 6).unwrap();
        let packed = |texts: &[&str]| {
            let packed = encoder.packed(texts).unwrap();
            let windows = packed.windows.into_iter().map(|w| (w.ctx_ids, w.cont_ids)).collect::<Vec<_>>();
            (windows, packed.left_out)
        };
        let (a, b, c, end) = (97, 98, 99, 257);
        assert_eq!(
            packed(&["a", "", "bb", "c"]),
            (vec![(vec![256], vec![a, end, b, b, end]), (vec![256], vec![c, end])], 0)
        );
        assert_eq!(packed(&["aaaaaa", "b"]), (vec![(vec![256], vec![b, end])], 1), "longer than a window");
        // With its EOS as long as a window: kept before others, dropped at the end, as in the original.
        assert_eq!(
            packed(&["aaaaa", "b"]),
            (vec![(vec![256], vec![a, a, a, a, a, end]), (vec![256], vec![b, end])], 0)
        );
        assert_eq!(packed(&["b", "aaaaa"]), (vec![(vec![256], vec![b, end])], 1));
        assert_eq!(packed(&[""]), (vec![], 0));
    }

    #[test]
    fn no_prefix_token_is_an_error() {
        let model = Bare;
        assert!(matches!(Encoder::new(&model, Preset::LmEval, true, 4), Err(Error::NoPrefixToken)));
    }

    #[test]
    fn the_context_is_cut_at_its_left() {
        let request = |ctx: usize, cont: usize| Request {
            context: None,
            continuation: None,
            ctx_ids: (0..ctx as u32).collect(),
            cont_ids: vec![9; cont],
        };
        assert_eq!(request(3, 2).visible_context(4), [0, 1, 2]);
        assert_eq!(request(4, 2).visible_context(4), [1, 2, 3]);
        assert_eq!(request(4, 4).visible_context(4), [3]);
        assert!(!request(3, 2).is_truncated(4) && request(4, 2).is_truncated(4));
    }

    #[test]
    fn windows_by_hand() {
        let model = Bytes { bos: Some(256) };
        let ids = |add_special| -> Vec<Pair> {
            let encoder = Encoder::new(&model, Preset::LmEval, add_special, 4).unwrap();
            encoder.rolling("abcdef").unwrap().into_iter().map(|r| (r.ctx_ids, r.cont_ids)).collect()
        };
        assert_eq!(ids(true), [(vec![256], vec![256, 97, 98, 99]), (vec![98, 99], vec![100, 101, 102])]);
        assert_eq!(ids(false), [(vec![256], vec![97, 98, 99, 100]), (vec![98, 99, 100], vec![101, 102])]);
    }

    proptest! {
        #[test]
        fn every_token_is_scored_once_and_every_window_fits(text in "[a-z]{0,40}", max_length in 1_usize..9) {
            let model = Bytes { bos: Some(256) };
            let windows = Encoder::new(&model, Preset::LmEval, false, max_length).unwrap().rolling(&text).unwrap();
            let scored: Vec<u32> = windows.iter().flat_map(|w| w.cont_ids.clone()).collect();
            prop_assert_eq!(scored, model.encode(&text, false).unwrap());
            for w in &windows {
                prop_assert!(!w.ctx_ids.is_empty());
                prop_assert!(w.ctx_ids.len() + w.cont_ids.len() <= max_length + 1);
                prop_assert_eq!(w.visible_context(max_length), &w.ctx_ids[..]);
            }
        }
    }
}
