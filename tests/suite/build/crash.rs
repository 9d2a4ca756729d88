//! Builds killed at any moment: the store stays whole, and the next build works.

use std::time::{Duration, Instant};

use super::{Project, RUNS, needs};

/// How many builds are killed, unless `RBUILD_CRASH_ROUNDS` says otherwise.
const ROUNDS: u32 = 25;
const FILES: u32 = 200;
const DOCKERFILE: &str = "FROM busybox AS one
COPY src /src
RUN cat /src/* > /all && touch /unused && rm /unused
FROM busybox
WORKDIR /w
COPY --from=one /all ./
COPY src/7 ./
RUN sha256sum all > sum && cp 7 again
";

fn rounds() -> u32 {
    let asked = std::env::vars_os().find(|(name, _)| name == "RBUILD_CRASH_ROUNDS");
    asked.map_or(ROUNDS, |(_, rounds)| {
        rounds.to_str().unwrap().parse().unwrap()
    })
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn killed_builds_leave_a_whole_store() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(DOCKERFILE);
    for at in 0..FILES {
        project.file(&format!("src/{at}"), format!("{at}\n").repeat(100));
    }
    let began = Instant::now();
    project.build(&[]);
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    let mut numbers = Numbers(0x5eed);
    for round in 0..rounds() {
        let changed = numbers.below(FILES.into());
        project.file(&format!("src/{changed}"), format!("{round} {changed}\n"));
        project.file("src/7", format!("{round}\n"));
        let delay = Duration::from_micros(numbers.below(whole));
        let networks: &[&str] = if round % 5 == 0 {
            &["--network=default"]
        } else {
            &[]
        };
        let mut child = project.start(networks);
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        project.home().run(&["images"]).ok();
        project.assert_quiet();
        project.assert_valid();
        project.try_build(&[]).ok();
        let tree = project.tree();
        assert_eq!(tree.text("w/all"), expected(&project), "round {round}");
        assert_eq!(tree.text("w/again"), format!("{round}\n"), "round {round}");
    }
    project.home().run(&["builder", "prune", "-af"]).ok();
    project.assert_tidy();
    project.build(&[]);
}

/// What `cat /src/*` prints.
fn expected(project: &Project) -> String {
    let dir = project.context().join("src");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let texts = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    texts.collect()
}
