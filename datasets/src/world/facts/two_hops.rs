//! Facts that follow from two others: of a person and a job or a pet, of a thing and its material.

use super::{Person, World};
use crate::world::tables::{ACTIONS, ANIMALS, JOBS, MATERIALS, Material, PETS, THINGS};

impl World {
    pub(super) fn two_hops(&mut self) {
        let job = |p: &Person| format!("a {}", JOBS[p.job].name);
        let animal = |p: &Person| *ANIMALS.iter().find(|a| a[0] == PETS[p.pet]).expect("a pet is an animal");
        let pet = |p: &Person| format!("a {}", PETS[p.pet]);
        self.of_people(
            "tool of a person",
            &["{x} is {w}, so {s} uses {v}.", "because {x} is {w}, {s} uses {v}."],
            &["which tool does {x} use?", "what does {x} use at work?", "what does {x} need for the job?"],
            "{v}",
            |p| (JOBS[p.job].tool.to_owned(), job(p)),
        );
        self.of_people(
            "workplace of a person",
            &["{x} is {w}, so {s} works {v}.", "because {x} is {w}, {s} works {v}."],
            &["where does {x} work?", "where does {x} go to work?", "where is the work of {x} done?"],
            "{v}",
            |p| (JOBS[p.job].place.to_owned(), job(p)),
        );
        self.of_people(
            "work of a person",
            &["{x} is {w}, so {s} {v}.", "because {x} is {w}, {s} {v}."],
            &["what does {x} do at work?", "what does {x} do from dawn to night?", "which work does {x} do?"],
            "{v}",
            |p| (JOBS[p.job].does.to_owned(), job(p)),
        );
        self.of_people(
            "fodder of a pet",
            &["the pet of {x} is {w}, so it eats {v}.", "{x} has {w}, so the pet eats {v}."],
            &[
                "what does the pet of {x} eat?",
                "which food does the pet of {x} like?",
                "what does {x} give to the pet?",
            ],
            "{v}",
            |p| (animal(p)[2].to_owned(), pet(p)),
        );
        self.of_people(
            "cover of a pet",
            &[
                "the pet of {x} is {w}, so it is covered with {v}.",
                "{x} has {w}, so the pet has {v} on the body.",
            ],
            &[
                "what is the pet of {x} covered with?",
                "what covers the pet of {x}?",
                "what does the pet of {x} have on the body?",
            ],
            "{v}",
            |p| (animal(p)[4].to_owned(), pet(p)),
        );
        self.of_people(
            "motion of a pet",
            &["the pet of {x} is {w}, so it {v}.", "{x} has {w}, so the pet {v}."],
            &[
                "how does the pet of {x} move?",
                "what does the pet of {x} do to move?",
                "how does the pet of {x} go from place to place?",
            ],
            "it {v}",
            |p| (animal(p)[5].to_owned(), pet(p)),
        );
        self.two_hops_of_things();
    }

    fn two_hops_of_things(&mut self) {
        for (i, action) in ACTIONS.iter().enumerate() {
            let c = action.place;
            self.relation(
                &format!("a thing {c}"),
                &[
                    &format!("{{x}} is made of {{w}}, so it {{v}} {c}."),
                    &format!("{{x}} {{v}} {c} because it is made of {{w}}."),
                ],
                &[
                    &format!("what does {{x}} do {c}?"),
                    &format!("what happens to {{x}} {c}?"),
                    &format!("what will you see {{x}} do {c}?"),
                ],
                "it {v}",
            );
            self.things(|m| m.does[i]);
        }
        self.relation(
            "feel of a thing",
            &["{x} is made of {w}, so it feels {v}.", "{x} feels {v} because it is made of {w}."],
            &["how does {x} feel?", "how does {x} feel in the hand?", "what do you feel when you hold {x}?"],
            "it feels {v}",
        );
        self.things(|m| m.feels);
        self.relation(
            "source of a thing",
            &["{x} is made of {w}, and {w} comes {v}.", "the {w} of {x} comes {v}."],
            &[
                "where does the material of {x} come from?",
                "what people need for {x} comes from where?",
                "where do people get the material of {x}?",
            ],
            "{v}",
        );
        self.things(|m| m.from);
    }

    /// For each thing, a fact that follows from its material.
    fn things(&mut self, value: impl Fn(&Material) -> &'static str) {
        for thing in &THINGS {
            let material = MATERIALS.iter().find(|m| m.name == thing[2]).expect("a known material");
            self.fact(format!("the {}", thing[0]), value(material), "it", material.name);
        }
    }
}
