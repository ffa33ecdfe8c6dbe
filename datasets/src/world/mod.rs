//! A small world, and simple English about it: text to train language models of a few million weights on, and
//! tasks to test them with.
//!
//! # The world
//!
//! 40 people with a job, a home, a pet and favourites; 64 things with a category, a material, a colour and a place
//! where they are kept; 22 animals; 10 jobs; 10 materials that float, break, burn, rust; 22 tools and what they are
//! for; 20 causes with their effects; 24 routines of six steps. All of it is fixed (`tables`, `facts`, `routines`):
//! the seed of a text only picks what is told. All words are in lower case, but for `Question:` and `Answer:`.
//!
//! # Documents
//!
//! A document is of 60 to 200 words in one or several lines, none of them empty: portraits, comparisons,
//! inferences ("the jar is made of glass, so it breaks on the hard floor."), routines, exercises in the forms of the
//! tasks, episodes. A file of text has one empty line between documents.
//!
//! # What is held out
//!
//! - Documents: the SHA-256 of a document decides on which side it is, one in sixteen is held out.
//! - Items of tasks: tasks and the exercises in documents come from the same proposals, and the SHA-256 of what
//!   makes an item that item (the question of a fact; what is done to which thing; the day and the person of a routine; the passage) decides
//!   whether it may be an exercise. So no held-out question is in any document, while the facts that answer
//!   it are told in many. Half of the facts that take two hops are told, the others have to be inferred.
//!
//! # No surface cues
//!
//! The right answer goes round the places; one string is right about as often as it should be for how often it is
//! offered; and an item is accepted only while neither length, words, frequency of words nor words shared with the
//! prompt lead to the right answer more often than chance (`balance`). WinoGrande's sentences come as twins; two thirds of
//! BoolQ's false questions are made of words of the passage, as all true ones are.
//!
//! Everything is integers and ChaCha8: the same bytes on every machine.

mod balance;
mod blocks;
mod draw;
mod facts;
mod items;
mod routines;
mod tables;
mod tasks;
#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use tasks::{ITEMS, PAGES, TASKS, dataset};

use draw::{Draw, hash};

/// The two sides of the split; no document and no item is on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What models may learn from.
    Train,
    /// What they are tested with.
    HeldOut,
}

/// One document in so many is held out.
const DOCUMENTS: u64 = 16;
/// The most words and punctuation marks of a document: 250 tokens with room for what a tokenizer adds.
const LONGEST: usize = 230;

/// The documents of one side, without end. Those of one seed are the same on every machine.
pub fn documents(part: Part, seed: u64) -> impl Iterator<Item = String> {
    let mut draw = Draw::new("documents", seed);
    std::iter::repeat_with(move || document(&mut draw)).filter(move |document| {
        let held_out = hash(document).is_multiple_of(DOCUMENTS);
        held_out == (part == Part::HeldOut)
    })
}

/// Whole documents of one side with an empty line between them, at most `bytes` long in all.
pub fn text(part: Part, seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes);
    for document in documents(part, seed) {
        if text.len() + document.len() + 2 > bytes {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &document;
        text.push('\n');
    }
    text
}

/// SHA-256 in lower-case hexadecimal of [`text`], for recipes that name the text they were made with.
pub fn digest(part: Part, seed: u64, bytes: usize) -> String {
    sha256(&text(part, seed, bytes))
}

/// SHA-256 of a text in lower-case hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Blocks of one or two kinds, one below the other.
fn document(draw: &mut Draw) -> String {
    let world = facts::world();
    let kinds = [blocks::kind(draw), blocks::kind(draw)];
    let target = 60 + draw.below(90);
    let mut text = String::new();
    let mut tokens = 0;
    let mut words = 0;
    while words < target {
        let kind = *draw.pick(&kinds);
        let block = blocks::block(world, draw, kind);
        let marks = block.bytes().filter(|b| b.is_ascii_punctuation() || *b == b'\n').count();
        let length = balance::words(&block).count();
        if tokens + length + marks + 1 > LONGEST {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &block;
        tokens += length + marks + 1;
        words += length;
    }
    text
}
