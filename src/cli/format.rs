//! Rows of a listing in the form that `--format` asks for.

use serde_json::{Map, Value};

use super::output::{Output, align};
use super::report::Failure;
use super::template::Template;

/// A column of a listing: the member of each row and its title.
pub(crate) type Column = (&'static str, &'static str);

/// Prints `rows`, objects of text members, as a table of `columns`, or as
/// `--format` asks: `json`, `table TEMPLATE` or a template for each row. `titles`
/// names the members that are no default column but may stand in a template.
pub(crate) fn list(
    output: &mut Output,
    format: Option<&str>,
    columns: &[Column],
    titles: &[Column],
    rows: &[Value],
) -> Result<(), Failure> {
    let format = format.unwrap_or("table").trim_start();
    match format {
        "json" => {
            for row in rows {
                output.line(row)?;
            }
            Ok(())
        }
        "table" | "" => {
            let header: Vec<&str> = columns.iter().map(|(_, title)| *title).collect();
            let cells: Vec<Vec<String>> = rows.iter().map(|row| cells(row, columns)).collect();
            output.table(&header, &cells)
        }
        _ => {
            if let Some(template) = format.strip_prefix("table ") {
                table(output, template, &[columns, titles].concat(), rows)
            } else {
                let template = parse(format)?;
                for row in rows {
                    output.line(template.render(row).map_err(failure)?)?;
                }
                Ok(())
            }
        }
    }
}

fn cells(row: &Value, columns: &[Column]) -> Vec<String> {
    columns
        .iter()
        .map(|(member, _)| match row.get(member) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        })
        .collect()
}

/// A table of the columns that a template names, with titles over them.
fn table(
    output: &mut Output,
    template: &str,
    titles: &[Column],
    rows: &[Value],
) -> Result<(), Failure> {
    let template = parse(template)?;
    let mut header = Map::new();
    for (member, title) in titles {
        header.insert((*member).to_owned(), Value::from(*title));
    }
    let mut lines = vec![template.render(&Value::Object(header)).map_err(failure)?];
    for row in rows {
        lines.push(template.render(row).map_err(failure)?);
    }
    let split = |line: &String| line.split('\t').map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = lines.iter().map(split).collect();
    for line in align(&lines) {
        output.line(line)?;
    }
    Ok(())
}

/// Reads a template of the user's; `\t` and `\n` may be written as in Go.
pub(crate) fn parse(template: &str) -> Result<Template, Failure> {
    Template::parse(&template.replace("\\t", "\t").replace("\\n", "\n")).map_err(failure)
}

/// Prints documents as a list, or each through a template.
pub(crate) fn documents(
    output: &mut Output,
    format: Option<&str>,
    documents: &[Value],
) -> Result<(), Failure> {
    match format {
        None | Some("") => {
            if documents.is_empty() {
                return output.line("[]");
            }
            let mut bytes = Vec::new();
            let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
            serde::Serialize::serialize(documents, &mut serializer)
                .map_err(|err| Failure::new(1, format!("cannot write JSON: {err}")))?;
            bytes.push(b'\n');
            output.bytes(&bytes)
        }
        Some("json") => output.line(Value::from(documents.to_vec())),
        Some(template) => {
            let template = parse(template)?;
            for document in documents {
                output.line(template.render(document).map_err(failure)?)?;
            }
            Ok(())
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn failure(error: super::template::TemplateError) -> Failure {
    Failure::new(1, error.to_string())
}
