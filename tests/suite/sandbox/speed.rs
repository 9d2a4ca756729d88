//! How long a sandbox takes: `cargo test --release --test suite -- --ignored speed --nocapture`.

use std::time::{Duration, Instant};

use super::base::{Base, start};

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[times.len() * part / 100];
    format!("p10 {:?}, median {:?}, p90 {:?}", at(10), at(50), at(90))
}

#[test]
#[ignore = "measures"]
fn speed_of_start_and_end() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.spec(&["true"]);
    for network in [
        rbuild::sandbox::NetworkNamespace::Host,
        rbuild::sandbox::NetworkNamespace::Isolated,
    ] {
        spec.network = network;
        let (mut starts, mut waits, mut ends, mut wholes) = (vec![], vec![], vec![], vec![]);
        for _ in 0..300 {
            let began = Instant::now();
            let mut running = start(&spec);
            let started = Instant::now();
            running.wait().unwrap();
            let ended = Instant::now();
            drop(running);
            starts.push(started - began);
            waits.push(ended - started);
            ends.push(ended.elapsed());
            wholes.push(began.elapsed());
        }
        println!("{network:?}: start {}", percentiles(starts));
        println!("{network:?}: wait  {}", percentiles(waits));
        println!("{network:?}: drop  {}", percentiles(ends));
        println!("{network:?}: whole {}", percentiles(wholes));
    }
}
