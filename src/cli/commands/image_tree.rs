//! `images --tree`

use rbuild::engine::{ImageTree, TreeNode};

use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

const TITLES: [&str; 5] = ["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"];

/// Prints images with what they are on each platform.
pub(super) fn print(trees: &[ImageTree], output: &mut Output) -> Result<(), Failure> {
    let mut rows: Vec<[String; 5]> = vec![TITLES.map(str::to_owned)];
    for tree in trees {
        match tree.names.split_last() {
            None => rows.push(row("<untagged>".to_owned(), &tree.image)),
            Some((last, others)) => {
                // Names of one image stand over each other.
                let name = |name: &String| [name.clone(), empty(), empty(), empty(), empty()];
                rows.extend(others.iter().map(name));
                rows.push(row(last.clone(), &tree.image));
            }
        }
        let count = tree.platforms.len();
        for (at, (platform, node)) in tree.platforms.iter().enumerate() {
            let branch = if at + 1 == count { "└─" } else { "├─" };
            rows.push(row(format!("{branch} {platform}"), node));
        }
    }
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    let total = widths.iter().sum::<usize>() + 3 * (widths.len() - 1);
    output.line(format!("{:>total$}", "Info -> U In Use"))?;
    output.line("")?;
    for [name, id, disk, content, extra] in &rows {
        let line = format!(
            "{name:<a$}   {id:<b$}   {disk:>c$}   {content:>d$}   {extra}",
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3],
        );
        output.line(line.trim_end())?;
    }
    Ok(())
}

fn row(name: String, node: &TreeNode) -> [String; 5] {
    [
        name,
        node.id.0.short(),
        human::size(node.disk),
        human::size(node.content),
        if node.used { "U".to_owned() } else { empty() },
    ]
}

fn empty() -> String {
    String::new()
}
