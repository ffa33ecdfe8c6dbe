//! The claims ledger: what the papers claim, how it is tested here, what was measured, and what follows.
//!
//! ```text
//!   claims.yaml   claim: source, text, test ----.
//!   results   --> Run: twins, comparisons  -----+--> measure --> value, interval --> bound --> verdict
//!   bench     --> shapes, random weights   -----'      |                              |
//!                                                      | nothing to measure it on     | on both sides
//!                                                      '----------> not testable here <
//! ```
//!
//! - A claim is `reproduced` if the whole 95 % interval of what was measured fulfils its bound, `not reproduced` if
//!   all of it fails, and `not testable here`, with the reason, otherwise: above all where nothing was measured. No
//!   verdict comes from the file of claims.
//! - What is tested is what `tested` says, often less than what is claimed: a direction, or the machinery. A claim
//!   about models of a size is tested on twins of at least half of that size only; what smaller ones show stands
//!   beside it, without a verdict.
//! - Energy is the papers' model of it, unless it says measured.

mod file;
mod ledger;
mod measures;

pub use self::file::{Bound, Claim, Claims, Measure, Test};
pub use self::ledger::{Entry, Ledger, Outcome};
pub use self::measures::{Evidence, Value};

#[cfg(test)]
mod tests;
