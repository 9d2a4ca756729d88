//! Nodes as BuildKit's parenthesised tree, for goldens.

use super::node::Node;
use super::quote::quote;

/// One line for each node.
pub(super) fn dump(nodes: &[Node]) -> String {
    let lines = nodes
        .iter()
        .map(|node| ["(", &expression(node), ")\n"].concat());
    lines.collect()
}

fn expression(node: &Node) -> String {
    let mut text = node.name.text.to_lowercase();
    if !node.flags.is_empty() {
        let flags: Vec<_> = node
            .flags
            .iter()
            .map(|flag| quote(&flag.word.text))
            .collect();
        text.extend([" [", &flags.join(" "), "]"]);
    }
    if let Some(child) = &node.child {
        text.extend([" (", &expression(child), ")"]);
    }
    for word in &node.args {
        text.push(' ');
        text.push_str(&quote(&word.text));
    }
    text
}
