//! Goals and ways to reach them (PIQA): the right tool, the right material, the right place.

use super::Question;
use crate::world::{
    draw::{Draw, fill},
    facts::pronoun,
    tables::{ACTIONS, MATERIALS, NAMES, THINGS, USES},
};

/// How a goal is asked, and how the answer is said; `{g}` is the goal, `{p}` a person, `{v}` the answer.
struct Frame {
    question: &'static str,
    answer: &'static str,
}

const TOOLS: [Frame; 3] = [
    Frame { question: "how can {p} {g}?", answer: "use the {v}." },
    Frame { question: "what does {p} need to {g}?", answer: "{s} needs the {v}." },
    Frame { question: "{p} wants to {g}. what should {s} do?", answer: "take the {v}." },
];
const ROOMS: [Frame; 3] = [
    Frame { question: "how can {p} find {g}?", answer: "look in the {v}." },
    Frame { question: "where should {p} look for {g}?", answer: "look in the {v}." },
    Frame { question: "{p} wants to take {g}. where should {s} go?", answer: "go to the {v}." },
];
const MATERIAL: [Frame; 2] = [
    Frame { question: "how can {p} make {t} that {g}?", answer: "make it of {v}." },
    Frame { question: "{p} wants to have {t} that {g}. what should {s} do?", answer: "make it of {v}." },
];
const MAKES: [&str; 8] = ["a toy", "a box", "a house", "a bowl", "a ring", "a cup", "a boat", "a gift"];

/// A goal with one way that leads to it and several that do not.
pub(crate) fn goal(draw: &mut Draw) -> Question {
    match draw.below(20) {
        0..10 => tool(draw),
        10..15 => room(draw),
        _ => material(draw),
    }
}

fn question(draw: &mut Draw, frames: &[Frame], goal: &str, gold: &str, wrong: &[&str]) -> Question {
    let frame = draw.pick(frames);
    let (person, thing) = (*draw.pick(&NAMES), *draw.pick(&MAKES));
    let values = [("p", person), ("s", pronoun(person)), ("g", goal), ("t", thing)];
    let text = fill(frame.question, &values);
    let answer = |v: &str| fill(frame.answer, &[("v", v), ("s", pronoun(person))]);
    let wrong = wrong.iter().map(|v| answer(v)).collect();
    Question { key: text.clone(), text, label: String::new(), gold: answer(gold), wrong }
}

fn tool(draw: &mut Draw) -> Question {
    let right = draw.pick(&USES);
    let goal = *draw.pick(right.goals);
    // A tool whose own name is in the goal would be a cue, and one of the same group might do.
    let wrong = USES.iter().filter(|u| u.group != right.group);
    let wrong: Vec<&str> = wrong.map(|u| u.tool).collect();
    question(draw, &TOOLS, goal, right.tool, &wrong)
}

fn room(draw: &mut Draw) -> Question {
    let rooms = rooms();
    let gold = *draw.pick(&rooms);
    let there: Vec<_> = THINGS.iter().filter(|t| t[3] == gold).collect();
    let thing = format!("the {}", draw.pick(&there)[0]);
    let wrong: Vec<&str> = rooms.into_iter().filter(|r| *r != gold).collect();
    question(draw, &ROOMS, &thing, gold, &wrong)
}

/// Where things are kept, each place once.
pub(crate) fn rooms() -> Vec<&'static str> {
    let mut rooms = Vec::new();
    for thing in &THINGS {
        if !rooms.contains(&thing[3]) {
            rooms.push(thing[3]);
        }
    }
    rooms
}

fn material(draw: &mut Draw) -> Question {
    let index = draw.below(ACTIONS.len());
    let gold = draw.pick(&MATERIALS);
    let effect = gold.does[index];
    let wrong: Vec<&str> = MATERIALS.iter().filter(|m| m.does[index] != effect).map(|m| m.name).collect();
    let goal = format!("{effect} {}", ACTIONS[index].place);
    question(draw, &MATERIAL, &goal, gold.name, &wrong)
}
