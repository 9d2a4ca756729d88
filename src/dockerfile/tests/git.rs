use super::*;

fn read(text: &str) -> Option<GitReference> {
    git_reference(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn repositories() {
    for (text, remote, name) in [
        ("https://h/a/b.git", "https://h/a/b.git", "b"),
        ("HTTPS://h:8080/b.git", "https://h:8080/b.git", "b"),
        ("http://u:p@h/b.git#x", "http://u:p@h/b.git", "b"),
        ("git://h/b", "git://h/b", "b"),
        ("ssh://git@h:22/a/b", "ssh://git@h:22/a/b", "b"),
        ("git@h:a/b.git#x:y", "git@h:a/b.git", "b"),
        ("github.com/a/b", "github.com/a/b", "b"),
    ] {
        let git = read(text).unwrap();
        assert_eq!(git.remote, remote);
        assert_eq!(git.short_name, name);
        let is_open = text.starts_with("http:") || text.starts_with("git:");
        assert_eq!(git.unencrypted, is_open, "{text}");
        assert_eq!(
            git.indistinguishable_from_local,
            text.starts_with("github"),
            "{text}"
        );
    }
}

#[test]
fn other_texts() {
    for text in [
        "",
        ".",
        "./x.git",
        "../x.git",
        "x.git",
        "https://h/b",
        "https://h/b.git/",
        "https://h:x/b.git",
        "https://h/%zz.git",
        "ftp://h/b.git",
        "a b@h:c",
        "u@h",
        "https://h/b.git\n",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn fragments_and_queries() {
    let git = read("https://h/b.git#v1:/a/../b/./c").unwrap();
    assert_eq!(git.reference.as_deref(), Some("v1"));
    assert_eq!(git.subdir.as_deref(), Some("b/c"));
    let git = read("https://h/b.git?branch=a%2Fb&subdir=x+y&submodules=0&keep-git-dir").unwrap();
    assert_eq!(git.reference.as_deref(), Some("refs/heads/a/b"));
    assert_eq!(git.subdir.as_deref(), Some("x y"));
    assert_eq!(
        (git.submodules, git.keep_git_dir),
        (Some(false), Some(true))
    );
    let git = read("git@h:b?tag=refs/tags/x&commit=abc&mtime=commit").unwrap();
    assert_eq!(git.reference.as_deref(), Some("refs/tags/x"));
    assert_eq!(git.checksum.as_deref(), Some("abc"));
    assert_eq!(git.mtime_of_commit, Some(true));
}

#[test]
fn wrong_queries() {
    let check = |query: &str, want: &str| {
        let error = git_reference(&format!("https://h/b.git{query}")).unwrap_err();
        assert_eq!(error, want, "{query}");
    };
    check("?x=1", "unexpected query \"x\"");
    check("?ref=", "query \"ref\" has no value");
    check("?ref=a&ref=b", "query \"ref\" has multiple values");
    check("?ref=a#b", "ref conflicts: \"b\" vs \"a\"");
    check("?subdir=a#:b", "subdir conflicts: \"b\" vs \"a\"");
    check("?tag=a&branch=b", "branch conflicts with tag");
    check("?submodules=x", "invalid submodules value: \"x\"");
}
