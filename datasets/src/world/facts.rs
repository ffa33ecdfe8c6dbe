//! The facts of the world, and how they are said and asked.

use std::sync::OnceLock;

use super::{
    draw::{Draw, fill, hash},
    tables::{
        ACTIONS, ANIMALS, COLOURS, DRINKS, FOODS, HOMES, INSTRUMENTS, JOBS, Job, MATERIALS, Material, NAMES,
        PETS, THINGS, USES, Use,
    },
};

/// A person with the traits that tables do not fix; each is an index into its table.
pub(super) struct Person {
    pub name: &'static str,
    pub job: usize,
    pub home: usize,
    pub pet: usize,
    pub drink: usize,
    pub food: usize,
    pub colour: usize,
    pub instrument: usize,
}

impl Person {
    /// "she" or "he".
    pub(super) fn pronoun(&self) -> &'static str {
        pronoun(self.name)
    }
}

pub(super) fn is_woman(name: &str) -> bool {
    NAMES[..NAMES.len() / 2].contains(&name)
}

/// "she" or "he".
pub(super) fn pronoun(name: &str) -> &'static str {
    if is_woman(name) { "she" } else { "he" }
}

/// "her" or "his".
pub(super) fn possessive(name: &str) -> &'static str {
    if is_woman(name) { "her" } else { "his" }
}

/// What facts of one sort have in common.
pub(super) struct Relation {
    pub name: String,
    /// Templates with the subject `{x}`, the value `{v}`, a pronoun `{s}` and the middle term `{w}` of two hops.
    statements: Vec<String>,
    /// Templates with `{x}`.
    questions: Vec<String>,
    /// The answer: a template with `{v}` and `{s}`.
    answer: String,
    /// All values that facts of this relation have, in order of first use.
    pub values: Vec<String>,
    /// For each value, the facts that have it.
    pub holders: Vec<Vec<usize>>,
}

/// One fact: `value` is the only value of its relation that is true of `subject`, except for those in `also`.
pub(super) struct Fact {
    pub relation: usize,
    pub subject: String,
    pub value: String,
    /// What connects the two where the fact follows from two others: "glass" between "the jar" and "breaks".
    pub middle: String,
    pronoun: &'static str,
    /// Values that nobody would call wrong either.
    pub also: Vec<String>,
}

/// Everything that is true.
pub(super) struct World {
    pub people: Vec<Person>,
    /// Colour of each thing.
    pub colours: Vec<usize>,
    pub relations: Vec<Relation>,
    pub facts: Vec<Fact>,
    /// The relations of one fact, then those of two.
    pub easy: Vec<usize>,
    pub hard: Vec<usize>,
    /// Facts of one hop by subject, in the order people, things, animals, jobs, materials.
    pub subjects: [Vec<Vec<usize>>; 5],
}

/// The world. There is one, whatever the seed of a text.
pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> Self {
        let mut draw = Draw::new("the small world", 0);
        let people = people(&mut draw);
        let colours = spread(&mut draw, THINGS.len(), COLOURS.len());
        let mut world = Self {
            people,
            colours,
            relations: Vec::new(),
            facts: Vec::new(),
            easy: Vec::new(),
            hard: Vec::new(),
            subjects: Default::default(),
        };
        world.one_hop();
        world.easy = (0..world.relations.len()).collect();
        world.two_hops();
        world.hard = (world.easy.len()..world.relations.len()).collect();
        world
    }

    fn relation(&mut self, name: &str, statements: &[&str], questions: &[&str], answer: &str) {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        self.relations.push(Relation {
            name: name.to_owned(),
            statements: owned(statements),
            questions: owned(questions),
            answer: answer.to_owned(),
            values: Vec::new(),
            holders: Vec::new(),
        });
    }

    /// Adds a fact to the last relation.
    fn fact(&mut self, subject: String, value: &str, pronoun: &'static str, middle: &str) {
        let index = self.facts.len();
        let relation = self.relations.len() - 1;
        let kind = &mut self.relations[relation];
        if let Some(place) = kind.values.iter().position(|v| v == value) {
            kind.holders[place].push(index);
        } else {
            kind.values.push(value.to_owned());
            kind.holders.push(vec![index]);
        }
        let (value, middle) = (value.to_owned(), middle.to_owned());
        self.facts.push(Fact { relation, subject, value, middle, pronoun, also: Vec::new() });
    }

    /// One relation of people: `value` gives each person's value.
    fn of_people(
        &mut self,
        name: &str,
        statements: &[&str],
        questions: &[&str],
        answer: &str,
        value: impl Fn(&Person) -> (String, String),
    ) {
        self.relation(name, statements, questions, answer);
        for i in 0..self.people.len() {
            let (value, middle) = value(&self.people[i]);
            let (name, pronoun) = (self.people[i].name, self.people[i].pronoun());
            self.fact(name.to_owned(), &value, pronoun, &middle);
        }
    }

    /// One relation of whatever `rows` lists: subject and value.
    fn of(
        &mut self,
        name: &str,
        statements: &[&str],
        questions: &[&str],
        answer: &str,
        rows: impl IntoIterator<Item = (String, String)>,
    ) {
        self.relation(name, statements, questions, answer);
        for (subject, value) in rows {
            self.fact(subject, &value, "it", "");
        }
    }

    fn one_hop(&mut self) {
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

    fn two_hops(&mut self) {
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

    /// All sentences that say a fact.
    pub(super) fn sentences(&self, fact: usize) -> Vec<String> {
        let fact = &self.facts[fact];
        let values = [("x", &*fact.subject), ("v", &*fact.value), ("s", fact.pronoun), ("w", &*fact.middle)];
        self.relations[fact.relation].statements.iter().map(|template| fill(template, &values)).collect()
    }

    /// All questions whose answer the fact is.
    pub(super) fn questions(&self, fact: usize) -> Vec<String> {
        let fact = &self.facts[fact];
        self.relations[fact.relation].questions.iter().map(|q| fill(q, &[("x", &fact.subject)])).collect()
    }

    /// The words of an answer: `value` is the fact's own or another of its relation.
    pub(super) fn answer(&self, fact: usize, value: &str) -> String {
        let fact = &self.facts[fact];
        fill(&self.relations[fact.relation].answer, &[("v", value), ("s", fact.pronoun)])
    }

    /// One of the sentences that say a fact.
    pub(super) fn say(&self, draw: &mut Draw, fact: usize) -> String {
        draw.pick(&self.sentences(fact)).clone()
    }

    /// One of the questions whose answer the fact is.
    pub(super) fn ask(&self, draw: &mut Draw, fact: usize) -> String {
        draw.pick(&self.questions(fact)).clone()
    }

    /// Whether a fact of two hops is told. Half of them are; the others have to be inferred.
    pub(super) fn told(&self, fact: usize) -> bool {
        let fact = &self.facts[fact];
        hash(&format!("told: {} of {}", self.relations[fact.relation].name, fact.subject)).is_multiple_of(2)
    }
}

/// "to cut the bread".
fn purpose(tool: &Use) -> String {
    format!("to {}", tool.goals[0])
}

/// `count` members of 0..values, each equally often up to one, in random order.
fn spread(draw: &mut Draw, count: usize, values: usize) -> Vec<usize> {
    let mut list: Vec<usize> = (0..count).map(|i| i % values).collect();
    draw.shuffle(&mut list);
    list
}

fn people(draw: &mut Draw) -> Vec<Person> {
    let mut column = |values: usize| spread(draw, NAMES.len(), values);
    let (job, home, pet, drink) =
        (column(JOBS.len()), column(HOMES.len()), column(PETS.len()), column(DRINKS.len()));
    let (food, colour, instrument) = (column(FOODS.len()), column(COLOURS.len()), column(INSTRUMENTS.len()));
    let person = |i: usize| Person {
        name: NAMES[i],
        job: job[i],
        home: home[i],
        pet: pet[i],
        drink: drink[i],
        food: food[i],
        colour: colour[i],
        instrument: instrument[i],
    };
    (0..NAMES.len()).map(person).collect()
}
