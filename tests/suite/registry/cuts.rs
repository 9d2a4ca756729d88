//! Connections that break at any byte, in both directions.

use super::SERVED;
use super::scene::{Scene, rounds, seed};
use crate::support::{Cut, Numbers, RegistryServer, Relay, needs};

/// How many transfers are cut in each direction, unless `RBUILD_CUT_ROUNDS` says otherwise.
const ROUNDS: u64 = 12;
/// The layers of each image; small ones are sent in another way than large ones.
const LAYERS: [usize; 4] = [3_000, 150_000, 400_000, 900_000];
/// What a transfer sends beside layers: heads, documents, attempts to speak TLS.
const BESIDE: u64 = 64 << 10;
/// What a connection that breaks may cost: a request, and what was on its way.
const EACH: u64 = 24 << 10;

/// Cuts most connections at a random byte: in what the client sends, or in what it gets.
fn cuts(relay: &Relay, seed: u64, most_up: u64, most_down: u64) {
    let mut numbers = Numbers::new(seed);
    relay.cut(move || {
        let (up, down) = (numbers.below(most_up), numbers.below(most_down));
        match numbers.below(10) {
            0..3 => None,
            3..6 => Some(Cut { up, down: u64::MAX }),
            _ => Some(Cut { up: u64::MAX, down }),
        }
    });
}

#[test]
fn pulls_go_on_where_they_were_cut() {
    if !needs(&SERVED) {
        return;
    }
    let (server, seed) = (RegistryServer::plain(), seed());
    let relay = Relay::to(server.host());
    let source = Scene::new();
    let direct = format!("{}/cut/pull:1", server.host());
    source.image(&direct, 10, &LAYERS);
    source.run(&["push", "-q", &direct]).ok();
    let whole: u64 = LAYERS.iter().map(|size| *size as u64).sum();
    let name = format!("{}/cut/pull:1", relay.host());
    let (mut failed, mut cut) = (0, 0);
    for round in 0..rounds("RBUILD_CUT_ROUNDS", ROUNDS) {
        let scene = Scene::new();
        relay.take_traffic();
        cuts(&relay, seed + round, 1_500, whole / 6);
        let outcome = scene.run(&["pull", "-q", &name]);
        let traffic = relay.take_traffic();
        cut += traffic.cut;
        relay.cut_nothing();
        let allowed = whole + BESIDE + EACH * traffic.cut;
        assert!(
            traffic.down <= allowed,
            "seed {seed}, round {round}: {traffic:?}, allowed {allowed}"
        );
        if outcome.code != 0 {
            failed += 1;
            outcome.fails(1, "Error: ");
            scene.assert_valid();
            scene.run(&["pull", "-q", &name]).ok();
        }
        assert_eq!(scene.assert_valid(), 1, "seed {seed}, round {round}");
        assert_eq!(
            scene.id(&name),
            source.id(&direct),
            "seed {seed}, round {round}"
        );
    }
    println!("seed {seed}: {cut} cuts, {failed} pulls needed a second command");
    assert!(cut > 0);
}

#[test]
fn pushes_arrive_whatever_is_cut() {
    if !needs(&SERVED) {
        return;
    }
    let (server, seed) = (RegistryServer::plain(), seed());
    let relay = Relay::to(server.host());
    let scene = Scene::new();
    let whole: u64 = LAYERS.iter().map(|size| *size as u64).sum();
    let (mut failed, mut cut) = (0, 0);
    for round in 0..rounds("RBUILD_CUT_ROUNDS", ROUNDS) {
        let name = format!("{}/cut/push{round}:1", relay.host());
        scene.image(&name, 100 + round, &LAYERS);
        relay.take_traffic();
        cuts(&relay, seed + round, whole / 2, 1_500);
        let outcome = scene.run(&["push", "-q", &name]);
        cut += relay.take_traffic().cut;
        relay.cut_nothing();
        if outcome.code != 0 {
            failed += 1;
            outcome.fails(1, "Error: ");
            scene.run(&["push", "-q", &name]).ok();
        }
        let other = Scene::new();
        other.run(&["pull", "-q", &name]).ok();
        assert_eq!(other.assert_valid(), 1, "seed {seed}, round {round}");
        assert_eq!(
            other.id(&name),
            scene.id(&name),
            "seed {seed}, round {round}"
        );
    }
    println!("seed {seed}: {cut} cuts, {failed} pushes needed a second command");
    assert!(cut > 0);
}
