use super::super::parse;
use super::*;

/// The rules that fire on a file, with their lines.
fn check(text: &str, want: &[(&str, usize)]) {
    let parsed = parse(text);
    let found = lint(&parsed.dockerfile);
    let got: Vec<_> = found
        .iter()
        .map(|found| match found.level {
            Level::Warning(rule) => (rule, found.span.line(text)),
            Level::Error => ("error", 0),
        })
        .collect();
    assert_eq!(got, want, "{text}");
}

#[test]
fn clean_file_has_no_warnings() {
    check(
        "# syntax=x\nARG V=1\nFROM a AS b\nENV K=v\nEXPOSE 80\nCMD [\"x\"]\n\nFROM b\nCMD [\"y\"]\n",
        &[],
    );
}

#[test]
fn casing() {
    check("FROM a AS B", &[("StageNameCasing", 1)]);
    check("FROM a as b", &[("FromAsCasing", 1)]);
    check(
        "from a as b\nrun x\nRUN y",
        &[("ConsistentInstructionCasing", 3)],
    );
    check("From a as b\nRUN x", &[("ConsistentInstructionCasing", 1)]);
}

#[test]
fn comments_above_switch_rules_off() {
    check(
        "FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER x\nMAINTAINER y",
        &[("MaintainerDeprecated", 4)],
    );
    check("# check=skip=all\nFROM a as B\nMAINTAINER x", &[]);
    let text = "FROM a as b";
    let file = parse(text).dockerfile;
    let none = CheckOptions::read("skip=all").unwrap();
    assert_eq!(lint_with(&file, &none), []);
}

#[test]
fn names_of_secrets() {
    for name in [
        "password",
        "DB_PASSWORD",
        "api_KEY",
        "AUTH",
        "x_token_y",
        "APIKEY",
    ] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in [
        "keyboard",
        "PUBLIC_KEY",
        "TOKEN_FILE",
        "AUTH_VERSION",
        "tokens",
        "",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}
