//! Facts that the tables state.

use super::World;
use crate::world::tables::{
    ACTIONS, ANIMALS, COLOURS, DRINKS, FOODS, HOMES, INSTRUMENTS, JOBS, Job, MATERIALS, NAMES, PETS, THINGS,
    USES, Use,
};

impl World {
    pub(super) fn one_hop(&mut self) {
        self.about_people();
        let first = self.facts.len();
        let people = self.group(0, first, NAMES.len());
        self.about_things();
        let things = self.group(first, self.facts.len(), THINGS.len());
        let first = self.facts.len();
        self.about_uses(first);
        let mut things = things;
        for (i, use_) in USES.iter().enumerate() {
            let thing = THINGS.iter().position(|t| t[0] == use_.tool).expect("a tool is a thing");
            things[thing].push(first + i);
        }
        let first = self.facts.len();
        self.about_animals();
        let animals = self.group(first, self.facts.len(), ANIMALS.len());
        let first = self.facts.len();
        self.about_jobs();
        let jobs = self.group(first, self.facts.len(), JOBS.len());
        let first = self.facts.len();
        self.about_materials();
        let materials = self.group(first, self.facts.len(), MATERIALS.len());
        self.subjects = [people, things, animals, jobs, materials];
    }

    /// Facts first..end, which go through `subjects` subjects again and again, by subject.
    #[allow(clippy::unused_self, reason = "reads as a step of one_hop")]
    fn group(&self, first: usize, end: usize, subjects: usize) -> Vec<Vec<usize>> {
        (0..subjects).map(|s| (first + s..end).step_by(subjects).collect()).collect()
    }

    fn about_people(&mut self) {
        self.of_people(
            "job",
            &["{x} is {v}.", "{x} works as {v}.", "everyone knows that {x} is {v}."],
            &["what is the job of {x}?", "what does {x} work as?", "which job does {x} have?"],
            "{v}",
            |p| (format!("a {}", JOBS[p.job].name), String::new()),
        );
        self.of_people(
            "home",
            &["{x} lives {v}.", "the house of {x} is {v}.", "{x} has a small house {v}."],
            &["where does {x} live?", "where is the house of {x}?", "where is the home of {x}?"],
            "{v}",
            |p| (HOMES[p.home].to_owned(), String::new()),
        );
        self.of_people(
            "pet",
            &["{x} has {v}.", "the pet of {x} is {v}.", "{x} has {v} as a pet."],
            &["which pet does {x} have?", "what is the pet of {x}?", "which animal lives with {x}?"],
            "{v}",
            |p| (format!("a {}", PETS[p.pet]), String::new()),
        );
        self.of_people(
            "drink",
            &["{x} likes to drink {v}.", "{x} drinks {v} every day.", "the favourite drink of {x} is {v}."],
            &["what does {x} like to drink?", "what does {x} drink every day?", "which drink does {x} like?"],
            "{v}",
            |p| (DRINKS[p.drink].to_owned(), String::new()),
        );
        self.of_people(
            "food",
            &["{x} likes to eat {v}.", "{x} eats {v} every day.", "the favourite food of {x} is {v}."],
            &["what does {x} like to eat?", "what does {x} eat every day?", "which food does {x} like?"],
            "{v}",
            |p| (FOODS[p.food].to_owned(), String::new()),
        );
        self.of_people(
            "favourite colour",
            &[
                "{x} likes the colour {v}.",
                "the favourite colour of {x} is {v}.",
                "{x} likes {v} best of all colours.",
            ],
            &[
                "which colour does {x} like?",
                "what is the favourite colour of {x}?",
                "which colour does {x} like best?",
            ],
            "{v}",
            |p| (COLOURS[p.colour].to_owned(), String::new()),
        );
        self.of_people(
            "instrument",
            &["{x} plays {v}.", "{x} plays {v} in the evening.", "{x} has learned to play {v}."],
            &["what does {x} play?", "what does {x} play in the evening?", "what has {x} learned to play?"],
            "{v}",
            |p| (format!("the {}", INSTRUMENTS[p.instrument]), String::new()),
        );
    }

    fn about_things(&mut self) {
        let rows = |column: usize| THINGS.map(|t| (format!("the {}", t[0]), t[column].to_owned()));
        self.of(
            "category",
            &["{x} is a kind of {v}.", "people call {x} a kind of {v}.", "{x} is one kind of {v}."],
            &["what kind of thing is {x}?", "{x} is a kind of what?", "what do people call {x}?"],
            "a kind of {v}",
            rows(1),
        );
        self.of(
            "material",
            &["{x} is made of {v}.", "{x} was made of {v} long ago.", "whoever made {x} used {v}."],
            &["what is {x} made of?", "which material is {x} made of?", "of what is {x} made?"],
            "{v}",
            rows(2),
        );
        let colours = self.colours.clone();
        let look = THINGS.iter().zip(colours);
        self.of(
            "colour",
            &["{x} is {v}.", "the colour of {x} is {v}.", "{x} is painted {v}."],
            &["what colour is {x}?", "what is the colour of {x}?", "which colour does {x} have?"],
            "{v}",
            look.map(|(t, c)| (format!("the {}", t[0]), COLOURS[c].to_owned())),
        );
        self.of(
            "room",
            &["{x} is kept in {v}.", "people keep {x} in {v}.", "you can find {x} in {v}."],
            &["where is {x} kept?", "where do people keep {x}?", "where can you find {x}?"],
            "in {v}",
            THINGS.map(|t| (format!("the {}", t[0]), format!("the {}", t[3]))),
        );
    }

    fn about_uses(&mut self, first: usize) {
        self.of(
            "use",
            &["{x} is used {v}.", "people use {x} {v}.", "you need {x} {v}."],
            &["what is {x} used for?", "what do people use {x} for?", "for what do you need {x}?"],
            "{v}",
            USES.map(|u| (format!("the {}", u.tool), purpose(&u))),
        );
        for (i, tool) in USES.iter().enumerate() {
            let also = USES.iter().filter(|u| u.group == tool.group && u.tool != tool.tool);
            self.facts[first + i].also = also.map(purpose).collect();
        }
    }

    fn about_animals(&mut self) {
        let rows = |prefix: &'static str, column: usize| {
            ANIMALS.map(|a| (format!("the {}", a[0]), format!("{prefix}{}", a[column])))
        };
        let kind = ANIMALS.map(|a| {
            let article = if a[1] == "insect" { "an" } else { "a" };
            (format!("the {}", a[0]), format!("{article} {}", a[1]))
        });
        self.of(
            "class",
            &["{x} is {v}.", "everyone knows that {x} is {v}.", "people call {x} {v}."],
            &["what kind of animal is {x}?", "which kind of animal is {x}?", "what sort of animal is {x}?"],
            "{v}",
            kind,
        );
        self.of(
            "fodder",
            &["{x} eats {v}.", "{x} likes to eat {v}.", "the favourite food of {x} is {v}."],
            &["what does {x} eat?", "what does {x} like to eat?", "which food does {x} like?"],
            "{v}",
            rows("", 2),
        );
        self.of(
            "den",
            &["{x} lives {v}.", "the home of {x} is {v}.", "you can meet {x} {v}."],
            &["where does {x} live?", "where is the home of {x}?", "where can you meet {x}?"],
            "{v}",
            ANIMALS.map(|a| {
                let on = ["farm", "mountain"].contains(&a[3]);
                (format!("the {}", a[0]), format!("{} the {}", if on { "on" } else { "in" }, a[3]))
            }),
        );
        self.of(
            "cover",
            &["{x} is covered with {v}.", "the body of {x} is covered with {v}.", "{x} has {v} on the body."],
            &["what is {x} covered with?", "what covers the body of {x}?", "what does {x} have on the body?"],
            "{v}",
            rows("", 4),
        );
        self.of(
            "motion",
            &["{x} {v}.", "{x} {v} from place to place.", "{x} {v} when it looks for food."],
            &["how does {x} move?", "how does {x} move from place to place?", "how does {x} look for food?"],
            "it {v}",
            rows("", 5),
        );
    }

    fn about_jobs(&mut self) {
        let name = |j: &Job| format!("a {}", j.name);
        self.of(
            "job place",
            &["{x} works {v}.", "you can meet {x} {v}.", "the work of {x} is done {v}."],
            &["where does {x} work?", "where can you meet {x}?", "where is the work of {x} done?"],
            "{v}",
            JOBS.each_ref().map(|j| (name(j), j.place.to_owned())),
        );
        self.of(
            "job tool",
            &["{x} uses {v}.", "{x} needs {v} for the job.", "{x} works with {v}."],
            &["what does {x} use?", "what does {x} need for the job?", "what does {x} work with?"],
            "{v}",
            JOBS.each_ref().map(|j| (name(j), j.tool.to_owned())),
        );
        self.of(
            "job work",
            &["{x} {v}.", "every day {x} {v}.", "{x} {v} from dawn to night."],
            &["what does {x} do?", "what does {x} do every day?", "what does {x} do from dawn to night?"],
            "{v}",
            JOBS.each_ref().map(|j| (name(j), j.does.to_owned())),
        );
    }

    fn about_materials(&mut self) {
        for (i, action) in ACTIONS.iter().enumerate() {
            let c = action.place;
            self.of(
                c,
                &[&format!("{{x}} {{v}} {c}."), &format!("everyone knows that {{x}} {{v}} {c}.")],
                &[
                    &format!("what does {{x}} do {c}?"),
                    &format!("what happens to {{x}} {c}?"),
                    &format!("what will you see {{x}} do {c}?"),
                ],
                "it {v}",
                MATERIALS.each_ref().map(|m| (m.name.to_owned(), m.does[i].to_owned())),
            );
        }
        self.of(
            "feel",
            &["{x} feels {v}.", "{x} feels {v} in the hand.", "everyone knows that {x} feels {v}."],
            &["how does {x} feel?", "how does {x} feel in the hand?", "what do you feel when you hold {x}?"],
            "it feels {v}",
            MATERIALS.each_ref().map(|m| (m.name.to_owned(), m.feels.to_owned())),
        );
        self.of(
            "source",
            &["{x} comes {v}.", "people get {x} {v}.", "everyone knows that {x} comes {v}."],
            &["where does {x} come from?", "where do people get {x}?", "how do people get {x}?"],
            "{v}",
            MATERIALS.each_ref().map(|m| (m.name.to_owned(), m.from.to_owned())),
        );
    }
}

/// "to cut the bread".
fn purpose(tool: &Use) -> String {
    format!("to {}", tool.goals[0])
}
