//! Names that look alike, for people who mistyped one.

/// The few names nearest to `wanted`, best first; other cases of the same letters come first.
pub(super) fn names<'n>(wanted: &str, there: impl Iterator<Item = &'n str>) -> Vec<String> {
    let wanted: Vec<char> = lower(wanted);
    let mut ranked: Vec<(usize, &str)> = there
        .take(COMPARED_MAX)
        .map(|name| {
            let chars = lower(name);
            let contained = !wanted.is_empty()
                && chars.windows(wanted.len()).any(|window| window == wanted.as_slice());
            (if contained { 1 } else { distance(&wanted, &chars) }, name)
        })
        .collect();
    let limit = (wanted.len() / 3).max(2);
    ranked.sort();
    ranked.dedup();
    // A short list is worth showing whole.
    if ranked.len() > SHOWN_MAX {
        ranked.retain(|(distance, _)| *distance <= limit);
    }
    ranked.into_iter().take(SHOWN_MAX).map(|(_, name)| name.to_owned()).collect()
}

fn lower(name: &str) -> Vec<char> {
    name.chars().flat_map(char::to_lowercase).take(NAME_CHARS_MAX).collect()
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Names shown in a message.
const SHOWN_MAX: usize = 5;
/// Names looked at; a folder may hold ten thousands.
const COMPARED_MAX: usize = 10_000;
/// The server's limit for names is 80 characters.
const NAME_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_come_first() {
        let there = ["web-01", "web-02", "db-01", "Büro", "mail", "mail-old", "backup"];
        assert_eq!(names("web-1", there.into_iter())[..2], ["web-01", "web-02"]);
        assert_eq!(names("büro", there.into_iter())[0], "Büro");
        assert!(names("zzzzzz", there.into_iter()).is_empty());
        assert_eq!(names("zzzzzz", ["a", "b"].into_iter()), ["a", "b"]);
    }
}
