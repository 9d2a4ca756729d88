//! Flags that no story needs: what was asked for is what the program gets, or
//! what `inspect` keeps of it.

use serde_json::{Value, json};

use super::base::{exec, home, inspect, of, until, up};
use crate::support::{Home, Outcome};

/// Runs a line of words, and after them words that may have spaces.
fn line(home: &Home, line: &str, more: &[&str]) -> Outcome {
    let words: Vec<&str> = line.split_whitespace().collect();
    home.run(&[&words[..], more].concat())
}

/// Compares members of a document with what they should be.
#[track_caller]
fn holds(document: &Value, wanted: &[(&str, Value)]) {
    for (pointer, value) in wanted {
        let have = document.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(have, value, "{pointer}");
    }
}

#[test]
fn the_program_finds_itself_as_asked() {
    let Some(home) = home() else { return };
    let variables = home.file("variables", "# none\nONE=1\nTWO=a b\n");
    let labels = home.file("labels", "x=1\ny\n");
    let cid = home.scratch().join("cid");
    let script = "echo $ONE-$TWO; pwd; id; grep db /etc/hosts; touch /x; \
                  df -k /dev/shm | tail -1; ulimit -n; ulimit -Hn; \
                  cat /proc/sys/kernel/msgmax; grep CapBnd /proc/self/status";
    let run = format!(
        "run --name aa --net none -q --pull never --env-file {} --label-file {} --cidfile {} \
         --group-add 4 -u 1:2 -w /made/here --add-host db:10.1.2.3 --read-only --shm-size 8m \
         --ulimit nofile=77:88 --sysctl kernel.msgmax=4096 --cap-drop ALL --cap-add CHOWN \
         --cgroupns private --userns host --entrypoint sh busybox -c",
        variables.display(),
        labels.display(),
        cid.display()
    );
    let ran = line(&home, &run, &[script]);
    let text = ran.ok();
    for part in [
        "1-a b\n/made/here\nuid=1(",
        "gid=2(",
        "groups=",
        "10.1.2.3\tdb",
        " 8192 ",
        "\n77\n88\n4096\n",
        "CapBnd:\t0000000000000001",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    let id = std::fs::read_to_string(&cid).unwrap();
    holds(
        &inspect(&home, "aa"),
        &[
            ("/Id", json!(id)),
            ("/Config/Labels/x", json!("1")),
            // A name alone is taken from an environment that labels do not have.
            ("/Config/Labels/y", json!(null)),
            ("/HostConfig/ShmSize", json!(8 << 20)),
            ("/HostConfig/ReadonlyRootfs", json!(true)),
            ("/HostConfig/GroupAdd", json!(["4"])),
            ("/HostConfig/UsernsMode", json!("host")),
            ("/HostConfig/CgroupnsMode", json!("private")),
            ("/HostConfig/CapDrop", json!(["ALL"])),
            ("/HostConfig/Sysctls/kernel.msgmax", json!("4096")),
        ],
    );
    line(&home, &run, &["true"]).fails(125, "container ID file found");
}

#[test]
fn only_the_streams_that_were_asked_for_are_shown() {
    let Some(home) = home() else { return };
    let script = "echo out; echo err >&2; exit 3";
    let run = "run --rm --net none -a";
    let out = line(&home, run, &["stdout", "busybox", "sh", "-c", script]);
    assert_eq!((out.code, out.text(), out.stderr.as_str()), (3, "out", ""));
    let err = line(&home, run, &["STDERR", "busybox", "sh", "-c", script]);
    assert_eq!((err.text(), err.stderr.as_str()), ("", "err\n"));
    up(&home, "aa", &["-i"], "read x; echo got $x; exit 4");
    // Nothing of this is the program's input, which stays open.
    let mut without = home.command(&["attach", "--no-stdin", "--sig-proxy=false", "aa"]);
    without.stdin(std::process::Stdio::null());
    without.stdout(std::process::Stdio::piped());
    let listening = without.spawn().unwrap();
    let typed = home.run_with(&["attach", "aa"], b"word\n");
    assert_eq!((typed.code, typed.text()), (4, "got word"));
    // It may have come too late to hear of it.
    listening.wait_with_output().unwrap();
}

#[test]
fn limits_that_few_machines_have_are_kept() {
    let Some(home) = home() else { return };
    // Any block device will do: nothing is started.
    let known = std::fs::read_dir("/sys/class/block").unwrap().flatten();
    let paths = known.map(|entry| format!("/dev/{}", entry.file_name().display()));
    let device = paths
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let device = device.unwrap_or_else(|| "/dev/sda".to_owned());
    let create = format!(
        "create --name aa --memory 64m --memory-swappiness 10 --memory-reservation 32m \
         --oom-kill-disable --pids-limit 50 --cpu-period 50000 --cpu-quota 25000 \
         --cpuset-mems 0 --cpu-rt-period 1000000 --cpu-rt-runtime 0 \
         --blkio-weight-device {device}:200 --device-read-bps {device}:1mb \
         --device-write-bps {device}:2mb --device-read-iops {device}:30 \
         --device-write-iops {device}:40 --cgroup-parent /of-a-test \
         --domainname example.test busybox"
    );
    line(&home, &create, &[]).ok();
    let rate = |rate: u64| json!([{"Path": device, "Rate": rate}]);
    let weight = json!([{"Path": device, "Weight": 200}]);
    holds(
        &inspect(&home, "aa"),
        &[
            ("/HostConfig/MemorySwappiness", json!(10)),
            ("/HostConfig/MemoryReservation", json!(32 << 20)),
            ("/HostConfig/OomKillDisable", json!(true)),
            ("/HostConfig/PidsLimit", json!(50)),
            ("/HostConfig/CpuPeriod", json!(50000)),
            ("/HostConfig/CpuQuota", json!(25000)),
            ("/HostConfig/CpusetMems", json!("0")),
            ("/HostConfig/CpuRealtimePeriod", json!(1_000_000)),
            ("/HostConfig/BlkioWeightDevice", weight),
            ("/HostConfig/BlkioDeviceReadBps", rate(1 << 20)),
            ("/HostConfig/BlkioDeviceWriteBps", rate(2 << 20)),
            ("/HostConfig/BlkioDeviceReadIOps", rate(30)),
            ("/HostConfig/BlkioDeviceWriteIOps", rate(40)),
            ("/HostConfig/CgroupParent", json!("/of-a-test")),
            ("/Config/Domainname", json!("example.test")),
        ],
    );
    let update = "update --cpu-period 100000 --cpu-quota 50000 --cpu-shares 512 --cpuset-cpus 0 \
                  --cpuset-mems 0 --memory-reservation 16m --cpu-rt-period 1000000 \
                  --cpu-rt-runtime 0 --blkio-weight 300 aa";
    line(&home, update, &[]).ok();
    holds(
        &inspect(&home, "aa"),
        &[
            ("/HostConfig/CpuQuota", json!(50000)),
            ("/HostConfig/CpuShares", json!(512)),
            ("/HostConfig/CpusetCpus", json!("0")),
            ("/HostConfig/MemoryReservation", json!(16 << 20)),
            ("/HostConfig/BlkioWeight", json!(300)),
        ],
    );
}

#[test]
fn health_is_asked_for_in_all_its_numbers() {
    let Some(home) = home() else { return };
    let create = "create --name aa --health-cmd true --health-interval 1m --health-timeout 2s \
                  --health-retries 7 --health-start-period 3s --health-start-interval 1s busybox";
    line(&home, create, &[]).ok();
    let second = 1_000_000_000_u64;
    holds(
        &of(&home, "aa", "/Config/Healthcheck"),
        &[
            ("/Test", json!(["CMD-SHELL", "true"])),
            ("/Interval", json!(60 * second)),
            ("/Timeout", json!(2 * second)),
            ("/Retries", json!(7)),
            ("/StartPeriod", json!(3 * second)),
            ("/StartInterval", json!(second)),
        ],
    );
}

/// The first three numbers of a network that this machine has no route to.
fn free_subnet() -> String {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    let taken = |third: u8| routes.contains(&format!("{third:02X}F00A"));
    let number = u8::try_from(std::process::id() % 200).unwrap();
    let third = (number..=255).find(|third| !taken(*third)).unwrap();
    format!("10.240.{third}")
}

#[test]
fn networks_are_made_and_joined_as_asked() {
    let Some(home) = home() else { return };
    let net = free_subnet();
    let create = format!(
        "network create -d bridge --subnet {net}.0/24 --gateway {net}.7 --ip-range {net}.128/25 \
         --aux-address h={net}.200 --ipv6 --subnet fd5a:1::/64 --ipv4=true --attachable \
         --ipam-driver default --ipam-opt a=b --scope local --label k=v \
         -o com.docker.network.driver.mtu=1400 net"
    );
    line(&home, &create, &[]).ok();
    let shown = line(&home, "network inspect --verbose net", &[]);
    let shown: Value = serde_json::from_str(shown.ok()).unwrap();
    holds(
        &shown[0],
        &[
            ("/IPAM/Config/0/Gateway", json!(format!("{net}.7"))),
            ("/IPAM/Config/0/IPRange", json!(format!("{net}.128/25"))),
            ("/EnableIPv6", json!(true)),
            ("/Attachable", json!(true)),
            ("/Labels/k", json!("v")),
        ],
    );
    let address = |name: &str| of(&home, name, "/NetworkSettings/Networks/net/IPAddress");
    let run = "run -d --init --network net --name aa busybox sleep 600";
    line(&home, run, &[]).ok();
    // One of the range, as nothing else was asked for.
    let first = address("aa").as_str().unwrap().to_owned();
    let last: u8 = first.rsplit('.').next().unwrap().parse().unwrap();
    assert!(last >= 128, "{first}");
    let run = format!(
        "run -d --init --name bb --network net --ip {net}.9 --ip6 fd5a:1::9 \
         --mac-address 02:42:0a:00:00:09 --link-local-ip 169.254.7.9 --network-alias nick \
         busybox sleep 600"
    );
    line(&home, &run, &[]).ok();
    let shown = exec(&home, "bb", "ip a show eth0");
    for part in [
        &format!("{net}.9"),
        "fd5a:1::9",
        "02:42:0a:00:00:09",
        "mtu 1400",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let connect = format!(
        "network connect --ip {net}.10 --ip6 fd5a:1::10 --alias see --link bb:bee \
         --link-local-ip 169.254.7.10 --driver-opt x=y --gw-priority 1 net"
    );
    line(&home, "run -d --init --name cc busybox sleep 600", &[]).ok();
    line(&home, &connect, &["cc"]).ok();
    assert_eq!(address("cc"), json!(format!("{net}.10")));
    let found = exec(&home, "aa", "ping -c1 -W9 see > /dev/null && echo yes");
    assert_eq!(found, "yes");
    line(&home, "network disconnect --force net cc", &[]).ok();
    assert_eq!(address("cc"), Value::Null);
}

#[test]
fn names_are_asked_where_it_was_said() {
    let Some(home) = home() else { return };
    let run = "run -d --init --name aa --dns 10.9.8.7 --dns-search corp.test \
               --dns-option ndots:3 --expose 4711 -P busybox sleep 600";
    line(&home, run, &[]).ok();
    let file = exec(&home, "aa", "cat /etc/resolv.conf");
    for part in ["nameserver 10.9.8.7", "search corp.test", "options ndots:3"] {
        assert!(file.contains(part), "{part} in {file}");
    }
    let port = line(&home, "port aa 4711/tcp", &[]);
    assert!(port.ok().starts_with("0.0.0.0:"), "{port:?}");
    line(&home, "run --dns x busybox", &[]).fails(125, "IP address is not correctly formatted: x");
}

#[test]
fn verbs_take_all_their_flags() {
    let Some(home) = home() else { return };
    let trap = "trap 'exit 9' INT; while :; do sleep 0.1; done";
    up(&home, "aa", &["-u", "1"], trap);
    let script = "id -u; grep CapEff /proc/self/status";
    let plain = "exec -u 0 --detach-keys ctrl-a aa sh -c";
    let plain = line(&home, plain, &[script]).ok().to_owned();
    let more = line(&home, "exec --privileged --user 0 aa sh -c", &[script]);
    assert!(plain.starts_with("0\n") && more.ok().starts_with("0\n"));
    assert_ne!(plain, more.text());
    for listing in ["ps -n 1", "container ls --last=1"] {
        assert_eq!(line(&home, listing, &[]).ok().lines().count(), 2);
    }
    line(&home, "restart -s INT -t 60 aa", &[]).ok();
    line(&home, "start --detach-keys ctrl-b aa", &[]).ok();
    line(&home, "stop --signal INT -t 60 aa", &[]).ok();
    assert_eq!(of(&home, "aa", "/State/ExitCode"), 9);
    for size in ["inspect -s -f", "container inspect --size -f"] {
        let size = line(&home, size, &["{{.SizeRw}}", "aa"]);
        size.ok().parse::<u64>().unwrap();
    }
    let stats = line(&home, "stats -a --no-stream --no-trunc", &[]);
    let id = of(&home, "aa", "/Id");
    assert!(stats.ok().contains(id.as_str().unwrap()), "{stats:?}");
    let run = "run --rm --net none --privileged --detach-keys ctrl-c busybox";
    line(&home, run, &["mount", "-t", "tmpfs", "t", "/tmp"]).ok();
    // As Go's flags, values may begin with a dash.
    let run = "run --rm --net none -e -x=1 -h -y busybox hostname";
    assert_eq!(line(&home, run, &[]).ok(), "-y");
    line(&home, "run", &[]).fails(1, "");
}

#[test]
fn verbs_on_images_take_all_their_flags() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    let id = line(&home, "commit --pause=false -m x aa made", &[]);
    assert!(id.ok().starts_with("sha256:"));
    let history = line(&home, "history -H=false --no-trunc made", &[]);
    assert!(history.ok().contains("CREATED AT") && !history.text().contains('…'));
    let first = line(&home, "history -q --no-trunc made", &[]);
    assert_eq!(first.ok().lines().next(), Some(id.text()));
    line(&home, "rmi --no-prune made", &[]).ok();
    let gone = || line(&home, "images -q made", &[]).ok().is_empty();
    until("no image", gone);
    // Signatures of a kind that is gone are neither asked for nor made.
    for verb in ["pull", "push"] {
        let words = [verb, "--disable-content-trust", "localhost:1/busybox"];
        home.run(&words).fails(1, "");
    }
}
