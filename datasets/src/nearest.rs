//! The nearest of the names that there are, for messages about one that there is not.

/// The candidate nearest to `word` by edit distance, if it is near enough to be a typing error.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, best) = candidates.iter().map(|c| (edit_distance(word, c), *c)).min()?;
    (distance <= word.chars().count().max(best.chars().count()) / 2).then_some(best)
}

/// `did you mean 'x'? KIND: a, b, c`, or only the list when nothing is near.
pub fn suggest(word: &str, kind: &str, candidates: &[&str]) -> String {
    let all = candidates.join(", ");
    match nearest(word, candidates) {
        Some(best) => format!("did you mean '{best}'? {kind}: {all}"),
        None => format!("{kind}: {all}"),
    }
}

/// Levenshtein's distance over characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances() {
        for (a, b, d) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("tasks", "tasks", 0), ("modles", "models", 2)]
        {
            assert_eq!((edit_distance(a, b), edit_distance(b, a)), (d, d));
        }
        assert_eq!(nearest("modles", &["models", "tasks"]), Some("models"));
        assert_eq!(nearest("zzzzzz", &["models", "tasks"]), None);
    }
}
