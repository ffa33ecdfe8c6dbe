//! "Perplexity of fixed-length models" of the guide of Hugging Face's transformers.
//!
//! ```text
//!   "\n\n".join(rows)  -->  tokens        n = 6, stride = 2
//!     t1 | t2 t3 t4 t5 t6                 all but the first token are scored
//!           t3 t4 t5 t6 | t7 t8           of a later window, what the ones before it did not have
//!                 t5 t6 t7 t8 | t9        the last one is shorter
//!   perplexity = exp(mean over all tokens scored)
//! ```

use super::{Plan, Text, too_short, window};
use crate::{Error, LanguageModel};

pub(super) fn plan(
    model: &dyn LanguageModel,
    text: &Text,
    context: usize,
    stride: usize,
) -> Result<Plan, Error> {
    let tokens = model.encode(&text.hub_rows().join("\n\n"), true)?;
    if tokens.len() < 2 {
        return Err(too_short(text, tokens.len(), 2));
    }
    let (mut windows, mut begin, mut done) = (Vec::new(), 0, 0);
    while done < tokens.len() {
        let end = (begin + context).min(tokens.len());
        // The first token of a window has nothing before it.
        windows.push(window(&tokens[begin..end], done.max(begin + 1) - begin));
        done = end;
        begin += stride;
    }
    windows.retain(|window| !window.cont_ids.is_empty());
    Ok(Plan { windows, left_out: 0 })
}
