//! Go's `filepath.Match` on one path component: `*`, `?`, `[a-z]`, `[^a]`, `\x`.

/// A malformed pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) struct BadPattern;

/// Whether a component has anything special in it.
pub(in crate::build) fn is_pattern(component: &str) -> bool {
    component.contains(['*', '?', '[', '\\'])
}

/// Whether `name` matches the pattern. Bytes that are no UTF-8 match `*` and `?`.
pub(in crate::build) fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check(&pattern)?;
    // Iterative matching with one star to come back to: linear in practice and
    // never exponential.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if p < pattern.len()
            && let Some(next) = step(&pattern, p, name[n])
        {
            p = next;
            n += 1;
            continue;
        }
        let Some((star_p, star_n)) = star else {
            return Ok(false);
        };
        star = Some((star_p, star_n + 1));
        p = star_p + 1;
        n = star_n + 1;
    }
    Ok(pattern[p..].iter().all(|c| *c == '*'))
}

/// Matches one character; the place after the matching part of the pattern.
fn step(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern[at] {
        '?' => Some(at + 1),
        '\\' => (pattern.get(at + 1) == Some(&c)).then_some(at + 2),
        '[' => {
            let (inside, next) = class(pattern, at, c)?;
            inside.then_some(next)
        }
        literal => (literal == c).then_some(at + 1),
    }
}

/// Reads the class that starts at `at`; whether `c` is in it, and where it ends.
fn class(pattern: &[char], at: usize, c: char) -> Option<(bool, usize)> {
    let mut i = at + 1;
    let negated = pattern.get(i) == Some(&'^');
    i += usize::from(negated);
    let mut found = false;
    let mut empty = true;
    loop {
        if !empty && pattern.get(i) == Some(&']') {
            return Some((found != negated, i + 1));
        }
        let (low, next) = member(pattern, i)?;
        let (high, next) = match pattern.get(next) {
            Some('-') => member(pattern, next + 1)?,
            _ => (low, next),
        };
        found |= low <= c && c <= high;
        empty = false;
        i = next;
    }
}

fn member(pattern: &[char], at: usize) -> Option<(char, usize)> {
    match pattern.get(at)? {
        '-' | ']' => None,
        '\\' => pattern.get(at + 1).map(|c| (*c, at + 2)),
        c => Some((*c, at + 1)),
    }
}

/// Refuses a pattern that Go refuses, wherever the mistake stands.
fn check(pattern: &[char]) -> Result<(), BadPattern> {
    let mut i = 0;
    while i < pattern.len() {
        i = match pattern[i] {
            '\\' if i + 1 == pattern.len() => return Err(BadPattern),
            '\\' => i + 2,
            '[' => class(pattern, i, 'x').ok_or(BadPattern)?.1,
            _ => i + 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_match_as_in_go() {
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "abc", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^c]", "abc", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("[\\]a]", "]", true),
            ("*.go", ".go", true),
            ("f*.go", "foo.gox", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), Ok(expected), "{pattern} {name}");
        }
        for pattern in ["[", "[]a]", "[-]", "[a-]", "a\\", "[a"] {
            assert_eq!(matches(pattern, "a"), Err(BadPattern), "{pattern}");
        }
    }
}
