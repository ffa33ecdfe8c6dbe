//! What comes next in a routine (HellaSwag).

use super::Question;
use crate::world::{
    draw::{Draw, fill},
    facts::pronoun,
    routines::{OPENINGS, ROUTINES, Routine},
    tables::NAMES,
};

/// A routine that a person goes through on some day.
pub(crate) struct Telling {
    routine: &'static Routine,
    object: &'static str,
    person: &'static str,
    opening: &'static str,
    pub key: String,
}

pub(crate) fn telling(draw: &mut Draw) -> Telling {
    let routine = draw.pick(&ROUTINES);
    let object = *draw.pick(routine.objects);
    let (person, opening) = (*draw.pick(&NAMES), *draw.pick(&OPENINGS));
    // Whatever the object: the first steps often do without.
    let key = format!("{}, {person}, {opening}", routine.name);
    Telling { routine, object, person, opening, key }
}

fn with(template: &str, object: &str) -> String {
    fill(template, &[("x", object)])
}

impl Telling {
    /// "making tea".
    pub(crate) fn name(&self) -> String {
        with(self.routine.name, self.object)
    }

    /// The first `count` steps, after the opening.
    fn text(&self, count: usize) -> String {
        let mut text = format!("{} {}", self.opening, self.person);
        for (i, step) in self.routine.steps[..count].iter().enumerate() {
            if i > 0 {
                text += " ";
                text += pronoun(self.person);
            }
            text += &format!(" {}.", with(step, self.object));
        }
        text
    }

    /// The whole routine.
    pub(crate) fn whole(&self) -> String {
        format!("{}: {}", self.name(), self.text(self.routine.steps.len()))
    }
}

/// What comes after some steps. Wrong are steps that are done or come later, the right step with another object, and
/// steps of other routines.
pub(crate) fn next_step(draw: &mut Draw, telling: &Telling) -> Question {
    let &Telling { routine, object, person, .. } = telling;
    let next = 1 + draw.below(routine.steps.len() - 1);
    let say = |step: &str, object: &str| format!("{} {}.", pronoun(person), with(step, object));
    let own: Vec<String> = routine.steps.iter().map(|step| say(step, object)).collect();
    let gold = own[next].clone();
    let mut rest = own.clone();
    rest.remove(next);
    let mut wrong = draw.several(&rest, 2);
    let objects: Vec<&str> = routine.objects.iter().copied().filter(|o| *o != object).collect();
    for other in draw.several(&objects, 2) {
        wrong.push(say(routine.steps[next], other));
    }
    for _ in 0..3 {
        let other = draw.pick(&ROUTINES);
        let (step, object) = (draw.pick(&other.steps), draw.pick(other.objects));
        wrong.push(say(step, object));
    }
    let mut different: Vec<String> = Vec::new();
    for ending in wrong {
        // Another routine may share a step with this one, and a step without an object has no variant.
        if ending != gold && !different.contains(&ending) {
            different.push(ending);
        }
    }
    Question {
        label: telling.name(),
        text: telling.text(next),
        gold,
        wrong: different,
        key: telling.key.clone(),
    }
}
