//! No surface cue: an item is accepted only while every rule of thumb stays close to chance.

use std::{collections::BTreeMap, sync::OnceLock};

use super::{Part, draw::Draw, text};

/// Credit for one item; every number of choices up to five divides it.
pub(super) const CREDIT: i64 = 60;
/// How many items a rule may be ahead of chance at any time: 3 of 500 are 0.6 points.
const AHEAD: i64 = 3 * CREDIT;
/// How much text tells the frequency of words.
const COUNTED: usize = 2 << 20;

/// The words of a text, without punctuation.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .map(|w| w.trim_matches(|c: char| c.is_ascii_punctuation()))
        .filter(|w| !w.is_empty())
}

/// How often each word occurs in the training text.
fn counts() -> &'static BTreeMap<String, u64> {
    static COUNTS: OnceLock<BTreeMap<String, u64>> = OnceLock::new();
    COUNTS.get_or_init(|| {
        let text = text(Part::Train, 0, COUNTED);
        let mut counts = BTreeMap::new();
        for word in words(&text) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(word.to_owned(), 1);
                }
            }
        }
        counts
    })
}

/// log2 of `n` with eight binary digits behind the point, in integers: the same on every machine.
fn log2(n: u64) -> i64 {
    let whole = n.max(1).ilog2();
    let mut mantissa = (u128::from(n.max(1)) << 32) >> whole; // 1..2 with 32 binary digits
    let mut log = i64::from(whole);
    for _ in 0..8 {
        mantissa = (mantissa * mantissa) >> 32;
        log *= 2;
        if mantissa >= 2 << 32 {
            mantissa >>= 1;
            log += 1;
        }
    }
    log
}

/// What rules of thumb look at: characters, words, mean frequency of the words, words that the prompt has too.
fn surface(prompt: &str, choice: &str) -> [i64; 4] {
    let list: Vec<&str> = words(choice).collect();
    let count = list.len().max(1) as i64;
    let frequency: i64 = list.iter().map(|w| log2(counts().get(*w).copied().unwrap_or(0) + 1)).sum();
    let shared = list.iter().filter(|w| words(prompt).any(|p| p == **w)).count();
    // One scale for choices of any number of words.
    [choice.chars().count() as i64, count, frequency * 840 / count, shared as i64]
}

/// What a rule that takes the choices with the highest score earns: all for the gold one alone, a share for a tie.
fn earned(scores: &[i64], gold: usize) -> i64 {
    let best = scores.iter().max().expect("some choices");
    let ties = scores.iter().filter(|s| *s == best).count() as i64;
    if scores[gold] == *best { CREDIT / ties } else { 0 }
}

/// Running tallies over the items of a task.
#[derive(Default)]
pub(super) struct Balance {
    /// How far each rule is ahead of chance: highest and lowest of each surface.
    ahead: [i64; 8],
    /// How often each choice was right, in units that make up for it being wrong in other items.
    right: BTreeMap<String, i64>,
    items: usize,
}

impl Balance {
    /// Choices for a question, the right one at its place in the cycle: `None` if none of many tries is balanced.
    pub(super) fn choose(
        &mut self,
        draw: &mut Draw,
        prompt: &str,
        gold: &str,
        wrong: &[String],
        count: usize,
    ) -> Option<(Vec<String>, usize)> {
        let place = self.items % count;
        let mut best: Option<(i64, Vec<String>, [i64; 8])> = None;
        for _ in 0..24 {
            let mut choices = draw.several(wrong, count - 1);
            if choices.len() < count - 1 {
                return None;
            }
            let owed: i64 = choices.iter().map(|c| self.right.get(c).copied().unwrap_or(0)).sum();
            choices.insert(place, gold.to_owned());
            let Some(ahead) = self.after(prompt, &choices, place) else { continue };
            if best.as_ref().is_none_or(|(most, ..)| owed > *most) {
                best = Some((owed, choices, ahead));
            }
        }
        let (_, choices, ahead) = best?;
        self.ahead = ahead;
        self.items += 1;
        for (i, choice) in choices.iter().enumerate() {
            *self.right.entry(choice.clone()).or_default() += if i == place { count as i64 - 1 } else { -1 };
        }
        Some((choices, place))
    }

    /// The tallies after one more item, unless a rule would be too far ahead.
    fn after(&self, prompt: &str, choices: &[String], gold: usize) -> Option<[i64; 8]> {
        let surfaces: Vec<[i64; 4]> = choices.iter().map(|c| surface(prompt, c)).collect();
        let chance = CREDIT / choices.len() as i64;
        let mut ahead = self.ahead;
        for (rule, tally) in ahead.iter_mut().enumerate() {
            let sign = if rule < 4 { 1 } else { -1 };
            let scores: Vec<i64> = surfaces.iter().map(|s| sign * s[rule % 4]).collect();
            let change = earned(&scores, gold) - chance;
            *tally += change;
            if change > 0 && *tally > AHEAD {
                return None;
            }
        }
        Some(ahead)
    }
}
