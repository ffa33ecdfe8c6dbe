//! GPTQ's protocol (Frantar et al. 2022, arXiv 2210.17323; `datautils.py` and `llama.py` of IST-DASLab/gptq), which most
//! papers on quantization follow.
//!
//! ```text
//!   "\n\n".join(rows)  -->  [B t1 t2 ... | tn ... | ...]      one tokenization, windows of n tokens, the rest is dropped
//!   a window           t | t t t ... t                        no BOS of its own; all but its first token are scored
//!   perplexity         exp(mean over windows of the mean over their n - 1 tokens)
//! ```

use super::{Plan, Text, too_short, window};
use crate::{Error, LanguageModel};

pub(super) fn plan(model: &dyn LanguageModel, text: &Text, context: usize) -> Result<Plan, Error> {
    let tokens = model.encode(&text.hub_rows().join("\n\n"), true)?;
    if tokens.len() < context {
        return Err(too_short(text, tokens.len(), context));
    }
    // Windows are equally long: the mean of means is the mean of all tokens.
    let windows = tokens.chunks_exact(context).map(|tokens| window(tokens, 1)).collect();
    Ok(Plan { windows, left_out: 0 })
}
