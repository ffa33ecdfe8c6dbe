//! What comes next in a routine (HellaSwag).

use super::Question;
use crate::world::{
    draw::Draw,
    facts::pronoun,
    routines::{OPENINGS, ROUTINES},
    tables::NAMES,
};

/// A routine that a person goes through on some day.
pub(crate) struct Telling {
    pub routine: usize,
    person: &'static str,
    opening: &'static str,
    pub key: String,
}

pub(crate) fn telling(draw: &mut Draw) -> Telling {
    let routine = draw.below(ROUTINES.len());
    let (person, opening) = (*draw.pick(&NAMES), *draw.pick(&OPENINGS));
    let key = format!("{}, {person}, {opening}", ROUTINES[routine].name);
    Telling { routine, person, opening, key }
}

impl Telling {
    /// The first `count` steps, after the opening.
    pub(crate) fn text(&self, count: usize) -> String {
        let mut text = format!("{} {} {}.", self.opening, self.person, ROUTINES[self.routine].steps[0]);
        for step in &ROUTINES[self.routine].steps[1..count] {
            text += &format!(" {} {step}.", pronoun(self.person));
        }
        text
    }
}

/// What comes after some steps. Wrong are steps that are done, that come later, and that belong elsewhere.
pub(crate) fn next_step(draw: &mut Draw, telling: Telling) -> Question {
    let steps = &ROUTINES[telling.routine].steps;
    let next = 1 + draw.below(steps.len() - 1);
    let say = |step: &str| format!("{} {step}.", pronoun(telling.person));
    let mut own: Vec<&str> = steps.iter().enumerate().filter(|(i, _)| *i != next).map(|(_, s)| *s).collect();
    draw.shuffle(&mut own);
    own.truncate(3);
    let mut wrong: Vec<String> = own.into_iter().map(say).collect();
    for _ in 0..6 {
        let other = draw.pick(&ROUTINES);
        let step = *draw.pick(&other.steps);
        if !steps.contains(&step) && !wrong.contains(&say(step)) {
            wrong.push(say(step));
        }
    }
    let text = telling.text(next);
    Question { text, label: ROUTINES[telling.routine].name, gold: say(steps[next]), wrong, key: telling.key }
}
