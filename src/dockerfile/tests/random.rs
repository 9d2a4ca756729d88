//! Nothing panics on random input, and spans stay within the text.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{
    expand, expand_heredoc, expand_words, exposed_ports, git_reference, lint, mount_options, parse,
    parse_trigger, quote, signal_number,
};

/// Text of the parts that Dockerfiles are made of.
fn dockerfile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "FROM ", "RUN ", "COPY ", "ADD ", "ENV ", "LABEL ", "ARG ", "ONBUILD ", "CMD ",
            "HEALTHCHECK ", "EXPOSE ", "SHELL ", "VOLUME ", "USER ", "FRMO ", "from ",
        ]),
        4 => prop::sample::select(vec![
            "\n", "\r\n", "\\\n", "`\n", "\\ \n", "# ", "# escape=`\n", "# syntax=x\n", "\u{feff}",
            "<<EOF", "<<-'E F'", "<<\"A\" <<B ", "EOF\n", "\tE F\n", "A\n",
        ]),
        4 => prop::sample::select(vec![
            "--from=x ", "--mount=type=cache,target=/x ", "--link ", "-- ", "--interval=1s ",
            "[\"a\", \"b\"]", "[", "]", "[1]", "\"", "'", "\\", "`", "$", "${a:-", "}", "a=b ", "=",
            " AS x", "80/TCP ", " é\u{301}😀 ", "\u{a0}", "\u{2028}", " ", "\t",
        ]),
        1 => any::<char>().prop_map(|char| -> &'static str {
            String::from(char).leak()
        }),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn scope() -> HashMap<String, String> {
    [("a", "x*y"), ("b", ""), ("é", "\n")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn parsing_never_fails(text in dockerfile()) {
        let parsed = parse(&text);
        let found = lint(&parsed.dockerfile);
        for diagnostic in parsed.diagnostics.iter().chain(&found) {
            let span = diagnostic.span;
            prop_assert!(text.get(span.start..span.end).is_some(), "{diagnostic:?}");
        }
        for stage in &parsed.dockerfile.stages {
            for place in &stage.instructions {
                prop_assert!(text.get(place.span.start..place.span.end).is_some());
            }
        }
        drop(parse_trigger(&text));
    }

    #[test]
    fn expansion_never_panics(text in "[a-z$\\{}:?+%#/*\\\\`'\" <é\\-]{0,40}") {
        let scope = scope();
        for escape in ['\\', '`'] {
            drop(expand(&text, escape, &scope));
            drop(expand_words(&text, escape, &scope));
        }
        drop(expand_heredoc(&text, &scope));
    }

    #[test]
    fn small_parsers_never_panic(text in any::<String>()) {
        drop(mount_options(&text));
        drop(git_reference(&text));
        drop(exposed_ports(&text));
        drop(signal_number(&text));
        drop(super::super::duration(&text));
        let _ = super::super::memory_bytes(&text);
        drop(quote(&text));
        parse(&text);
    }

    #[test]
    fn small_languages_never_panic(
        mount in "[a-z=,\"0-9$]{0,30}",
        git in "(https|git|ssh)?(://)?[a-z@:/.#?&=%0-9+]{0,30}",
        port in "[0-9:/\\-a-z\\[\\]]{0,15}",
        duration in "[-+]?[0-9.a-zµ]{0,30}",
        memory in "[0-9. kKmibB]{0,12}",
    ) {
        drop(mount_options(&mount));
        drop(git_reference(&git));
        drop(exposed_ports(&port));
        drop(super::super::duration(&duration));
        let _ = super::super::memory_bytes(&memory);
    }
}

#[test]
fn hostile_sizes_are_quick() {
    let nested = format!("{}x{}", "${a:-".repeat(100_000), "}".repeat(100_000));
    assert!(expand(&nested, '\\', &HashMap::new()).is_err());
    let chain = format!("FROM x\n{}RUN y", "ONBUILD ".repeat(8_000));
    parse(&chain);
    let flags = format!("FROM x\nRUN {}y", "--mount=a \\\n".repeat(20_000));
    parse(&flags);
    let unknown = "x\n".repeat(500_000);
    assert!(parse(&unknown).diagnostics.len() < 100_000);
    let heredocs = format!(
        "FROM x\nRUN {}\n{}",
        "<<A \\\n".repeat(20_000),
        "A\n".repeat(20_000)
    );
    parse(&heredocs);
    let scope: HashMap<_, _> = [("a".to_owned(), "x".repeat(1 << 20))].into();
    assert!(expand(&"$a".repeat(100), '\\', &scope).is_err());
    assert!(expand("${a//x/yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy}", '\\', &scope).is_err());
    let nested = format!("{}x{}", "${a//${a//".repeat(30), "/@}/y}".repeat(30));
    drop(expand(&nested, '\\', &scope));
    assert!(expand(&format!("${{a#{}}}", "*x".repeat(100_000)), '\\', &scope).is_err());
}
