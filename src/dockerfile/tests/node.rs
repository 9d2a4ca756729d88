use super::*;

/// The places of the words of the last instruction, as text.
fn places(text: &str) -> Vec<&str> {
    let tree = read(text);
    let node = tree.nodes.last().unwrap();
    let flags = node.flags.iter().map(|flag| flag.word.span);
    let words = node.args.iter().map(|word| word.span);
    let spans = [node.name.span].into_iter().chain(flags).chain(words);
    spans.map(|span| &text[span.start..span.end]).collect()
}

#[test]
fn words_have_their_places() {
    assert_eq!(
        places("FROM a\n  COPY --from='x y' a\\\n  b c\n"),
        ["COPY", "--from='x y'", "a", "b", "c"]
    );
    assert_eq!(places("RUN [\"a\", \"b c\"]"), ["RUN", "\"a\"", "\"b c\""]);
    assert_eq!(
        places("ENV \\\n# x\n a=b c='d e'"),
        ["ENV", "a", "b", "a=b c='d e'", "c", "'d e'", "a=b c='d e'"]
    );
    assert_eq!(places("\u{feff}# escape=`\nRUN `\n\n é x"), ["RUN", "é x"]);
    assert_eq!(places("RUN a \\\n  b"), ["RUN", "a \\\n  b"]);
}

#[test]
fn instructions_have_their_places() {
    let text = "# c\n\n  RUN <<A\nbody\nA\n\nCMD \\\n x\r\nRUN y";
    let tree = read(text);
    let places: Vec<_> = tree
        .nodes
        .iter()
        .map(|node| (&text[node.span.start..node.span.end], node.lines))
        .collect();
    assert_eq!(
        places,
        [
            ("RUN <<A\nbody\nA", (3, 5)),
            ("CMD \\\n x", (7, 8)),
            ("RUN y", (9, 9))
        ]
    );
    let head = tree.nodes[0].head;
    assert_eq!(&text[head.start..head.end], "RUN <<A");
    let body = tree.nodes[0].heredocs[0].span;
    assert_eq!(&text[body.start..body.end], "body\n");
}

#[test]
fn comments_go_to_the_instruction_below() {
    let tree = read("# escape=`\n# a\n#b \nFROM x\n# c\n#\n# d\n\n# e\nRUN `\n# f\n x\nRUN y");
    let comments: Vec<_> = tree
        .nodes
        .iter()
        .map(|node| node.comments.join(","))
        .collect();
    assert_eq!(comments, ["a,b", "d,e", ""]);
}

#[test]
fn lines_that_are_too_long_end_the_file() {
    let text = format!("FROM a\nRUN {}\nRUN b\n", "x".repeat(MAX_LINE));
    let tree = read(&text);
    assert_eq!(tree.nodes.len(), 1);
    assert_eq!(
        tree.diagnostics[0].message,
        "dockerfile line greater than max allowed size of 65535"
    );
}

#[test]
fn error_after_which_reading_goes_on() {
    let tree = read("FROM a\nENV x\nCMD [1]\nRUN x\n");
    assert_eq!(tree.diagnostics.len(), 2);
    let broken: Vec<_> = tree.nodes.iter().map(|node| node.is_broken).collect();
    assert_eq!(broken, [false, true, true, false]);
}
