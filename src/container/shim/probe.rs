//! Probing the container's health with a further program in it.

use std::time::{Duration, Instant};

use super::super::health::{self, Health, HealthState, OUTPUT_LIMIT, ProbeResult};
use super::super::request::Request;
use super::super::signal::SIGKILL;
use super::super::{exec, now};
use super::run::Kept;
use crate::oci::Healthcheck;

/// When the next probe is due, or the one that runs.
#[derive(Debug)]
pub(super) struct Probe {
    check: Healthcheck,
    started: Instant,
    next: Instant,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    session: u64,
    began: i64,
    until: Instant,
    late: bool,
    output: Vec<u8>,
}

impl Probe {
    /// The probe of a container that was just started, if it has one.
    pub(super) fn new(request: &Request) -> Option<Self> {
        let check = request.probe()?.clone();
        let started = Instant::now();
        let pause = health::pause(&check, Health::Starting, Duration::ZERO);
        Some(Self {
            check,
            started,
            next: started + pause,
            current: None,
        })
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Instant {
        match &self.current {
            Some(current) if current.late => current.until + Duration::from_mins(1),
            Some(current) => current.until,
            None => self.next,
        }
    }

    /// Takes in what a program wrote, if it is the probe.
    pub(super) fn hear(&mut self, session: u64, bytes: &[u8]) {
        if let Some(current) = &mut self.current
            && current.session == session
        {
            let room = OUTPUT_LIMIT.saturating_sub(current.output.len());
            current.output.extend(bytes.iter().take(room));
        }
    }

    /// Waits a whole interval from now: time in a pause does not count.
    pub(super) fn postpone(&mut self) {
        let pause = health::pause(&self.check, Health::Healthy, Duration::ZERO);
        self.next = Instant::now() + pause;
    }
}

impl Kept {
    /// Starts a probe that is due, and ends one that takes too long.
    pub(super) fn look_at_health(&mut self, at: Instant) {
        let running = self.state.status == super::super::record::Status::Running;
        let Some(probe) = self
            .probe
            .as_mut()
            .filter(|probe| running && probe.deadline() <= at)
        else {
            return;
        };
        if let Some(current) = &mut probe.current {
            current.late = true;
            let session = current.session;
            if let Some(session) = self.sessions.get(&session) {
                // Its end is told like any other.
                let _gone = session.signal(SIGKILL);
            }
            return;
        }
        let until = at + health::timeout(&probe.check);
        let began = now();
        let order = exec::probe_order(
            &self.record.request,
            &probe.check,
            &self.order,
            self.dir.id(),
        );
        match self.start_further(&order) {
            Ok(session) => {
                if let Some(probe) = &mut self.probe {
                    probe.current = Some(Current {
                        session,
                        began,
                        until,
                        late: false,
                        output: Vec::new(),
                    });
                }
            }
            Err(error) => self.note_health(ProbeResult {
                start: began,
                end: now(),
                code: -1,
                output: error.chain(),
            }),
        }
    }

    /// A further program ended; if it was the probe, its result counts.
    pub(super) fn probe_ended(&mut self, session: u64, code: i32) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        let Some(current) = probe.current.take_if(|current| current.session == session) else {
            return;
        };
        let mut result = ProbeResult {
            start: current.began,
            end: now(),
            code,
            output: String::from_utf8_lossy(&current.output).into_owned(),
        };
        if current.late {
            let timeout = health::timeout(&probe.check);
            result.code = -1;
            result.output = format!(
                "Health check exceeded timeout ({timeout:?}): {}",
                result.output
            );
        }
        self.note_health(result);
    }

    fn note_health(&mut self, result: ProbeResult) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        let age = probe.started.elapsed();
        let within_start = health::is_within_start(&probe.check, age);
        let health = self.state.health.get_or_insert_with(HealthState::starting);
        let changed = health.add(result, &probe.check, within_start);
        let status = health.status;
        probe.next = Instant::now() + health::pause(&probe.check, status, age);
        // The next probe writes it again.
        let _kept = self.dir.write_state(&self.state);
        if changed {
            self.note(&format!("health_status: {}", status.text()), &[]);
        }
    }
}
