//! Blocks: what documents are put together from.

use super::{
    Part,
    draw::Draw,
    facts::World,
    items::{Question, binding, goals, knowledge, on_side, pairs, recall, steps},
    routines::ROUTINES,
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
    (Kind::Portrait, 12),
    (Kind::Comparison, 5),
    (Kind::Inference, 5),
    (Kind::Routine, 8),
    (Kind::Easy, 10),
    (Kind::Hard, 8),
    (Kind::Effects, 7),
    (Kind::Goals, 9),
    (Kind::Pairs, 10),
    (Kind::Passage, 12),
    (Kind::Story, 8),
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
    let group = match draw.below(20) {
        0..8 => 0,
        8..14 => 1,
        14..16 => 2,
        16 => 3,
        _ => 4,
    };
    let facts = draw.pick(&world.subjects[group]);
    let count = 3 + draw.below(3);
    let facts = draw.several(facts, count);
    facts.into_iter().map(|f| world.say(draw, f)).collect::<Vec<_>>().join(" ")
}

fn comparison(world: &World, draw: &mut Draw) -> String {
    let relation = &world.relations[*draw.pick(&world.easy)];
    let facts = relation.holders.concat();
    let count = 3 + draw.below(3);
    let facts = draw.several(&facts, count);
    facts.into_iter().map(|f| world.say(draw, f)).collect::<Vec<_>>().join(" ")
}

fn inference(world: &World, draw: &mut Draw) -> String {
    several(draw, " ", |d| {
        loop {
            let relation = &world.relations[*d.pick(&world.hard)];
            let holders = d.pick(&relation.holders);
            let fact = *d.pick(holders);
            if world.told(fact) {
                return world.say(d, fact);
            }
        }
    })
}

fn routine(draw: &mut Draw) -> String {
    let telling = on_side(draw, Part::Train, "hellaswag", share::OTHERS, steps::telling, |t| &t.key);
    let routine = &ROUTINES[telling.routine];
    format!("{}: {}", routine.name, telling.text(routine.steps.len()))
}

fn goal(draw: &mut Draw) -> String {
    if draw.chance(1, 3) {
        return several(draw, " ", |d| {
            let tool = d.pick(&USES);
            format!("{} uses the {} to {}.", d.pick(&NAMES), tool.tool, d.pick(tool.goals))
        });
    }
    exercises(draw, |d| train(d, "piqa", share::OTHERS, goals::goal))
}

fn passage(draw: &mut Draw) -> String {
    let passage = on_side(draw, Part::Train, "boolq", share::OTHERS, binding::passage, |p| &p.text);
    let mut text = passage.text;
    let count = 2 + draw.below(3);
    for (question, yes) in draw.several(&passage.questions, count) {
        text += &format!("\nQuestion: {question}?\nAnswer: {}", if yes { "yes" } else { "no" });
    }
    text
}
