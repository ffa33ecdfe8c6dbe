//! Routines: things that people do in a fixed order.

/// A routine: its name and its steps, each said of a person. `{x}` is the same one of `objects` in all of them.
pub(super) struct Routine {
    pub name: &'static str,
    pub objects: &'static [&'static str],
    pub steps: [&'static str; 6],
}

const fn routine(name: &'static str, objects: &'static [&'static str], steps: [&'static str; 6]) -> Routine {
    Routine { name, objects, steps }
}

pub(super) const ROUTINES: [Routine; 24] = [
    routine(
        "making {x}",
        &["tea", "cocoa"],
        [
            "takes the kettle from the shelf",
            "fills the kettle with cold water",
            "puts the kettle on the stove",
            "waits until the water is hot",
            "pours the {x} into the cup",
            "drinks the {x} with some honey",
        ],
    ),
    routine(
        "baking {x}",
        &["cake", "bread", "pie"],
        [
            "mixes the flour with some water",
            "works the dough with both hands",
            "puts the {x} into the oven",
            "waits until the {x} is brown",
            "takes the {x} from the oven",
            "cuts the {x} with the knife",
        ],
    ),
    routine(
        "planting a rose",
        &[""],
        [
            "takes the spade from the barn",
            "digs a hole in the garden",
            "puts the rose into the hole",
            "fills the hole with soft earth",
            "waters the rose from the bucket",
            "waits for the first red flower",
        ],
    ),
    routine(
        "catching a {x}",
        &["trout", "carp"],
        [
            "carries the net to the boat",
            "rows the boat on the lake",
            "throws the net into the water",
            "looks for a {x} for hours",
            "pulls the {x} into the boat",
            "brings the {x} to the market",
        ],
    ),
    routine(
        "washing a {x}",
        &["shirt", "dress", "scarf", "coat"],
        [
            "puts the {x} into the bucket",
            "pours warm water on the {x}",
            "rubs the {x} with some soap",
            "hangs the {x} on the rope",
            "waits until the {x} is dry",
            "puts the {x} on the bed",
        ],
    ),
    routine(
        "painting a {x}",
        &["wall", "door", "fence", "gate"],
        [
            "opens a pot of white paint",
            "dips the brush into the paint",
            "moves the brush over the {x}",
            "waits until the {x} is dry",
            "paints the {x} one more time",
            "cleans the brush with warm water",
        ],
    ),
    routine(
        "writing a {x}",
        &["letter", "story", "song"],
        [
            "sits down at the small table",
            "takes the pen and some paper",
            "writes the {x} with the pen",
            "reads the {x} to a friend",
            "puts the {x} into the bag",
            "brings the {x} to the market",
        ],
    ),
    routine(
        "cooking {x}",
        &["carrots", "eggs", "apples"],
        [
            "takes some {x} from the cellar",
            "cuts the {x} with the knife",
            "puts the {x} into the pot",
            "puts the pot on the stove",
            "stirs the {x} with the spoon",
            "eats the {x} from the bowl",
        ],
    ),
    routine(
        "milking a {x}",
        &["cow", "goat", "sheep"],
        [
            "walks to the barn at dawn",
            "sits down beside the brown {x}",
            "puts the bucket under the {x}",
            "fills the bucket with warm milk",
            "carries the bucket to the house",
            "pours the milk into the jug",
        ],
    ),
    routine(
        "burning a {x}",
        &["branch", "log"],
        [
            "carries the axe to the forest",
            "chops a {x} with the axe",
            "carries the {x} to the house",
            "puts the {x} into the stove",
            "lights the {x} with a match",
            "sits down beside the warm fire",
        ],
    ),
    routine(
        "sewing a {x}",
        &["coat", "dress", "shirt", "sock"],
        [
            "buys some cloth at the market",
            "cuts the cloth with the knife",
            "takes the needle and some thread",
            "sews the cloth into a {x}",
            "puts six buttons on the {x}",
            "wears the {x} in the snow",
        ],
    ),
    routine(
        "flying a kite",
        &[""],
        [
            "carries the kite up the hill",
            "holds the kite in the wind",
            "runs until the kite is up",
            "looks at the kite for hours",
            "pulls the kite down to earth",
            "carries the kite home at night",
        ],
    ),
    routine(
        "riding a horse",
        &[""],
        [
            "opens the door of the barn",
            "brushes the horse from the top",
            "puts a blanket on the horse",
            "climbs up on the tall horse",
            "rides the horse to the lake",
            "gives the horse some green grass",
        ],
    ),
    routine(
        "building a {x}",
        &["shelf", "table", "chair", "bed"],
        [
            "takes the saw from the shed",
            "cuts the board with the saw",
            "builds a {x} from the board",
            "hits the {x} with the hammer",
            "cleans the {x} with a brush",
            "carries the {x} to the house",
        ],
    ),
    routine(
        "going to bed",
        &[""],
        [
            "washes the face with warm water",
            "puts on a long white shirt",
            "reads a story in a book",
            "puts out the lamp at night",
            "lies down in the soft bed",
            "sleeps until the sun is up",
        ],
    ),
    routine(
        "picking {x}",
        &["apples", "berries"],
        [
            "takes the ladder from the barn",
            "puts the ladder to the tree",
            "climbs up the ladder with care",
            "puts the {x} into the basket",
            "climbs down with the full basket",
            "makes a pie from the {x}",
        ],
    ),
    routine(
        "mending a {x}",
        &["vase", "plate", "jug", "cup"],
        [
            "finds the broken {x} at home",
            "gathers all parts of the {x}",
            "puts some glue on the parts",
            "holds the parts for an hour",
            "cleans the {x} with warm water",
            "puts the {x} on the shelf",
        ],
    ),
    routine(
        "opening a {x}",
        &["chest", "box", "drawer"],
        [
            "finds the old {x} at home",
            "looks for the key for hours",
            "puts the key into the lock",
            "turns the key to the left",
            "opens the {x} with both hands",
            "takes the gold from the {x}",
        ],
    ),
    routine(
        "crossing the {x}",
        &["river", "lake"],
        [
            "walks to the {x} at dawn",
            "looks for the boat for hours",
            "steps into the boat with care",
            "rows the boat over the {x}",
            "ties the boat with a rope",
            "walks up the hill with joy",
        ],
    ),
    routine(
        "feeding the hens",
        &[""],
        [
            "takes some seeds from the barn",
            "carries the seeds to the hens",
            "throws the seeds on the ground",
            "waits until the hens are full",
            "gathers the eggs in the basket",
            "brings the eggs to the kitchen",
        ],
    ),
    routine(
        "buying a {x}",
        &["hat", "belt", "lamp", "chain"],
        [
            "puts some coins into the purse",
            "walks to the market at dawn",
            "looks for a {x} for hours",
            "pays for the {x} with coins",
            "puts the {x} into the bag",
            "walks home with the new {x}",
        ],
    ),
    routine(
        "cleaning the {x}",
        &["house", "hall", "kitchen", "study"],
        [
            "opens all windows of the {x}",
            "takes the broom from the shed",
            "sweeps the {x} with the broom",
            "fills the bucket with warm water",
            "washes the {x} with some soap",
            "puts the broom into the shed",
        ],
    ),
    routine(
        "playing in the snow",
        &[""],
        [
            "puts on the coat and gloves",
            "takes the sled from the shed",
            "pulls the sled up the hill",
            "sits down on the wooden sled",
            "rides the sled down the hill",
            "brings the sled to the shed",
        ],
    ),
    routine(
        "finding gold",
        &[""],
        [
            "takes the map and the spade",
            "follows the map to the tree",
            "digs a hole under the tree",
            "finds a chest in the hole",
            "pulls the chest from the hole",
            "carries the gold home at night",
        ],
    ),
];

/// What may stand before a routine: a day and a time.
pub(super) const OPENINGS: [&str; 8] = [
    "it is a warm morning.",
    "it is a cold morning.",
    "it is a quiet day.",
    "it is a sunny day.",
    "it is a rainy day.",
    "it is a long summer day.",
    "it is a fine day.",
    "it is an early morning.",
];
