use std::collections::HashMap;

use super::*;

const SCOPE: [(&str, &str); 5] = [
    ("name", "value"),
    ("empty", ""),
    ("path", "/usr/local/lib/x.tar.gz"),
    ("blanks", " a  b "),
    ("stars", "a*b?c\\d"),
];

fn scope() -> HashMap<String, String> {
    SCOPE
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn check(cases: &[(&str, &str)]) {
    for (word, want) in cases {
        let got = expand(word, '\\', &scope()).map(|expanded| expanded.text);
        assert_eq!(got.as_deref(), Ok(*want), "{word}");
    }
}

fn refused(cases: &[(&str, &str)]) {
    for (word, want) in cases {
        let error = expand(word, '\\', &scope()).unwrap_err().0;
        let want = format!("failed to process {}: {want}", super::super::quote(word));
        assert_eq!(error, want);
    }
}

#[test]
fn names() {
    check(&[
        ("$name", "value"),
        ("${name}", "value"),
        ("x$name.y", "xvalue.y"),
        ("$name_", ""),
        ("$1name", "name"),
        ("$12x", "x"),
        ("$@$*$#$?$-$!$$$0.", "."),
        ("$", "$"),
        ("a$ b$.", "a$ b$."),
        ("$missing", ""),
    ]);
}

#[test]
fn quotes_and_escapes() {
    check(&[
        ("'$name'", "$name"),
        ("\"$name\"", "value"),
        (r"\$name", "$name"),
        (r#""\$name \" \\ \x""#, r#"$name " \ \x"#),
        (r"'a\'b", r"a\b"),
        (r"a\ b\", "a b"),
        (r#"a"b 'c'"'d "e"'"#, r#"ab 'c'd "e""#),
        ("a < b << c", "a < b << c"),
    ]);
    let got = expand("a`$name`$name\\x", '`', &scope()).unwrap();
    assert_eq!(got.text, "a$name$name\\x");
    assert_eq!(got.matched, [""; 0]);
}

#[test]
fn defaults_and_alternatives() {
    check(&[
        ("${name:-x}${empty:-x}${missing:-x}", "valuexx"),
        ("${name-x}${empty-x}${missing-x}", "valuex"),
        ("${name:+x}${empty:+x}${missing:+x}", "x"),
        ("${name+x}${empty+x}${missing+x}", "xx"),
        ("${name:?x}${empty?x}", "value"),
        ("${missing:-${other:-$name}}", "value"),
        ("${missing:-a b \"c }\"}", "a b c }"),
        (r"${missing:-\}}", "}"),
    ]);
}

#[test]
fn patterns() {
    check(&[
        ("${path#*/}", "usr/local/lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "/usr/local/lib/x.tar"),
        ("${path%%.*}", "/usr/local/lib/x"),
        ("${path#?usr}", "/local/lib/x.tar.gz"),
        ("${path#x}${name%%q}", "/usr/local/lib/x.tar.gzvalue"),
        (r"${path/\//-}", "-usr/local/lib/x.tar.gz"),
        (r"${path//\//-}", "-usr-local-lib-x.tar.gz"),
        ("${name/a*u/$empty.}", "v.e"),
        ("${name//?/$1\\$x}", r"\$x\$x\$x\$x\$x"),
        (r"${stars#a\*b\?}", r"c\d"),
        (r"${stars%\\d}", "a*b?c"),
        ("${name#}${name##*}${name%}", "valuevalue"),
        ("${name/(a|b)/x}${name/[av]/x}", "valuevalue"),
        ("${missing#x}${missing/x/y}", ""),
        ("${name//l/${path##*.}}", "vagzue"),
    ]);
}

#[test]
fn malformed_substitutions() {
    refused(&[
        ("${}", "syntax error: bad substitution"),
        ("${{x}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${", "syntax error: missing '}'"),
        ("${name", "syntax error: missing '}'"),
        ("${name:", "syntax error: missing '}'"),
        ("${name:-x", "syntax error: missing '}'"),
        ("${name/x}", "syntax error: missing '/' in ${}"),
        ("${name/x/y", "syntax error: missing '}'"),
        ("${name=x}", "unsupported modifier (=) in substitution"),
        ("${name:=x}", "unsupported modifier (:=) in substitution"),
        ("${name^^}", "unsupported modifier (^) in substitution"),
        ("${name:#x}", "unsupported modifier (:#) in substitution"),
        ("${.}", "unsupported modifier (.) in substitution"),
        (
            r"${name#\x}",
            r"invalid pattern (\x) in substitution: invalid escape '\x'",
        ),
        (
            "'a",
            "unexpected end of statement while looking for matching single-quote",
        ),
        (
            "\"a",
            "unexpected end of statement while looking for matching double-quote",
        ),
    ]);
}

#[test]
fn required_names() {
    refused(&[
        ("${missing:?}", "missing: is not allowed to be unset"),
        ("${missing?}", "missing: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${missing:?no $name}", "missing: no value"),
    ]);
}

#[test]
fn names_are_told_apart_by_whether_they_are_set() {
    let got = expand("$b $name ${a:-$empty} $b $name", '\\', &scope()).unwrap();
    assert_eq!(got.matched, ["name", "empty"]);
    assert_eq!(got.unmatched, ["b", "a"]);
}

#[test]
fn words_split_at_blanks_and_those_of_variables() {
    let words = |text: &str| expand_words(text, '\\', &scope()).unwrap();
    assert_eq!(words(" a  b "), ["a", "b"]);
    assert_eq!(words("x${blanks}y"), ["x", "a", "b", "y"]);
    assert_eq!(words("x\"$blanks\"y"), ["x a  b y"]);
    assert_eq!(words(r"a\ b 'c d'"), ["a b", "c d"]);
    assert_eq!(words("$empty \"\" ''"), [""; 0]);
    assert_eq!(words("a${missing:-b}c"), ["abc"]);
}

#[test]
fn heredocs_keep_quotes() {
    let got = expand_heredoc("'$name' \"$name\" it's \\$name \\\\\n", &scope()).unwrap();
    assert_eq!(got.text, "'value' \"value\" it's $name \\\n");
}

#[test]
fn wildcards_stop_at_line_breaks() {
    let scope = HashMap::from([("x".to_owned(), "a\nb".to_owned())]);
    let got = expand("${x##*}", '\\', &scope).unwrap();
    assert_eq!(got.text, "\nb");
}
