//! Progress for programs: one JSON object a line, in the form of BuildKit's
//! `rawjson`, with a member `rbuild` of our own where BuildKit's form has no
//! place for something. `docs/events.md` describes both.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild::oci::Digest;
use rbuild::progress::{Event, Layer, Outcome, Record, StepId, StepRecord, Stream};
use serde_json::{Map, Value, json};

use super::{Ending, Renderer, base64};

/// The version of the member `rbuild`. It grows when a key goes away or means
/// something else; new keys may come without.
const VERSION: u32 = 1;

/// Writes lines of JSON.
#[derive(Debug)]
pub(super) struct Raw<W> {
    out: W,
    began: Instant,
    began_at: Timestamp,
    record: Record,
    digests: HashMap<StepId, Digest>,
    /// How many steps have had a digest's inputs; the same step may come twice.
    known: HashMap<Digest, u32>,
    transfers: HashMap<StepId, Vec<Transfer>>,
}

#[derive(Debug)]
struct Transfer {
    name: String,
    started: Duration,
    done: u64,
    total: Option<u64>,
}

impl<W: Write> Raw<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W, began: Instant) -> Self {
        Self {
            out,
            began,
            began_at: Timestamp::now(),
            record: Record::default(),
            digests: HashMap::new(),
            known: HashMap::new(),
            transfers: HashMap::new(),
        }
    }

    fn write(&mut self, line: &Value) {
        // A reader that is gone stops no build.
        let _reader_gone = self.out.write_all(format!("{line}\n").as_bytes());
    }

    fn time(&self, at: Duration) -> String {
        let time = self.began_at.checked_add(at).unwrap_or(self.began_at);
        time.to_string()
    }

    /// A digest that names the step: the same one in the next build of this Dockerfile.
    fn name(&mut self, step: &StepRecord) -> Digest {
        let mut text = step.name.clone();
        for input in &step.inputs {
            if let Some(digest) = self.digests.get(input) {
                text.push_str(&format!("\0{digest}"));
            }
        }
        let digest = Digest::of(text.as_bytes());
        let times = self.known.entry(digest).or_default();
        *times += 1;
        match *times {
            1 => digest,
            times => Digest::of(format!("{text}\0{times}").as_bytes()),
        }
    }

    fn digest(&self, step: StepId) -> Option<Digest> {
        self.digests.get(&step).copied()
    }

    /// BuildKit's view of a step.
    fn vertex(&self, step: &StepRecord) -> Value {
        let inputs = step.inputs.iter().filter_map(|input| self.digest(*input));
        let inputs: Vec<String> = inputs.map(|digest| digest.to_string()).collect();
        let mut vertex = Map::new();
        let digest = self.digest(step.step);
        vertex.insert("digest".to_owned(), json!(digest.map(|d| d.to_string())));
        if !inputs.is_empty() {
            vertex.insert("inputs".to_owned(), json!(inputs));
        }
        vertex.insert("name".to_owned(), json!(step.name));
        vertex.insert("started".to_owned(), json!(self.time(step.started)));
        if let Some(outcome) = &step.outcome {
            let end = self.time(step.started + step.took);
            vertex.insert("completed".to_owned(), json!(end));
            match outcome {
                Outcome::Done => {}
                Outcome::Cached => {
                    vertex.insert("cached".to_owned(), json!(true));
                }
                Outcome::Failed(why) => {
                    vertex.insert("error".to_owned(), json!(why));
                }
                Outcome::Canceled => {
                    vertex.insert("error".to_owned(), json!("context canceled"));
                }
            }
        }
        Value::Object(vertex)
    }

    /// Our own view of a step.
    fn step(&self, step: &StepRecord) -> Value {
        let inputs: Vec<u32> = step.inputs.iter().map(|input| input.0).collect();
        let mut value = json!({
            "step": step.step.0,
            "digest": self.digest(step.step).map(|digest| digest.to_string()),
            "name": step.name,
            "stage": step.stage(),
            "line": step.line,
            "inputs": inputs,
        });
        if let Some(outcome) = &step.outcome {
            value["outcome"] = json!(word(outcome));
            value["cached"] = json!(*outcome == Outcome::Cached);
            value["seconds"] = json!(step.took.as_secs_f64());
            value["reason"] = json!(step.notes);
            value["layer"] = json!(step.layer.as_ref().map(layer));
            value["usage"] = json!(step.usage.map(|usage| json!({
                "cpuSeconds": usage.cpu.as_secs_f64(),
                "memoryPeakBytes": usage.memory_peak,
            })));
        }
        value
    }

    /// A line about a step.
    fn tell(&mut self, step: StepId, as_vertex: bool, statuses: Vec<Value>) {
        let Some(step) = self.record.step(step) else {
            return;
        };
        let mut line = Map::new();
        if as_vertex {
            line.insert("vertexes".to_owned(), json!([self.vertex(step)]));
        }
        if !statuses.is_empty() {
            line.insert("statuses".to_owned(), Value::Array(statuses));
        }
        let own = json!({"version": VERSION, "step": self.step(step)});
        line.insert("rbuild".to_owned(), own);
        self.write(&Value::Object(line));
    }

    fn status(&self, step: StepId, transfer: &Transfer, at: Duration, ended: bool) -> Value {
        let mut status = json!({
            "id": transfer.name,
            "vertex": self.digest(step).map(|digest| digest.to_string()),
            "current": transfer.done,
            "timestamp": self.time(at),
            "started": self.time(transfer.started),
        });
        if let Some(total) = transfer.total {
            status["total"] = json!(total);
        }
        if ended {
            status["completed"] = json!(self.time(at));
        }
        status
    }

    fn transfer(&mut self, at: Duration, step: StepId, name: &str, done: u64, total: Option<u64>) {
        let transfers = self.transfers.entry(step).or_default();
        let place = transfers.iter().position(|known| known.name == name);
        let place = place.unwrap_or_else(|| {
            transfers.push(Transfer {
                name: name.to_owned(),
                started: at,
                done,
                total,
            });
            transfers.len() - 1
        });
        (transfers[place].done, transfers[place].total) = (done, total);
        let status = self.status(step, &self.transfers[&step][place], at, false);
        self.write(&json!({"statuses": [status]}));
    }

    fn log(&mut self, at: Duration, step: StepId, stream: Stream, bytes: &[u8]) {
        let stream = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        let log = json!({
            "vertex": self.digest(step).map(|digest| digest.to_string()),
            "stream": stream,
            "data": base64(bytes),
            "timestamp": self.time(at),
        });
        self.write(&json!({"logs": [log]}));
    }

    fn warning(&mut self, text: &str) {
        // As BuildKit does, the warning belongs to the reading of the Dockerfile.
        let first = self.record.steps.first();
        let digest = first.and_then(|step| self.digest(step.step));
        let warning = json!({
            "vertex": digest.map(|digest| digest.to_string()),
            "level": 1,
            "short": base64(text.as_bytes()),
        });
        self.write(&json!({"warnings": [warning]}));
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Cached => "cached",
        Outcome::Failed(_) => "failed",
        Outcome::Canceled => "canceled",
    }
}

fn layer(layer: &Layer) -> Value {
    json!({"diffId": layer.diff_id, "bytes": layer.bytes})
}

impl<W: Write> Renderer for Raw<W> {
    fn event(&mut self, at: Instant, event: &Event) {
        let at = at.saturating_duration_since(self.began);
        self.record.event(at, event);
        match event {
            Event::Started { step, .. } => {
                let Some(begun) = self.record.step(*step).cloned() else {
                    return;
                };
                let digest = self.name(&begun);
                self.digests.insert(*step, digest);
                self.tell(*step, true, Vec::new());
            }
            Event::Finished { step, .. } => {
                let transfers = self.transfers.remove(step).unwrap_or_default();
                let statuses = transfers
                    .iter()
                    .map(|transfer| self.status(*step, transfer, at, true))
                    .collect();
                self.tell(*step, true, statuses);
            }
            Event::Layer { step, .. } => self.tell(*step, false, Vec::new()),
            Event::Log {
                step,
                stream,
                bytes,
            } => self.log(at, *step, *stream, bytes),
            Event::Transfer {
                step,
                name,
                done,
                total,
            } => self.transfer(at, *step, name, *done, *total),
            Event::Planned { steps } => {
                self.write(&json!({"rbuild": {"version": VERSION, "planned": steps}}));
            }
            Event::Warning(text) => self.warning(text),
            // Told when the step ends.
            Event::Note { .. } => {}
        }
    }

    fn tick(&mut self, _now: Instant) {}

    fn end(&mut self, now: Instant, ending: &Ending) {
        let open: Vec<StepId> = self
            .record
            .steps
            .iter()
            .filter(|step| step.outcome.is_none())
            .map(|step| step.step)
            .collect();
        self.record.end(now.saturating_duration_since(self.began));
        for step in open {
            self.tell(step, true, Vec::new());
        }
        let result = json!({
            "outcome": if ending.error.is_none() { "done" } else { "failed" },
            "seconds": self.record.took.as_secs_f64(),
            "steps": self.record.steps.len(),
            "cached": self.record.count(|outcome| *outcome == Outcome::Cached),
            "image": ending.image,
            "names": ending.names,
            "error": ending.error,
        });
        self.write(&json!({"rbuild": {"version": VERSION, "result": result}}));
        let _reader_gone = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use rbuild::progress::Usage;

    use super::*;

    fn lines(events: &[Event]) -> Vec<Value> {
        let mut out = Vec::new();
        let start = Instant::now();
        let mut raw = Raw::new(&mut out, start);
        raw.began_at = Timestamp::UNIX_EPOCH;
        for (second, event) in (1..).zip(events) {
            raw.event(start + Duration::from_secs(second), event);
        }
        let ending = Ending {
            image: Some("sha256:1".to_owned()),
            ..Ending::default()
        };
        raw.end(start + Duration::from_secs(100), &ending);
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn started(step: u32, name: &str, inputs: &[u32]) -> Event {
        Event::Started {
            step: StepId(step),
            name: name.to_owned(),
            inputs: inputs.iter().map(|input| StepId(*input)).collect(),
            line: Some(3),
        }
    }

    #[test]
    fn a_step_is_told_in_buildkits_form_and_in_ours() {
        let lines = lines(&[
            started(1, "[a 1/2] FROM busybox", &[]),
            started(2, "[a 2/2] RUN make", &[1]),
            Event::Log {
                step: StepId(2),
                stream: Stream::Stderr,
                bytes: b"foo\n".to_vec(),
            },
            Event::Finished {
                step: StepId(2),
                outcome: Outcome::Done,
                took: Duration::from_millis(1500),
                layer: Some(Layer {
                    snapshot: 7,
                    parent: None,
                    bytes: 12,
                    diff_id: None,
                }),
                usage: Some(Usage {
                    cpu: Duration::from_millis(250),
                    memory_peak: 4096,
                }),
            },
            Event::Warning("mind".to_owned()),
        ]);
        let first = lines[0]["vertexes"][0]["digest"].clone();
        let second = lines[1]["vertexes"][0]["digest"].clone();
        assert_ne!(first, second);
        assert_eq!(lines[1]["vertexes"][0]["inputs"], json!([first]));
        assert_eq!(lines[1]["rbuild"]["step"]["stage"], "a");
        let log = json!({"vertex": second, "stream": 2, "data": "Zm9vCg==", "timestamp": "1970-01-01T00:00:03Z"});
        assert_eq!(lines[2], json!({"logs": [log]}));
        let vertex = json!({
            "digest": second, "inputs": [first], "name": "[a 2/2] RUN make",
            "started": "1970-01-01T00:00:02Z", "completed": "1970-01-01T00:00:03.5Z",
        });
        assert_eq!(lines[3]["vertexes"], json!([vertex]));
        let own = json!({
            "step": 2, "digest": second, "name": "[a 2/2] RUN make", "stage": "a", "line": 3,
            "inputs": [1], "outcome": "done", "cached": false, "seconds": 1.5, "reason": [],
            "layer": {"diffId": null, "bytes": 12},
            "usage": {"cpuSeconds": 0.25, "memoryPeakBytes": 4096},
        });
        assert_eq!(lines[3]["rbuild"], json!({"version": 1, "step": own}));
        assert_eq!(lines[4]["warnings"][0]["short"], "bWluZA==");
        // The first step never ended.
        assert_eq!(lines[5]["vertexes"][0]["error"], "context canceled");
        assert_eq!(lines[6]["rbuild"]["result"]["image"], "sha256:1");
    }

    #[test]
    fn transfers_are_statuses() {
        let transfer = |done| Event::Transfer {
            step: StepId(1),
            name: "x".to_owned(),
            done,
            total: Some(10),
        };
        let lines = lines(&[
            started(1, "ADD", &[]),
            transfer(5),
            transfer(10),
            Event::Finished {
                step: StepId(1),
                outcome: Outcome::Done,
                took: Duration::from_secs(3),
                layer: None,
                usage: None,
            },
        ]);
        let status = &lines[1]["statuses"][0];
        assert_eq!(
            (&status["id"], &status["current"]),
            (&json!("x"), &json!(5))
        );
        assert_eq!(status.get("completed"), None);
        assert_eq!(lines[3]["statuses"][0]["completed"], "1970-01-01T00:00:04Z");
    }

    #[test]
    fn the_same_step_twice_has_two_digests_and_the_same_in_the_next_build() {
        let digests = || {
            let lines = lines(&[started(1, "a", &[]), started(2, "a", &[])]);
            let digest = |line: &Value| line["vertexes"][0]["digest"].clone();
            (digest(&lines[0]), digest(&lines[1]))
        };
        let (first, second) = digests();
        assert_ne!(first, second);
        assert_eq!((first, second), digests());
    }
}
