//! Real servers together: nginx, Redis and PostgreSQL as somebody would run them, with
//! names, published ports, policies, health and volumes. The images are those of
//! [`apps`](crate::apps), built once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::apps::{App, runs};
use crate::support::{Home, Outcome};

/// How long a server may take; far more than any of them does.
const PATIENCE: Duration = Duration::from_mins(2);
const QUERY: [&str; 3] = ["psql", "-tAc", "select count(*), sum(moons) from planets"];

/// A network with servers on it. Dropping it removes them, their volumes and the network.
struct Shop {
    home: Arc<Home>,
    name: &'static str,
    containers: Vec<String>,
}

impl Shop {
    /// A network in the data root that has the images.
    #[track_caller]
    fn open(name: &'static str) -> Self {
        let apps = ["nginx", "redis", "postgres"].map(App::build);
        let home = Arc::clone(&apps[0].home);
        home.run(&["network", "create", name]).ok();
        Self {
            home,
            name,
            containers: Vec::new(),
        }
    }

    /// The name of a container or volume of this shop's.
    fn named(&self, short: &str) -> String {
        format!("{}-{short}", self.name)
    }

    /// Starts a server; the words follow `run -d`, with the image and its command last.
    #[track_caller]
    fn start(&mut self, short: &str, flags: &[&str], command: &[&str]) {
        let name = self.named(short);
        let alias = format!("--network=name={},alias={short}", self.name);
        let mut words = vec!["run", "-d", "--name", &name, &alias];
        words.extend(flags);
        words.extend(command);
        self.home.run(&words).ok();
        self.containers.push(name);
    }

    fn volume(&self, short: &str, target: &str) -> String {
        format!("-v={}:{target}", self.named(short))
    }

    fn exec(&self, short: &str, words: &[&str]) -> Outcome {
        let name = self.named(short);
        self.home.run(&[&["exec", &name], words].concat())
    }

    fn inspect(&self, short: &str, format: &str) -> String {
        let name = self.named(short);
        self.home
            .run(&["inspect", "-f", format, &name])
            .ok()
            .to_owned()
    }

    /// Runs a program until it says what it should.
    #[track_caller]
    fn says(&self, short: &str, words: &[&str], expected: &str) {
        self.until(&format!("{short} {words:?}"), || {
            let outcome = self.exec(short, words);
            outcome.code == 0 && outcome.text() == expected
        });
    }

    #[track_caller]
    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                let logs: Vec<_> = self
                    .containers
                    .iter()
                    .map(|name| self.home.run(&["logs", "--tail=20", name]))
                    .collect();
                panic!("waited too long for {what}: {logs:#?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[track_caller]
    fn is_healthy(&self, short: &str) {
        self.until("health", || {
            self.inspect(short, "{{.State.Health.Status}}") == "healthy"
        });
    }

    /// Sends bytes to a published port and reads up to the end, or to an answer of `enough` bytes.
    fn ask(&self, short: &str, port: &str, question: &[u8], enough: usize) -> String {
        let answer = || -> std::io::Result<String> {
            let name = self.named(short);
            let published = self.home.run(&["port", &name, port]);
            let address = published.text().to_owned();
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(question)?;
            let mut answer = Vec::new();
            let mut buffer = [0; 4096];
            while answer.len() < enough {
                match stream.read(&mut buffer)? {
                    0 => break,
                    count => answer.extend_from_slice(&buffer[..count]),
                }
            }
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        answer().unwrap_or_default()
    }

    /// A page with its head.
    fn get(&self, short: &str, path: &str) -> String {
        let question = format!("GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n");
        self.ask(short, "80", question.as_bytes(), usize::MAX)
    }

    /// Kills the first process of a server, and waits until its policy started it again.
    #[track_caller]
    fn kill(&self, short: &str) {
        let before = self.inspect(short, "{{.RestartCount}} {{.State.Pid}}");
        let pid = before.split(' ').nth(1).unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        self.until("the policy", || {
            let now = self.inspect(short, "{{.State.Running}} {{.RestartCount}} {{.State.Pid}}");
            now.starts_with("true ") && !now.ends_with(&before) && !now.ends_with(" 0")
        });
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for name in &self.containers {
            self.home.run(&["rm", "-f", "-v", name]);
        }
        for volume in ["data", "cache"] {
            self.home.run(&["volume", "rm", "-f", &self.named(volume)]);
        }
        self.home.run(&["network", "rm", self.name]);
    }
}

/// A site that passes everything on to `web`, wherever that is by now.
const FRONT: &str = "server {
    listen 80 default_server;
    resolver 127.0.0.11 valid=1s;
    location / {
        set $upstream http://web;
        proxy_pass $upstream;
        proxy_connect_timeout 2s;
    }
}
";

#[test]
fn servers_find_and_reach_each_other() {
    if !runs(&[]) {
        return;
    }
    let mut shop = Shop::open("meeting");
    let site = shop.home.file("meeting/front.conf", FRONT);
    let site = format!(
        "-v={}:/etc/nginx/sites-available/default:ro",
        site.display()
    );
    shop.start("web", &[], &["app-nginx"]);
    shop.start("front", &["-p=127.0.0.1::80", &site], &["app-nginx"]);
    shop.start("cache", &["-p=127.0.0.1::6379"], &["app-redis"]);
    shop.start("db", &["-p=127.0.0.1::5432"], &["app-postgres"]);
    // By name and by alias, within their network.
    let named = shop.named("db");
    for host in ["db", &named, &format!("{named}.meeting")] {
        let query = ["psql", "-h", host, "-U", "postgres", "-tAc", "select 1"];
        shop.says("db", &query, "1");
    }
    shop.says(
        "cache",
        &["redis-cli", "-h", "cache", "set", "k", "v"],
        "OK",
    );
    let named = shop.named("cache");
    shop.says("cache", &["redis-cli", "-h", &named, "get", "k"], "v");
    let redis = ["run", "--rm", "--network=meeting", "app-redis"];
    let asked = [&redis[..], &["redis-cli", "-h", "cache", "get", "k"]].concat();
    assert_eq!(shop.home.run(&asked).ok(), "v");
    // From the host, on published ports.
    shop.until("Redis on its port", || {
        shop.ask("cache", "6379", b"GET k\r\n", 7) == "$1\r\nv\r\n"
    });
    // An SSL request is answered with one letter once the server listens.
    shop.until("PostgreSQL on its port", || {
        matches!(
            shop.ask("db", "5432", &[0, 0, 0, 8, 4, 210, 22, 47], 1)
                .as_str(),
            "S" | "N"
        )
    });
    // One nginx in front of the other, which moves.
    let health = || shop.get("front", "/health").contains("well");
    shop.until("nginx through nginx", health);
    let address = format!("{{{{.NetworkSettings.Networks.{}.IPAddress}}}}", shop.name);
    let before = shop.inspect("web", &address);
    shop.home.run(&["restart", &shop.named("web")]).ok();
    assert_ne!(shop.inspect("web", &address), before);
    shop.until("nginx at another address", health);
    shop.until("all of its workers", || {
        (0..20).all(|_| shop.get("front", "/").contains("<h1>Served by nginx</h1>"))
    });
    shop.home.run(&["stop", &shop.named("web")]).ok();
    shop.until("the gap", || shop.get("front", "/").contains(" 502 "));
    shop.home.run(&["start", &shop.named("web")]).ok();
    shop.until("nginx again", health);
}

#[test]
fn servers_that_were_killed_come_back_with_their_data() {
    if !runs(&[]) {
        return;
    }
    let mut shop = Shop::open("crashes");
    let data = shop.volume("data", "/var/lib/postgresql/data");
    let cache = shop.volume("cache", "/var/lib/redis");
    let healthy = [
        "--health-cmd=pg_isready -q -h 127.0.0.1",
        "--health-interval=1s",
    ];
    let db = [
        &["--restart=always", "-p=127.0.0.1::5432", &data],
        &healthy[..],
    ]
    .concat();
    shop.start("db", &db, &["app-postgres"]);
    let keeping = [
        "app-redis",
        "redis-server",
        "/etc/redis/redis.conf",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    let flags = ["--restart=on-failure", "-p=127.0.0.1::6379", &cache];
    shop.start("cache", &flags, &keeping);
    let flags = ["--restart=unless-stopped", "-p=127.0.0.1::80"];
    shop.start("web", &flags, &["app-nginx"]);

    shop.is_healthy("db");
    let insert = "insert into planets values ('Jupiter', 95), ('Saturn', 146)";
    shop.exec("db", &["psql", "-qc", insert]).ok();
    shop.says("cache", &["redis-cli", "set", "k", "kept"], "OK");
    shop.until("nginx", || shop.get("web", "/health").contains("well"));
    for short in ["db", "cache", "web"] {
        shop.kill(short);
    }
    // What was committed is there, what was open is not.
    shop.says("db", &QUERY, "5|260");
    shop.until("the recovery's word", || {
        let logs = shop.home.run(&["logs", &shop.named("db")]);
        let all = format!("{}{}", logs.text(), logs.stderr);
        all.contains("automatic recovery in progress")
    });
    shop.says("cache", &["redis-cli", "get", "k"], "kept");
    shop.until("nginx on its port", || {
        shop.get("web", "/health").contains("well")
    });
    shop.until("Redis on its port", || {
        shop.ask("cache", "6379", b"GET k\r\n", 10) == "$4\r\nkept\r\n"
    });
    shop.is_healthy("db");
    // Stopped by somebody they stay stopped.
    for short in ["db", "cache", "web"] {
        shop.home.run(&["stop", &shop.named(short)]).ok();
        assert_eq!(
            shop.inspect(short, "{{.State.Status}}"),
            "exited",
            "{short}"
        );
    }
}

#[test]
fn a_database_outlives_its_container() {
    if !runs(&[]) {
        return;
    }
    let mut shop = Shop::open("archive");
    let data = shop.volume("data", "/var/lib/postgresql/data");
    let flags = [
        "--health-cmd=pg_isready -q -h 127.0.0.1",
        "--health-interval=1s",
        &data,
    ];
    shop.start("db", &flags, &["app-postgres"]);
    shop.is_healthy("db");
    let name = shop.named("db");
    assert!(shop.home.run(&["ps"]).ok().contains("(healthy)"));
    let insert = "insert into planets values ('Jupiter', 95)";
    shop.exec("db", &["psql", "-qc", insert]).ok();
    // Out and in again through pipes.
    let dump = shop.exec("db", &["pg_dump", "-t", "planets"]);
    assert!(dump.ok().contains("Jupiter\t95"));
    shop.exec("db", &["psql", "-qc", "drop table planets"]).ok();
    let load = ["exec", "-i", &name, "psql", "-q", "-v", "ON_ERROR_STOP=1"];
    shop.home.run_with(&load, &dump.stdout).ok();
    shop.says("db", &QUERY, "4|114");
    // A stop is by the image's signal, after which the server writes everything down.
    shop.home.run(&["stop", "-t", "60", &name]).ok();
    assert_eq!(shop.inspect("db", "{{.State.ExitCode}}"), "0");
    let logs = shop.home.run(&["logs", &name]);
    let logs = format!("{}{}", logs.text(), logs.stderr);
    for line in [
        "received fast shutdown request",
        "database system is shut down",
    ] {
        assert!(logs.contains(line), "{logs}");
    }
    shop.home.run(&["start", &name]).ok();
    shop.is_healthy("db");
    shop.exec(
        "db",
        &["psql", "-qc", "insert into planets values ('Saturn', 146)"],
    )
    .ok();
    // Removed in the middle of its work, with its anonymous volumes.
    shop.home.run(&["rm", "-f", "-v", &name]).ok();
    shop.start("db", &flags, &["app-postgres"]);
    shop.is_healthy("db");
    shop.says("db", &QUERY, "5|260");
}
