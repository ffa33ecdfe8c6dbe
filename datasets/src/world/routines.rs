//! Routines: things that people do in a fixed order.

/// A routine: its name and its steps, each said of a person.
pub(super) struct Routine {
    pub name: &'static str,
    pub steps: [&'static str; 6],
}

const fn routine(name: &'static str, steps: [&'static str; 6]) -> Routine {
    Routine { name, steps }
}

pub(super) const ROUTINES: [Routine; 24] = [
    routine(
        "making tea",
        [
            "takes the kettle from the shelf",
            "fills the kettle with cold water",
            "puts the kettle on the stove",
            "waits until the water is hot",
            "pours the water into the cup",
            "drinks the tea with some honey",
        ],
    ),
    routine(
        "baking bread",
        [
            "mixes the flour with some water",
            "works the dough with both hands",
            "puts the dough into the oven",
            "waits until the bread is brown",
            "takes the bread from the oven",
            "cuts the bread with the knife",
        ],
    ),
    routine(
        "planting a rose",
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
        "catching fish",
        [
            "carries the net to the boat",
            "rows the boat on the lake",
            "throws the net into the water",
            "waits until the net is full",
            "pulls the net into the boat",
            "brings the fish to the market",
        ],
    ),
    routine(
        "washing a shirt",
        [
            "puts the shirt into the bucket",
            "pours warm water on the shirt",
            "rubs the shirt with some soap",
            "hangs the shirt on the rope",
            "waits until the shirt is dry",
            "folds the shirt on the bed",
        ],
    ),
    routine(
        "painting a wall",
        [
            "opens a pot of white paint",
            "dips the brush into the paint",
            "moves the brush over the wall",
            "waits until the wall is dry",
            "paints the wall one more time",
            "cleans the brush with warm water",
        ],
    ),
    routine(
        "writing a letter",
        [
            "sits down at the small table",
            "takes the pen and some paper",
            "writes to a friend far away",
            "folds the letter in the middle",
            "brings the letter to the village",
            "waits for an answer at home",
        ],
    ),
    routine(
        "cooking soup",
        [
            "takes some carrots from the cellar",
            "cuts the carrots with the knife",
            "puts the carrots into the pot",
            "puts the pot on the stove",
            "stirs the soup with the spoon",
            "eats the soup from the bowl",
        ],
    ),
    routine(
        "milking a cow",
        [
            "walks to the barn at dawn",
            "sits down beside the brown cow",
            "puts the bucket under the cow",
            "fills the bucket with warm milk",
            "carries the bucket to the house",
            "pours the milk into the jug",
        ],
    ),
    routine(
        "making a fire",
        [
            "carries the axe to the forest",
            "chops a branch with the axe",
            "carries the wood to the house",
            "puts the wood into the stove",
            "lights the wood with a match",
            "sits down beside the warm fire",
        ],
    ),
    routine(
        "sewing a coat",
        [
            "buys some cloth at the market",
            "cuts the cloth with the knife",
            "takes the needle and some thread",
            "sews the cloth into a coat",
            "puts six buttons on the coat",
            "wears the coat in the snow",
        ],
    ),
    routine(
        "flying a kite",
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
        "building a shelf",
        [
            "takes the saw from the shed",
            "cuts the board with the saw",
            "holds the board to the wall",
            "takes the hammer and six nails",
            "hits the nails with the hammer",
            "puts the books on the shelf",
        ],
    ),
    routine(
        "going to bed",
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
        "picking apples",
        [
            "takes the ladder from the barn",
            "puts the ladder to the tree",
            "climbs up the ladder with care",
            "puts the apples into the basket",
            "climbs down with the full basket",
            "makes a pie from the apples",
        ],
    ),
    routine(
        "mending a vase",
        [
            "finds the broken vase at home",
            "gathers all parts of the vase",
            "puts some glue on the parts",
            "holds the parts for an hour",
            "paints the vase blue and white",
            "puts a rose into the vase",
        ],
    ),
    routine(
        "opening a chest",
        [
            "finds the old chest at home",
            "looks for the key for hours",
            "puts the key into the lock",
            "turns the key to the left",
            "opens the chest with both hands",
            "takes the gold from the chest",
        ],
    ),
    routine(
        "crossing the river",
        [
            "walks to the river at dawn",
            "looks for the boat for hours",
            "steps into the boat with care",
            "rows the boat over the river",
            "ties the boat with a rope",
            "walks up the hill with joy",
        ],
    ),
    routine(
        "feeding the hens",
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
        "buying a hat",
        [
            "puts some coins into the purse",
            "walks to the market at dawn",
            "looks at hats for an hour",
            "pays for the hat with coins",
            "puts the new hat on top",
            "walks home with the new hat",
        ],
    ),
    routine(
        "cleaning the house",
        [
            "opens all windows of the house",
            "takes the broom from the shed",
            "sweeps the floor with the broom",
            "fills the bucket with warm water",
            "washes the floor with some soap",
            "puts the broom into the shed",
        ],
    ),
    routine(
        "playing in the snow",
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
