//! `did you mean RUN?`

/// Words further apart than this have nothing to do with each other.
const MAX_DISTANCE: usize = 2;

/// The option closest to a word with a typing error, letter case ignored. The
/// answer is in the word's case where that is all upper or all lower.
pub(super) fn closest(word: &str, options: &[&str]) -> Option<String> {
    let lower = word.to_lowercase();
    let option = nearest(&lower, options.iter().map(|option| option.to_lowercase()))?;
    Some(if word == word.to_uppercase() && word != lower {
        option.to_uppercase()
    } else {
        option
    })
}

/// The option closest to a word with a typing error, letter case counted.
pub fn closest_exact(word: &str, options: &[&str]) -> Option<String> {
    nearest(word, options.iter().map(|option| (*option).to_owned()))
}

fn nearest(word: &str, options: impl Iterator<Item = String>) -> Option<String> {
    let mut nearest = None;
    let mut limit = MAX_DISTANCE + 1;
    for option in options {
        let distance = distance(word, &option, limit);
        if distance == 0 {
            // The word itself is fine: the error is another.
            return None;
        }
        if distance < limit {
            limit = distance;
            nearest = Some(option);
        }
    }
    nearest
}

/// How many characters must be added, removed, replaced or swapped with the
/// next; at least `limit` where that many would not do.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    // Words from a file may be of any length, and the table has the product
    // of both.
    if a.len().abs_diff(b.len()) >= limit * 4 {
        return limit;
    }
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                let swapped: &Vec<usize> = &before;
                least = least.min(swapped[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_option_in_the_case_of_the_word() {
        let options = ["RUN", "ENV", "ENTRYPOINT"];
        assert_eq!(closest("RNU", &options).as_deref(), Some("RUN"));
        assert_eq!(closest("RNU", &["ENV", "RUN"]).as_deref(), Some("RUN"));
        assert_eq!(closest("rnu", &options).as_deref(), Some("run"));
        assert_eq!(
            closest("Entrypont", &options).as_deref(),
            Some("entrypoint")
        );
        assert_eq!(closest("run", &options), None);
        assert_eq!(closest("MAINTAIN", &options), None);
        assert_eq!(closest("", &options), None);
    }

    #[test]
    fn exact_case() {
        assert_eq!(closest_exact("chwon", &["chown"]).as_deref(), Some("chown"));
        assert_eq!(closest_exact("CHOWN", &["chown"]), None);
    }

    #[test]
    fn long_words_are_far_from_everything() {
        assert_eq!(closest(&"x".repeat(1 << 20), &["RUN"]), None);
    }
}
