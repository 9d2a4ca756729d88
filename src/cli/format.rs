//! Rows of a listing and documents in the form that `--format` asks for.

use rbuild::template::{Schema, Template};
use serde_json::{Map, Value};

use super::output::{Output, align};
use super::report::Failure;

/// A column of a listing: the member of each row and its title.
pub(crate) type Column = (&'static str, &'static str);

/// The members of rows are texts; one that is not there is a mistake.
const ROWS: Schema = Schema {
    maps: &["Attributes"],
    lists: &[],
    optional: &[],
    texts: &[],
    type_name: Some("*formatter.SubContext"),
};

/// What Docker's types know of the documents of `inspect`, `info` and `version`.
///
/// Source: Docker Engine API 1.51, `ContainerInspectResponse` and the others.
const DOCUMENTS: Schema = Schema {
    maps: &[
        "Annotations",
        "Containers",
        "Data",
        "DriverOpts",
        "EnabledFeatures",
        "ExposedPorts",
        "Labels",
        "Networks",
        "Options",
        "PortBindings",
        "Ports",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "Volumes",
    ],
    lists: &[
        "Aliases",
        "Args",
        "Binds",
        "BlkioDeviceReadBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps",
        "BlkioWeightDevice",
        "CapAdd",
        "CapDrop",
        "Cmd",
        "DNSNames",
        "DeviceCgroupRules",
        "DeviceRequests",
        "Devices",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "Entrypoint",
        "Env",
        "ExecIDs",
        "ExtraHosts",
        "GroupAdd",
        "Layers",
        "Links",
        "Log",
        "MaskedPaths",
        "Mounts",
        "OnBuild",
        "ReadonlyPaths",
        "RepoDigests",
        "RepoTags",
        "SecurityOpt",
        "Shell",
        "Test",
        "Ulimits",
        "VolumesFrom",
        "Warnings",
    ],
    optional: &[
        "Annotations",
        "Binds",
        "DeviceRequests",
        "Devices",
        "ExposedPorts",
        "GraphDriver",
        "Health",
        "Healthcheck",
        "IPAMConfig",
        "Init",
        "Mounts",
        "OnBuild",
        "Options",
        "Runtime",
        "Shell",
        "SizeRootFs",
        "SizeRw",
        "StopTimeout",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
        "UsageData",
        "Volumes",
    ],
    texts: &[
        "Author",
        "Comment",
        "Container",
        "StopSignal",
        "User",
        "Variant",
        "MacAddress",
        "Parent",
    ],
    type_name: None,
};

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
    let format = format.unwrap_or("table").trim();
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
            if let Some(template) = format.strip_prefix("table") {
                table(output, template.trim(), &[columns, titles].concat(), rows)
            } else {
                let template = Row::parse(format)?;
                for row in rows {
                    output.line(template.render(row)?)?;
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
    let template = Row::parse(template)?;
    let mut lines = Vec::with_capacity(rows.len() + 1);
    for row in rows {
        lines.push(template.render(row)?);
    }
    lines.insert(0, template.header(titles)?);
    let split = |line: &String| line.split('\t').map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = lines.iter().map(split).collect();
    for line in align(&lines) {
        output.line(line)?;
    }
    Ok(())
}

/// A template for rows.
#[derive(Debug)]
pub(crate) struct Row(Template);

impl Row {
    /// Reads a template; `\t` and `\n` outside of quotes are what they are in Go.
    pub(crate) fn parse(template: &str) -> Result<Self, Failure> {
        Template::parse(&template.replace("\\t", "\t").replace("\\n", "\n"))
            .map(Self)
            .map_err(failure)
    }

    /// The text for one row.
    pub(crate) fn render(&self, row: &Value) -> Result<String, Failure> {
        self.0.render(row, &ROWS).map_err(failure)
    }

    /// The line above the rows.
    pub(crate) fn header(&self, titles: &[Column]) -> Result<String, Failure> {
        let titles = titles
            .iter()
            .map(|(member, title)| ((*member).to_owned(), Value::from(*title)));
        let titles = Value::Object(titles.collect::<Map<_, _>>());
        self.0.render_header(&titles).map_err(failure)
    }
}

/// Whether `--format` mentions a member that costs something to know.
pub(crate) fn mentions(format: Option<&str>, member: &str) -> bool {
    match format.map(str::trim) {
        None | Some("" | "table") => false,
        Some("json") => true,
        Some(format) => {
            let template = format.strip_prefix("table").unwrap_or(format);
            // A wrong template is told of when it is used.
            Template::parse(template)
                .is_ok_and(|template| template.mentions(member) || template_shows_all(format))
        }
    }
}

/// Whether the whole row is printed, as by `{{json .}}`.
fn template_shows_all(format: &str) -> bool {
    format.contains(" .}") || format.contains(" . ") || format.contains("{.}")
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
            // Docker's code for a template of a document that cannot be read.
            let template = Template::parse(template).map_err(|err| failure(err).with_code(64))?;
            for document in documents {
                output.line(template.render(document, &DOCUMENTS).map_err(failure)?)?;
            }
            Ok(())
        }
    }
}

/// Prints one document through a template, or as JSON on one line.
pub(crate) fn document(output: &mut Output, format: &str, document: &Value) -> Result<(), Failure> {
    if format.trim() == "json" {
        return output.line(document);
    }
    documents(output, Some(format), std::slice::from_ref(document))
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn failure(error: rbuild::template::Error) -> Failure {
    Failure::new(1, error.to_string())
}
