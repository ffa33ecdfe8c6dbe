//! Questions: every kind is proposed by one function, for exercises in text and for tasks alike. A key's hash
//! decides on which side a proposal lies, so that no held-out one is ever an exercise.

pub(super) mod binding;
pub(super) mod goals;
pub(super) mod knowledge;
pub(super) mod pairs;
pub(super) mod recall;
pub(super) mod steps;

use super::{
    Part,
    draw::{Draw, hash},
};

/// A question with several answers, of which one is true.
pub(super) struct Question {
    /// What comes before the answer, without "Question: ".
    pub text: String,
    /// HellaSwag's name of an activity; empty elsewhere.
    pub label: String,
    pub gold: String,
    /// Answers that are false in the world.
    pub wrong: Vec<String>,
    /// Proposals with one key are on one side.
    pub key: String,
}

/// Where what is split belongs: one part in `share` is held out.
pub(super) fn side(task: &str, key: &str, share: u64) -> Part {
    if hash(&format!("{task}: {key}")).is_multiple_of(share) { Part::HeldOut } else { Part::Train }
}

/// Proposes until the key lies on the side wanted.
pub(super) fn on_side<T>(
    draw: &mut Draw,
    part: Part,
    task: &str,
    share: u64,
    propose: impl Fn(&mut Draw) -> T,
    key: impl Fn(&T) -> &str,
) -> T {
    loop {
        let proposal = propose(draw);
        if side(task, key(&proposal), share) == part {
            return proposal;
        }
    }
}
