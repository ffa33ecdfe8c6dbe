//! Blocks: what documents are put together from.

use super::{
    Part,
    draw::Draw,
    facts::World,
    items::{Question, binding, goals, knowledge, on_side, pairs, recall, steps},
    tables::{NAMES, USES},
};

/// Every how many'th proposal of a task is held out.
pub(super) mod share {
    pub(crate) const FACTS: u64 = 3;
    pub(crate) const OTHERS: u64 = 5;
}

/// Kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Facts on one person, thing, animal, job or material.
    Portrait,
    /// One relation, several subjects.
    Comparison,
    /// Facts that follow from two others.
    Inference,
    Routine,
    Easy,
    Hard,
    Effects,
    Goals,
    Pairs,
    Passage,
    Story,
}

/// Every kind with its weight.
pub(super) const KINDS: [(Kind, usize); 11] = [
    (Kind::Portrait, 29),
    (Kind::Comparison, 10),
    (Kind::Inference, 4),
    (Kind::Routine, 7),
    (Kind::Easy, 8),
    (Kind::Hard, 6),
    (Kind::Effects, 5),
    (Kind::Goals, 6),
    (Kind::Pairs, 8),
    (Kind::Passage, 11),
    (Kind::Story, 7),
];

/// A kind by weight.
pub(super) fn kind(draw: &mut Draw) -> Kind {
    let mut ticket = draw.below(KINDS.iter().map(|(_, weight)| weight).sum());
    for (kind, weight) in KINDS {
        if ticket < weight {
            return kind;
        }
        ticket -= weight;
    }
    unreachable!("the ticket is below the sum of all weights")
}

/// A block of a kind: one line or several, without an empty one.
pub(super) fn block(world: &World, draw: &mut Draw, kind: Kind) -> String {
    match kind {
        Kind::Portrait => portrait(world, draw),
        Kind::Comparison => comparison(world, draw),
        Kind::Inference => inference(world, draw),
        Kind::Routine => routine(draw),
        Kind::Easy => exercises(draw, |d| train(d, "arc_easy", share::FACTS, |d| knowledge::easy(world, d))),
        Kind::Hard => {
            exercises(draw, |d| train(d, "arc_challenge", share::FACTS, |d| knowledge::hard(world, d)))
        }
        Kind::Effects => several(draw, " ", |d| {
            let question = train(d, "openbookqa", share::OTHERS, knowledge::effect);
            format!("{} {}.", question.text, question.gold)
        }),
        Kind::Goals => goal(draw),
        Kind::Pairs => several(draw, " ", |d| {
            let twins =
                on_side(d, Part::Train, "winogrande", share::OTHERS, |d| pairs::twins(world, d), |t| &t.key);
            let one = d.below(2);
            twins.sentences[one].replace('_', &twins.options[one])
        }),
        Kind::Passage => passage(draw),
        Kind::Story => {
            let story = on_side(draw, Part::Train, "lambada", share::OTHERS, recall::story, |s| &s.text);
            format!("{}.", story.text)
        }
    }
}

fn train(draw: &mut Draw, task: &str, share: u64, propose: impl Fn(&mut Draw) -> Question) -> Question {
    on_side(draw, Part::Train, task, share, propose, |q| &q.key)
}

/// Two to four of something.
fn several(draw: &mut Draw, between: &str, make: impl Fn(&mut Draw) -> String) -> String {
    let count = 2 + draw.below(3);
    (0..count).map(|_| make(draw)).collect::<Vec<_>>().join(between)
}

fn exercises(draw: &mut Draw, propose: impl Fn(&mut Draw) -> Question) -> String {
    several(draw, "\n", |d| {
        let question = propose(d);
        format!("Question: {}\nAnswer: {}", question.text, question.gold)
    })
}

fn portrait(world: &World, draw: &mut Draw) -> String {
    // Roughly by how many facts there are of each.
    let group = match draw.below(40) {
        0..14 => 0,
        14..29 => 1,
        29..35 => 2,
        35..37 => 3,
        _ => 4,
    };
    let facts = draw.pick(&world.subjects[group]);
    let count = 4 + draw.below(4);
    let facts = draw.several(facts, count);
    let sentences: Vec<String> = facts.into_iter().map(|f| world.say(draw, f)).collect();
    begun(draw, sentences.join(" "))
}

fn comparison(world: &World, draw: &mut Draw) -> String {
    // By a fact of it: relations of many facts come more often.
    let relation = loop {
        let fact = draw.below(world.facts.len());
        let relation = world.facts[fact].relation;
        if world.easy.contains(&relation) {
            break &world.relations[relation];
        }
    };
    let facts = relation.holders.concat();
    let count = 3 + draw.below(4);
    let facts = draw.several(&facts, count);
    let sentences: Vec<String> = facts.into_iter().map(|f| world.say(draw, f)).collect();
    begun(draw, sentences.join(" "))
}

/// Facts with a beginning, so that few words are the first of a line: what stands there has no blank before it, and
/// tokenizers would make another token of it.
fn begun(draw: &mut Draw, facts: String) -> String {
    if facts.starts_with("the ") || facts.starts_with("everyone knows that ") {
        return facts;
    }
    format!("{} {facts}", draw.pick(&["we know that", "it is true that", "remember that"]))
}

fn inference(world: &World, draw: &mut Draw) -> String {
    let facts = several(draw, " ", |d| {
        loop {
            let relation = &world.relations[*d.pick(&world.hard)];
            let holders = d.pick(&relation.holders);
            let fact = *d.pick(holders);
            if world.told(fact) {
                return world.say(d, fact);
            }
        }
    });
    begun(draw, facts)
}

fn routine(draw: &mut Draw) -> String {
    let telling = on_side(draw, Part::Train, "hellaswag", share::OTHERS, steps::telling, |t| &t.key);
    telling.whole()
}

fn goal(draw: &mut Draw) -> String {
    if draw.chance(1, 3) {
        return several(draw, " ", |d| {
            let tool = d.pick(&USES);
            format!("today {} uses the {} to {}.", d.pick(&NAMES), tool.tool, d.pick(tool.goals))
        });
    }
    exercises(draw, |d| train(d, "piqa", share::OTHERS, goals::goal))
}

fn passage(draw: &mut Draw) -> String {
    let passage = on_side(draw, Part::Train, "boolq", share::OTHERS, binding::passage, |p| &p.text);
    let mut text = passage.text;
    let count = 3 + draw.below(3);
    for (question, yes) in draw.several(&passage.questions, count) {
        text += &format!("\nQuestion: {question}?\nAnswer: {}", if yes { "yes" } else { "no" });
    }
    text
}
