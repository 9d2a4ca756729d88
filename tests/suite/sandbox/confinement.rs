//! What a program may not do.

use rbuild::sandbox::{Exit, NetworkNamespace, Seccomp};

use super::base::{Base, bind, run};

const DEFAULT_SET: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

fn capability_lines(base: &Base, change: impl FnOnce(&mut rbuild::sandbox::Spec)) -> Vec<String> {
    let mut spec = base.script("grep -E '^Cap' /proc/self/status");
    change(&mut spec);
    let outcome = run(&spec).unwrap();
    outcome
        .ok()
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn capabilities_are_dockers() {
    let Some(base) = Base::new() else { return };
    // Inheritable, permitted, effective, bounding, ambient.
    assert_eq!(
        capability_lines(&base, |_| ()),
        [NONE, DEFAULT_SET, DEFAULT_SET, DEFAULT_SET, NONE]
    );
    assert_eq!(
        capability_lines(&base, |spec| spec.uid = 1000),
        [NONE, NONE, NONE, DEFAULT_SET, NONE]
    );
    assert_eq!(
        capability_lines(&base, |spec| spec.capabilities.clear()),
        [NONE; 5]
    );
}

#[test]
fn the_filter_and_new_privileges_are_as_wanted() {
    let Some(base) = Base::new() else { return };
    let state = |change: &dyn Fn(&mut rbuild::sandbox::Spec)| {
        let mut spec = base.script("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status");
        change(&mut spec);
        let outcome = run(&spec).unwrap();
        outcome
            .ok()
            .replace("NoNewPrivs:\t", "")
            .replace("\nSeccomp:\t", " ")
    };
    assert_eq!(state(&|_| ()), "0 2");
    assert_eq!(state(&|spec| spec.seccomp = Seccomp::Unconfined), "0 0");
    assert_eq!(state(&|spec| spec.no_new_privileges = true), "1 2");
    assert_eq!(
        state(&|spec| (spec.uid, spec.no_new_privileges) = (7, true)),
        "1 2"
    );
    assert_eq!(state(&|spec| spec.uid = 7), "0 2");
    assert_eq!(state(&|spec| spec.capabilities.clear()), "0 2");
}

#[test]
fn namespaces_and_mounts_are_out_of_reach() {
    let Some(base) = Base::new() else { return };
    for command in [
        "unshare -m true",
        "unshare -U true",
        "mount -t tmpfs t /tmp",
        "umount /proc",
    ] {
        let outcome = run(&base.script(command)).unwrap();
        assert_ne!(outcome.exit, Exit::Code(0), "{command}");
        let refused = ["not permitted", "permission denied"];
        assert!(
            refused.iter().any(|text| outcome.stderr.contains(text)),
            "{outcome:?}"
        );
    }
}

/// Runs inside of sandboxes, called by name from the tests below.
#[test]
#[ignore = "part of another test"]
#[allow(unsafe_code, reason = "system calls that no library makes")]
fn probe() {
    let call = |number, arguments: [i64; 3]| {
        // SAFETY: the pointers among the arguments are null; the kernel refuses or
        // ignores them.
        let result = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2]) };
        if result < 0 {
            std::io::Error::last_os_error().raw_os_error().unwrap()
        } else {
            0
        }
    };
    let threads = std::thread::spawn(|| 7).join().unwrap();
    println!(
        "clone3={} keyctl={} bpf={} alg={} vsock={} inet={} threads={threads}",
        call(libc::SYS_clone3, [0, 0, 0]),
        call(libc::SYS_keyctl, [0, -3, 0]),
        call(libc::SYS_bpf, [0, 0, 0]),
        call(libc::SYS_socket, [38, 5, 0]),
        call(libc::SYS_socket, [40, 1, 0]),
        call(libc::SYS_socket, [2, 1, 0]),
    );
}

#[test]
fn refused_calls_answer_as_under_docker() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.spec(&[
        "/probe",
        "--exact",
        "sandbox::confinement::probe",
        "--ignored",
        "--nocapture",
    ]);
    let itself = std::env::current_exe().unwrap();
    spec.mounts.push(bind(&itself, "/probe", true));
    let outcome = run(&spec).unwrap();
    let expected = "clone3=38 keyctl=1 bpf=1 alg=1 vsock=1 inet=0 threads=7";
    assert!(outcome.ok().contains(expected), "{outcome:?}");
}

#[test]
fn masked_paths_are_empty_and_kernel_settings_read_only() {
    let Some(base) = Base::new() else { return };
    let hidden = base.sh(
        "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do \
         [ -e $f ] && head -c 10 $f | wc -c; done; \
         for d in /proc/acpi /proc/scsi /sys/firmware; do [ -d $d ] && ls -A $d | wc -l; done; true",
    );
    assert!(!hidden.is_empty());
    assert!(hidden.lines().all(|line| line.trim() == "0"), "{hidden}");
    for write in [
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /sys/kernel/profiling",
        "mkdir /sys/fs/cgroup/x",
    ] {
        let outcome = run(&base.script(write)).unwrap();
        assert_ne!(outcome.exit, Exit::Code(0), "{write}");
    }
    let mut spec = base.script("head -c 1 /proc/interrupts | wc -c");
    spec.mask_paths = false;
    assert_eq!(run(&spec).unwrap().ok(), "1");
}

#[test]
fn device_nodes_made_inside_do_not_work() {
    let Some(base) = Base::new() else { return };
    let volume = base.top.join("volume");
    std::fs::create_dir(&volume).unwrap();
    // A harmless device stands for a disk.
    let try_all = "for f in /null /dev/x /vol/null /dev/shm/null; do \
        rm -f $f; mknod $f c 1 3 && { true > $f; } 2>/dev/null && echo opened $f; done; \
        echo > /dev/null && head -c 3 /dev/zero | wc -c";
    let mut spec = base.script(try_all);
    spec.mounts.push(bind(&volume, "/vol", false));
    assert_eq!(run(&spec).unwrap().ok(), "3");
    spec.capabilities.push(21);
    let outcome = run(&spec).unwrap();
    assert!(outcome.ok().contains("opened /null"), "{outcome:?}");
}

#[test]
fn a_device_that_is_named_works() {
    let Some(base) = Base::new() else { return };
    let mut spec = base.script("head -c 3 /dev/mine | wc -c");
    spec.mounts
        .push(bind("/dev/zero".as_ref(), "/dev/mine", false));
    assert_eq!(run(&spec).unwrap().ok(), "3");
}

#[test]
fn no_signal_is_ignored_or_blocked() {
    let Some(base) = Base::new() else { return };
    // Asked of a program that is no shell: shells change their own.
    let spec = base.spec(&["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    let outcome = run(&spec).unwrap();
    let none = "0000000000000000";
    for line in outcome.ok().lines() {
        assert!(line.ends_with(none), "{line}");
    }
}

#[test]
fn no_descriptor_of_the_host_is_left() {
    let Some(base) = Base::new() else { return };
    // 3 is the directory being listed.
    assert_eq!(base.sh("ls /proc/self/fd").replace('\n', " "), "0 1 2 3");
    let links = base.sh("readlink /proc/1/exe; readlink /proc/1/cwd; readlink /proc/1/root");
    assert_eq!(links, "/bin/busybox\n/\n/");
}

#[test]
fn processes_networks_and_names_are_the_sandboxs_own() {
    let Some(base) = Base::new() else { return };
    assert_eq!(base.sh("echo $$; ps | wc -l").lines().next(), Some("1"));
    let links = base.sh("ip -o link; cat /proc/sys/kernel/hostname");
    assert!(links.contains("lo:") && links.contains("UP"), "{links}");
    assert_eq!(links.lines().count(), 2, "{links}");
    let mut spec = base.script("readlink /proc/self/ns/net; readlink /proc/self/ns/uts");
    spec.network = NetworkNamespace::Host;
    spec.hostname = None;
    let outcome = run(&spec).unwrap();
    let inside: Vec<&str> = outcome.ok().lines().collect();
    for (inside, name) in inside.iter().zip(["net", "uts"]) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_eq!(**inside, *host.to_str().unwrap());
    }
}

#[test]
fn a_passed_network_namespace_is_joined() {
    let Some(base) = Base::new() else { return };
    let (namespace, name) =
        rbuild::sys::netns::create(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap())
            .unwrap();
    let mut spec = base.script("readlink /proc/self/ns/net");
    spec.network = NetworkNamespace::Passed;
    let outcome = super::base::run_with(|stdio| {
        rbuild::sandbox::spawn(&spec, stdio, Some(std::os::fd::AsFd::as_fd(&namespace)))
    });
    assert_eq!(outcome.unwrap().ok(), name.to_str().unwrap());
}

#[test]
fn our_own_program_cannot_be_overwritten_from_inside() {
    let Some(base) = Base::new() else { return };
    // A script for the interpreter `/proc/self/exe` runs the program that starts
    // sandboxes, in there (CVE-2019-5736).
    let script = base.top.join("lower/bin/trap");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let mut spec = base.spec(&["trap"]);
    spec.capabilities.push(21);
    let before = std::fs::read(env!("CARGO_BIN_EXE_rbuild")).unwrap();
    let _whatever = run(&spec);
    // What is kept of it while it runs can never be written through.
    let running = super::base::start(&base.spec(&["sleep", "60"]));
    let init = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let parent = init
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t"))
        .unwrap();
    let mount = rustix::fs::statvfs(format!("/proc/{parent}/exe")).unwrap();
    let read_only = rustix::fs::StatVfsMountFlags::RDONLY;
    assert!(mount.f_flag.contains(read_only));
    assert!(before == std::fs::read(env!("CARGO_BIN_EXE_rbuild")).unwrap());
}

#[test]
fn sysctls_of_the_host_are_refused() {
    let Some(base) = Base::new() else { return };
    let mut spec =
        base.script("cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start");
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    spec.sysctls = vec![
        set("kernel.msgmax", "12345"),
        set("net.ipv4.ip_unprivileged_port_start", "0"),
    ];
    assert_eq!(run(&spec).unwrap().ok(), "12345\n0");
    for name in [
        "vm.swappiness",
        "kernel.panic",
        "net/../vm.swappiness",
        "kernel.hostname",
    ] {
        spec.sysctls = vec![set(name, "1")];
        let err = run(&spec).unwrap_err();
        assert!(err.to_string().contains(name), "{err}");
    }
}
