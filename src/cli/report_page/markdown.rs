//! A build as Markdown, in GitHub's flavour.

use rbuild::progress::StepRecord;

use super::{Report, Totals, seconds, state};
use crate::cli::human;
use crate::cli::progress::visible;

/// How many steps the table has; pages that show it have limits of their own.
const STEPS: usize = 1000;
/// How much of a step's name is shown, in characters.
const NAME: usize = 160;
/// How much of a failure is shown, in characters from its end.
const FAILURE: usize = 20_000;

/// The summary.
pub(crate) fn summary(report: &Report<'_>) -> String {
    let totals = report.totals();
    let record = report.record;
    let title = code(report.title());
    let state = if report.failure.is_some() {
        "failed"
    } else {
        "succeeded"
    };
    let took = seconds(record.took);
    let mut text = format!("## Build of {title} {state} in {took}\n\n");
    numbers(&mut text, report, &totals);
    if let Some(failure) = report.failure() {
        text.push_str("### Failure\n\n");
        text.push_str(&block(&last(&failure, FAILURE)));
    }
    text.push_str(
        "### Steps\n\n| # | Step | Line | State | Time | CPU | Memory | Layer |\n\
         | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |\n",
    );
    for (place, step) in record.steps.iter().enumerate().take(STEPS) {
        text.push_str(&row(step, totals.path.contains(&place)));
    }
    if record.steps.len() > STEPS {
        let more = record.steps.len() - STEPS;
        text.push_str(&format!("\n{more} more steps are not shown.\n"));
    }
    text.push_str("\nTimes in bold are those of the critical path.\n");
    if !record.warnings.is_empty() {
        text.push_str("\n### Warnings\n\n");
        for warning in &record.warnings {
            text.push_str(&format!("- {}\n", code(warning)));
        }
    }
    text
}

fn numbers(text: &mut String, report: &Report<'_>, totals: &Totals) {
    let steps = format!("{} ({} cached)", totals.steps, totals.cached);
    let layers = format!("{} ({})", totals.layers, human::size(totals.bytes));
    let mut rows = vec![("Steps", steps), ("New layers", layers)];
    rows.push(("Critical path", seconds(totals.path_took)));
    rows.extend(totals.cpu.map(|cpu| ("CPU", seconds(cpu))));
    let peak = totals.memory_peak;
    rows.extend(peak.map(|peak| ("Memory peak of a step", human::size(peak))));
    rows.extend(report.image.as_ref().map(|image| ("Image", code(image))));
    let names: Vec<String> = report.names.iter().map(|name| code(name)).collect();
    if !names.is_empty() {
        rows.push(("Names", names.join(", ")));
    }
    text.push_str("| | |\n| --- | --- |\n");
    for (name, value) in rows {
        text.push_str(&format!("| {name} | {value} |\n"));
    }
    text.push('\n');
}

fn row(step: &StepRecord, critical: bool) -> String {
    let dash = || "-".to_owned();
    let time = seconds(step.took);
    let time = if critical {
        format!("**{time}**")
    } else {
        time
    };
    let line = step.line.map_or_else(dash, |line| line.to_string());
    let cpu = step.usage.map_or_else(dash, |usage| seconds(usage.cpu));
    let memory = step
        .usage
        .map_or_else(dash, |usage| human::size(usage.memory_peak));
    let layer = step
        .layer
        .as_ref()
        .map_or_else(dash, |layer| human::size(layer.bytes));
    let (number, name) = (step.step.0, code(&step.name));
    format!(
        "| {number} | {name} | {line} | {} | {time} | {cpu} | {memory} | {layer} |\n",
        state(step)
    )
}

/// Text as code that cannot leave its cell: one line, and more backticks around
/// it than within.
fn code(text: &str) -> String {
    let text = visible(&text.replace('\n', " "));
    let text = human::ellipsis(text.trim(), NAME).replace('|', "\\|");
    if text.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    // A space keeps a backtick at either end apart.
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{text}{space}{fence}")
}

fn block(text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}text\n{text}\n{fence}\n\n")
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|char| char != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// The last characters of a text, from the start of a line on.
fn last(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let rest: String = text.chars().skip(count - limit).collect();
    let from = rest.find('\n').map_or(0, |at| at + 1);
    format!("…\n{}", &rest[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_cannot_leave_its_cell() {
        assert_eq!(code("RUN make"), "`RUN make`");
        assert_eq!(code("a | b\n| c"), "`a \\| b \\| c`");
        assert_eq!(code("`x` ``y"), "``` `x` ``y ```");
        assert_eq!(code("a`"), "`` a` ``");
        assert_eq!(code("\u{1b}[31m<b>\u{202e}"), "`<b>`");
        assert_eq!(code(""), "");
    }

    #[test]
    fn blocks_have_longer_fences_than_their_text() {
        assert_eq!(block("a"), "```text\na\n```\n\n");
        assert_eq!(block("````\n"), "`````text\n````\n\n`````\n\n");
        assert_eq!(last("one\ntwo\nthree", 6), "…\nthree");
    }
}
