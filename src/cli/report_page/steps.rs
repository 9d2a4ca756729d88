//! The steps of a build: a table with a waterfall, and the critical path.

use std::collections::BTreeMap;
use std::time::Duration;

use rbuild::progress::{Outcome, Record, StepRecord};
use rbuild::snapshot::Contents;

use super::html::escape;
use super::{Totals, seconds, state};
use crate::cli::human;
use crate::cli::progress::visible;

/// How many steps a page shows.
const STEPS: usize = 5000;
/// How much of a step's name is shown, in characters.
const NAME: usize = 1000;
/// How many marks the time axis has at least.
const MARKS: f64 = 4.0;

/// The table.
pub(super) fn table(
    page: &mut String,
    record: &Record,
    totals: &Totals,
    contents: &BTreeMap<usize, Vec<Contents>>,
) {
    page.push_str(
        "<section aria-labelledby=\"steps-title\">\n<h2 id=\"steps-title\">Steps</h2>\n\
         <form id=\"controls\" hidden>\n\
         <label>Find <input id=\"find\" type=\"search\" autocomplete=\"off\"></label>\n\
         <label>Show <select id=\"show\"><option value=\"all\">all steps</option>\
         <option value=\"ran\">steps that ran</option><option value=\"cached\">cached steps</option>\
         <option value=\"critical\">the critical path</option></select></label>\n\
         <output id=\"shown\"></output>\n</form>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"steps-title\">\n\
         <table id=\"steps\">\n<thead><tr><th scope=\"col\">#</th><th scope=\"col\">Step</th>\
         <th scope=\"col\">Line</th><th scope=\"col\">State</th><th scope=\"col\">Start</th>\
         <th scope=\"col\">Time</th><th scope=\"col\">CPU</th><th scope=\"col\">Memory</th>\
         <th scope=\"col\">Layer</th><th scope=\"col\" class=\"chart\">",
    );
    axis(page, record.took);
    page.push_str("</th></tr></thead>\n<tbody>\n");
    for (place, step) in record.steps.iter().enumerate().take(STEPS) {
        let critical = totals.path.contains(&place);
        row(
            page,
            record.took,
            step,
            critical,
            contents.contains_key(&place),
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    if record.steps.len() > STEPS {
        let more = record.steps.len() - STEPS;
        page.push_str(&format!("<p>{more} more steps are not shown.</p>\n"));
    }
    page.push_str("</section>\n");
}

/// The marks of the time axis: round numbers of seconds.
fn axis(page: &mut String, whole: Duration) {
    let whole = whole.as_secs_f64().max(0.001);
    let step = round_step(whole / MARKS);
    page.push_str("<span class=\"axis track\"><span class=\"said\">Waterfall</span>");
    let mut mark = 0.0;
    while mark < whole * 0.95 {
        let left = mark / whole * 100.0;
        page.push_str(&format!(
            "<span aria-hidden=\"true\" style=\"left:{left:.2}%\">{}s</span>",
            (mark * 1000.0).round() / 1000.0
        ));
        mark += step;
    }
    page.push_str("</span>");
}

/// The next of 1, 2, 5, 10, … that is not smaller.
fn round_step(least: f64) -> f64 {
    let mut unit = 0.001;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if unit * factor >= least {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
}

fn row(page: &mut String, whole: Duration, step: &StepRecord, critical: bool, layers: bool) {
    let (number, state) = (step.step.0, state(step));
    let class = if critical { " class=\"critical\"" } else { "" };
    page.push_str(&format!(
        "<tr id=\"step-{number}\" data-state=\"{state}\"{class}><td data-value=\"{number}\">{number}</td><td class=\"name\">"
    ));
    name(page, step, critical);
    let line = step
        .line
        .map_or_else(|| "-".to_owned(), |line| line.to_string());
    let bytes = step.layer.as_ref().map(|layer| layer.bytes);
    let size = bytes.map_or_else(|| "-".to_owned(), human::size);
    let size = if layers {
        format!("<a href=\"#layer-{number}\">{size}</a>")
    } else {
        size
    };
    let cpu = step.usage.map(|usage| usage.cpu);
    let memory = step.usage.map(|usage| usage.memory_peak);
    let number = |value: f64, text: &str| format!("<td data-value=\"{value}\">{text}</td>");
    page.push_str(&format!(
        "<td data-value=\"{}\">{line}</td>",
        step.line.unwrap_or(0)
    ));
    page.push_str(&format!(
        "<td><span class=\"badge {state}\">{state}</span></td>"
    ));
    page.push_str(&number(step.started.as_secs_f64(), &seconds(step.started)));
    page.push_str(&number(step.took.as_secs_f64(), &seconds(step.took)));
    let text = cpu.map_or_else(|| "-".to_owned(), seconds);
    page.push_str(&number(cpu.map_or(-1.0, |cpu| cpu.as_secs_f64()), &text));
    let text = memory.map_or_else(|| "-".to_owned(), human::size);
    page.push_str(&format!(
        "<td data-value=\"{}\">{text}</td>",
        memory.unwrap_or(0)
    ));
    page.push_str(&format!(
        "<td data-value=\"{}\">{size}</td>",
        bytes.unwrap_or(0)
    ));
    page.push_str("<td class=\"chart\" aria-hidden=\"true\">");
    bar(page, whole, step, state);
    page.push_str("</td></tr>\n");
}

/// The name on one line, and beneath it, once opened, all that is known.
fn name(page: &mut String, step: &StepRecord, critical: bool) {
    let shown = human::ellipsis(&visible(&step.name), NAME);
    page.push_str("<details><summary>");
    if critical {
        page.push_str(
            "<span class=\"mark\" title=\"on the critical path\">◆\
             <span class=\"said\"> critical path</span></span> ",
        );
    }
    page.push_str(&format!(
        "<code><bdi>{}</bdi></code></summary>",
        escape(&shown)
    ));
    let inputs = step.inputs.iter().map(|input| format!("#{}", input.0));
    let inputs = inputs.collect::<Vec<_>>().join(", ");
    let after = (!inputs.is_empty()).then(|| format!("after {inputs}"));
    for line in after.iter().chain(&step.notes) {
        let line = escape(&visible(line));
        page.push_str(&format!("<small><bdi>{line}</bdi></small>"));
    }
    page.push_str("</details>");
    if let Some(Outcome::Failed(why)) = &step.outcome {
        let why = escape(&visible(why));
        page.push_str(&format!("<small class=\"why\"><bdi>{why}</bdi></small>"));
    }
}

fn bar(page: &mut String, whole: Duration, step: &StepRecord, state: &str) {
    let whole = whole.as_secs_f64().max(0.001);
    let share = |span: Duration| (span.as_secs_f64() / whole * 100.0).clamp(0.0, 100.0);
    let left = share(step.started);
    let width = share(step.took).min(100.0 - left);
    page.push_str(&format!(
        "<span class=\"track\"><span class=\"bar {state}\" style=\"left:{left:.3}%;width:{width:.3}%\"></span></span>"
    ));
}

/// The critical path as a list.
pub(super) fn critical(page: &mut String, record: &Record, totals: &Totals) {
    let (path, whole) = (&totals.path, totals.path_took.as_secs_f64().max(0.001));
    if path.is_empty() {
        return;
    }
    page.push_str(&format!(
        "<section aria-labelledby=\"critical\">\n<h2 id=\"critical\">Critical path</h2>\n\
         <p>Each of these steps needs the one before it, and together they take longest: {} of the build's {}. \
         The build becomes quicker only where one of them does.</p>\n<ol class=\"path\">\n",
        seconds(totals.path_took),
        seconds(record.took)
    ));
    for place in path.iter().take(STEPS) {
        let step = &record.steps[*place];
        let name = escape(&human::ellipsis(&visible(&step.name), NAME));
        let share = step.took.as_secs_f64() / whole * 100.0;
        page.push_str(&format!(
            "<li><a href=\"#step-{}\"><code><bdi>{name}</bdi></code></a> <span class=\"amount\">{}</span>\
             <span class=\"share\" aria-hidden=\"true\"><span style=\"width:{share:.1}%\"></span></span></li>\n",
            step.step.0,
            seconds(step.took)
        ));
    }
    page.push_str("</ol>\n</section>\n");
}
