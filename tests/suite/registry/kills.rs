//! Pulls and pushes killed at any moment: the store stays whole, and the next
//! attempt works and uses what was complete.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rbuild::oci::Digest;

use super::SERVED;
use super::scene::{Scene, rounds, seed};
use crate::support::{Numbers, Outcome, RegistryServer, Relay, needs};

/// How many pulls, and how many pushes, are killed, unless `RBUILD_KILL_ROUNDS` says otherwise.
const ROUNDS: u64 = 12;
const LAYERS: [usize; 6] = [60_000, 90_000, 120_000, 150_000, 300_000, 500_000];
/// Bytes a second on each connection, so that a transfer takes a moment.
const PACE: u64 = 2_000_000;
/// What goes over the network beside layers.
const BESIDE: u64 = 64 << 10;

/// Starts a command and kills it after a part of the time that it takes as a whole.
fn kill(scene: &Scene, arguments: &[&str], after: Duration) -> bool {
    let mut command = scene.command(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(after);
    let went_on = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    went_on
}

fn timed(work: impl FnOnce() -> Outcome) -> u64 {
    let began = Instant::now();
    work().ok();
    u64::try_from(began.elapsed().as_micros()).unwrap()
}

/// The layers of an image, with their sizes.
fn layers(scene: &Scene, name: &str) -> Vec<(Digest, u64)> {
    let images = rbuild::image::find_all(&scene.store()).unwrap();
    let named = |names: &[String]| names.iter().any(|own| own == name);
    let image = images.into_iter().find(|(_, names)| named(names));
    let (image, _) = image.unwrap();
    let layers = image.manifest.layers.iter();
    layers.map(|layer| (layer.digest, layer.size)).collect()
}

#[test]
fn killed_pulls_leave_a_whole_store_and_what_was_complete() {
    if !needs(&SERVED) {
        return;
    }
    let (server, seed) = (RegistryServer::plain(), seed());
    let relay = Relay::to(server.host());
    let source = Scene::new();
    let direct = format!("{}/kill/pull:1", server.host());
    source.image(&direct, 20, &LAYERS);
    source.run(&["push", "-q", &direct]).ok();
    let name = format!("{}/kill/pull:1", relay.host());
    relay.pace(PACE);
    let first = Scene::new();
    let whole = timed(|| first.run(&["pull", "-q", &name]));
    let layers = layers(&first, &name);
    let mut numbers = Numbers::new(seed);
    let (mut killed, mut reused) = (0, 0);
    for round in 0..rounds("RBUILD_KILL_ROUNDS", ROUNDS) {
        let scene = Scene::new();
        // The store's own beginning is no part of what is looked at.
        scene.run(&["images"]).ok();
        let after = Duration::from_micros(numbers.below(whole));
        killed += u64::from(kill(&scene, &["pull", "-q", &name], after));
        scene.assert_valid();
        let store = scene.store();
        let there = layers
            .iter()
            .filter(|(digest, _)| store.blob_exists(*digest));
        let complete: u64 = there.map(|(_, size)| size).sum();
        reused += complete;
        relay.take_traffic();
        scene.run(&["pull", "-q", &name]).ok();
        let traffic = relay.take_traffic();
        let all: u64 = layers.iter().map(|(_, size)| size).sum();
        let allowed = all - complete + BESIDE;
        assert!(
            traffic.down <= allowed,
            "seed {seed}, round {round}: {traffic:?}, allowed {allowed}"
        );
        assert_eq!(scene.assert_valid(), 1, "seed {seed}, round {round}");
        assert_eq!(scene.id(&name), source.id(&direct));
    }
    println!("seed {seed}: {killed} pulls were killed, {reused} bytes came no second time");
}

#[test]
fn killed_pushes_leave_a_whole_store_and_what_was_complete() {
    if !needs(&SERVED) {
        return;
    }
    let (server, seed) = (RegistryServer::plain(), seed());
    let relay = Relay::to(server.host());
    relay.pace(PACE);
    let scene = Scene::new();
    let name = |round: u64| format!("{}/kill/push{round}:1", relay.host());
    scene.image(&name(1000), 1000, &LAYERS);
    let whole = timed(|| scene.run(&["push", "-q", &name(1000)]));
    let mut numbers = Numbers::new(seed);
    let (mut killed, mut reused) = (0, 0);
    for round in 0..rounds("RBUILD_KILL_ROUNDS", ROUNDS) {
        let name = name(round);
        scene.image(&name, 200 + round, &LAYERS);
        let after = Duration::from_micros(numbers.below(whole));
        killed += u64::from(kill(&scene, &["push", "-q", &name], after));
        scene.assert_valid();
        // What was under way when its sender went is dropped by the registry.
        std::thread::sleep(Duration::from_millis(50));
        let before = server.blobs();
        relay.take_traffic();
        scene.run(&["push", "-q", &name]).ok();
        let traffic = relay.take_traffic();
        scene.assert_valid();
        let other = Scene::new();
        other.run(&["pull", "-q", &name]).ok();
        assert_eq!(
            other.id(&name),
            scene.id(&name),
            "seed {seed}, round {round}"
        );
        let (there, missing): (Vec<_>, Vec<_>) = layers(&other, &name)
            .into_iter()
            .partition(|(digest, _)| before.contains(digest));
        let sum = |layers: &[(Digest, u64)]| layers.iter().map(|(_, size)| size).sum::<u64>();
        reused += sum(&there);
        let allowed = sum(&missing) + BESIDE;
        assert!(
            traffic.up <= allowed,
            "seed {seed}, round {round}: {traffic:?}, allowed {allowed}"
        );
    }
    println!("seed {seed}: {killed} pushes were killed, {reused} bytes went no second time");
}
