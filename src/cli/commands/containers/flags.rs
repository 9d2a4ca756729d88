//! The flags that `run` and `create` share, and the request that they mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild::engine::{
    ContainerRequest, DeviceRequest, DeviceWish, EndpointRequest, Engine, MountRequest,
    NetworkMode, RestartPolicy, Streams, is_device_name, parse_mac,
};
use rbuild::oci::Platform;

use super::life::{Life, Namespaces};
use super::parse;
use super::resources::{Further, Resources};
use crate::cli::report::Failure;
use crate::cli::{human, values};

/// Flags of `run` and `create`.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    pub(super) attach: Vec<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Name of the container
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Remove the container when it ends
    #[arg(long = "rm")]
    pub(super) remove: bool,
    /// Write the container's ID to this file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<PathBuf>,
    /// What to do about the image: always, missing, never
    #[arg(long, default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub(super) pull: String,
    /// Say nothing while pulling
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    resources: Resources,
    #[command(flatten)]
    further: Further,
    #[command(flatten)]
    security: Security,
    #[command(flatten)]
    life: Life,
    #[command(flatten)]
    namespaces: Namespaces,
    /// The platform of the image, where it has several
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<Platform>,
    /// The image, and the program with its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "IMAGE [COMMAND] [ARG...]"
    )]
    words: Vec<String>,
}

/// What runs.
#[derive(Debug, clap::Args)]
struct Program {
    /// Set a variable; a bare name takes its value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// The program instead of the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, and group after a colon, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// A further group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds to wait before killing it
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
}

/// How it is reached.
#[derive(Debug, clap::Args)]
struct Network {
    /// A network by name, bridge, host, none, container:NAME, or name=NET,alias=A,ip=IP
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK")]
    networks: Vec<String>,
    /// A further name on the first network
    #[arg(
        long = "network-alias",
        visible_alias = "net-alias",
        value_name = "NAME"
    )]
    aliases: Vec<String>,
    /// IPv4 address on the first network
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// IPv6 address on the first network
    #[arg(long, value_name = "IP")]
    ip6: Option<String>,
    /// Hardware address on the first network
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// A further address on the first network that holds on the link alone
    #[arg(long, value_name = "IP")]
    link_local_ip: Vec<String>,
    /// Publish a port: [[IP:][HOST_PORT]:]PORT[/PROTOCOL]
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish every exposed port on a free one
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Tell of a port
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// A name in /etc/hosts; the address may be `host-gateway`
    #[arg(long, value_name = "HOST:IP")]
    add_host: Vec<String>,
    /// Name server
    #[arg(long, value_name = "IP", value_parser = parse::name_server)]
    dns: Vec<String>,
    /// Search domain
    #[arg(long, value_name = "DOMAIN", value_parser = parse::domain)]
    dns_search: Vec<String>,
    /// Tell it of a running container: NAME[:ALIAS]
    #[arg(long, value_name = "CONTAINER")]
    link: Vec<String>,
    /// Resolver option
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
}

/// What it sees.
#[derive(Debug, clap::Args)]
struct Storage {
    /// Mount a directory of the host, or a volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// The long form: type=bind|volume|tmpfs,source=...,target=...
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Mount memory: TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// The mounts of another container too: NAME[:ro]
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// The driver of volumes by name; `local` is the only one
    #[arg(long, value_name = "DRIVER")]
    volume_driver: Option<String>,
    /// Options of the storage; there are none
    #[arg(long = "storage-opt", value_name = "KEY=VALUE", hide = true)]
    driver_options: Vec<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = human::parse_size)]
    shm_size: Option<u64>,
}

/// What it may use.
#[derive(Debug, clap::Args)]
struct Limits {
    /// Limit of a process: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Kernel setting: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::sysctl)]
    sysctl: Vec<(String, String)>,
}

/// What it may do.
#[derive(Debug, clap::Args)]
struct Security {
    /// Let it do nearly everything
    #[arg(long)]
    privileged: bool,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, label=..., systempaths=unconfined
    #[arg(long = "security-opt", value_name = "OPTION")]
    options: Vec<String>,
    /// Use a device of the host: DEVICE[:PATH][:rwm], or a vendor's: VENDOR/CLASS=NAME
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Use graphics processors: all, a number, or device=...,driver=...,capabilities=...
    #[arg(long, value_name = "GPUS")]
    gpus: Option<String>,
    /// Allow devices: TYPE MAJOR:MINOR ACCESS
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
}

impl Flags {
    /// The image as written.
    pub(super) fn image(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The streams of the first client; all of them unless some are named.
    pub(super) fn streams(&self) -> Result<Streams, String> {
        if self.attach.is_empty() {
            return Ok(Streams {
                stdin: self.interactive,
                stdout: true,
                stderr: true,
            });
        }
        let mut streams = Streams::default();
        for stream in &self.attach {
            match stream.to_ascii_lowercase().as_str() {
                "stdin" => streams.stdin = true,
                "stdout" => streams.stdout = true,
                "stderr" => streams.stderr = true,
                _ => {
                    return Err("valid streams are STDIN, STDOUT and STDERR".to_owned());
                }
            }
        }
        Ok(streams)
    }

    /// The request that the flags mean.
    pub(super) fn request(
        &self,
        engine: &Engine,
        streams: Streams,
    ) -> Result<ContainerRequest, String> {
        let environment = &engine.config().environment;
        let program = &self.program;
        let limits = &self.limits;
        self.life.check_isolation()?;
        self.storage.check()?;
        let mut resources = self.resources.limits(false);
        self.further.add_to(&mut resources)?;
        let mode = |text: &Option<String>| text.clone().unwrap_or_default();
        let directory = &engine.config().working_directory;
        Ok(ContainerRequest {
            image: self.image().to_owned(),
            name: self.name.clone().filter(|name| !name.is_empty()),
            entrypoint: program.entrypoint.clone().map(|word| vec![word]),
            command: Some(self.words[1..].to_vec()).filter(|words| !words.is_empty()),
            env: parse::variables(&program.env_file, &program.env, environment)?,
            labels: self.labels()?,
            hostname: program.hostname.clone().filter(|name| !name.is_empty()),
            user: program.user.clone().unwrap_or_default(),
            group_add: program.group_add.clone(),
            working_dir: program.workdir.clone().unwrap_or_default(),
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: self.interactive && streams.stdin,
            attach: [streams.stdin, streams.stdout, streams.stderr],
            mounts: self.mounts(directory)?,
            binds: self.storage.binds(directory),
            tmpfs: self.storage.tmpfs(),
            long_mounts: self.long_mounts(directory)?,
            read_only: self.storage.read_only,
            privileged: self.security.privileged,
            cap_add: self.security.cap_add.clone(),
            cap_drop: self.security.cap_drop.clone(),
            security_opt: parse::security_options(&self.security.options, directory)?,
            devices: self.devices()?,
            device_wishes: self.device_wishes()?,
            runtime: self.life.runtime.clone().unwrap_or_default(),
            device_rules: self.security.device_cgroup_rule.clone(),
            domain_name: program.domainname.clone().filter(|name| !name.is_empty()),
            init: self.life.init,
            restart: RestartPolicy::parse(&self.life.restart).map_err(|err| err.to_string())?,
            health: self.life.health()?,
            log: self.life.log(),
            annotations: self.life.annotation.iter().cloned().collect(),
            pid_mode: mode(&self.namespaces.pid),
            ipc_mode: mode(&self.namespaces.ipc),
            uts_mode: mode(&self.namespaces.uts),
            userns_mode: mode(&self.namespaces.userns),
            cgroupns_mode: mode(&self.namespaces.cgroupns),
            cgroup_parent: self
                .further
                .cgroup_parent
                .clone()
                .filter(|path| !path.is_empty()),
            oom_score_adj: self.further.oom_score_adj,
            resources,
            volumes_from: self.storage.volumes_from.clone(),
            cid_file: self
                .cidfile
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            ulimits: parse::ulimits(&limits.ulimit)?,
            sysctls: limits.sysctl.iter().cloned().collect(),
            shm_bytes: self
                .storage
                .shm_size
                .unwrap_or_else(|| ContainerRequest::default().shm_bytes),
            stop_signal: program.stop_signal.clone(),
            stop_timeout: program.stop_timeout,
            auto_remove: self.remove,
            ..self.reached(engine)?
        })
    }

    /// The part of the request about how the container is reached.
    fn reached(&self, engine: &Engine) -> Result<ContainerRequest, String> {
        Ok(ContainerRequest {
            network: self.network_mode()?,
            endpoints: self.endpoints()?,
            publish: self
                .network
                .publish
                .iter()
                .map(|text| parse::published(text))
                .collect(),
            publish_all: self.network.publish_all,
            expose: parse::exposed(&self.network.expose)?,
            links: self.network.link.clone(),
            extra_hosts: self.hosts(engine)?,
            dns: self.network.dns.clone(),
            dns_search: self.network.dns_search.clone(),
            dns_options: self.network.dns_option.clone(),
            ..ContainerRequest::default()
        })
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, String> {
        let mut labels = BTreeMap::new();
        for path in &self.program.label_file {
            // A name alone would be taken from the environment, which labels have none of.
            let lines = parse::lines(path)?;
            for line in lines.iter().filter(|line| line.contains('=')) {
                labels.extend([values::pair(line)?]);
            }
        }
        for text in &self.program.label {
            let empty = |_| format!("invalid label '{text}': empty name");
            labels.extend([values::pair(text).map_err(empty)?]);
        }
        Ok(labels)
    }

    fn devices(&self) -> Result<Vec<DeviceRequest>, String> {
        let devices = self.security.device.iter();
        let devices = devices.filter(|text| !is_device_name(text));
        let devices = devices.map(|text| DeviceRequest::parse(text).map_err(|err| err.to_string()));
        devices.collect()
    }

    /// Devices by number, then those that vendors named.
    fn device_wishes(&self) -> Result<Vec<DeviceWish>, String> {
        let gpus = self
            .security
            .gpus
            .as_deref()
            .filter(|text| !text.is_empty());
        let gpus = gpus.map(DeviceWish::parse).transpose();
        let mut wishes: Vec<DeviceWish> = gpus
            .map_err(|err| format!("invalid argument for \"--gpus\" flag: {err}"))?
            .into_iter()
            .collect();
        let named = self.security.device.iter();
        let named: Vec<String> = named.filter(|text| is_device_name(text)).cloned().collect();
        if !named.is_empty() {
            wishes.push(DeviceWish::by_name(named));
        }
        Ok(wishes)
    }

    fn network_mode(&self) -> Result<NetworkMode, String> {
        let first = self
            .network
            .networks
            .first()
            .map_or("bridge", String::as_str);
        let endpoint = EndpointRequest::parse(first).map_err(|err| err.to_string())?;
        NetworkMode::parse(&endpoint.network).map_err(|err| err.to_string())
    }

    /// The networks, with what is wanted of the first one; none for modes without a choice.
    fn endpoints(&self) -> Result<Vec<EndpointRequest>, String> {
        let flags = &self.network;
        let mut endpoints = Vec::new();
        for text in &flags.networks {
            let mut endpoint = EndpointRequest::parse(text).map_err(|err| err.to_string())?;
            let mode = NetworkMode::parse(&endpoint.network).map_err(|err| err.to_string())?;
            endpoint.network = mode.text();
            endpoints.push(endpoint);
        }
        if endpoints.is_empty() {
            endpoints.push(EndpointRequest {
                network: NetworkMode::Bridge.text(),
                ..EndpointRequest::default()
            });
        }
        let first = &mut endpoints[0];
        first.aliases.extend(flags.aliases.iter().cloned());
        for address in flags.ip.iter().chain(&flags.ip6) {
            first.set_address(address).map_err(|err| err.to_string())?;
        }
        for address in &flags.link_local_ip {
            let added = first.add_link_local(address);
            added.map_err(|err| err.to_string())?;
        }
        if let Some(mac) = &flags.mac_address {
            first.mac = Some(parse_mac(mac).map_err(|err| err.to_string())?);
        }
        if self.network_mode()?.text() == "bridge" && endpoints.len() == 1 {
            let plain = endpoints[0]
                == EndpointRequest {
                    network: "bridge".to_owned(),
                    ..EndpointRequest::default()
                };
            if plain {
                endpoints.clear();
            }
        }
        Ok(endpoints)
    }

    fn hosts(&self, engine: &Engine) -> Result<Vec<(String, std::net::IpAddr)>, String> {
        let mut hosts = Vec::new();
        for text in &self.network.add_host {
            let name = text
                .strip_suffix("host-gateway")
                .map(|name| name.trim_end_matches([':', '=']));
            hosts.push(match name {
                Some(name) if !name.is_empty() => {
                    let gateway = engine.default_gateway().map_err(|err| err.to_string())?;
                    (name.to_owned(), gateway.into())
                }
                _ => values::host(text)?,
            });
        }
        Ok(hosts)
    }

    /// The targets of `--mount`.
    fn long_mounts(&self, directory: &Path) -> Result<Vec<String>, String> {
        let target = |text: &String| {
            let mount = MountRequest::parse_mount(text, directory);
            mount.map(|mount| mount.target().to_owned())
        };
        let targets = self.storage.mount.iter().map(target);
        targets
            .collect::<Result<_, _>>()
            .map_err(|err| err.to_string())
    }

    fn mounts(&self, directory: &Path) -> Result<Vec<MountRequest>, String> {
        let storage = &self.storage;
        let volumes = storage
            .volume
            .iter()
            .map(|text| MountRequest::parse_volume(text, directory));
        let mounts = storage
            .mount
            .iter()
            .map(|text| MountRequest::parse_mount(text, directory));
        let tmpfs = storage
            .tmpfs
            .iter()
            .map(|text| MountRequest::parse_tmpfs(text));
        let all = volumes.chain(mounts).chain(tmpfs);
        all.collect::<Result<_, _>>().map_err(|err| err.to_string())
    }
}

impl Storage {
    /// The words of `-v`, with the whole path where a path here begins them.
    fn binds(&self, directory: &Path) -> Vec<String> {
        let whole = |text: &String| match text.split_once(':') {
            Some((source, rest)) if source.starts_with(['.', '~']) => {
                let parsed = MountRequest::parse_volume(text, directory);
                match parsed {
                    Ok(MountRequest::Bind { source, .. }) => format!("{}:{rest}", source.display()),
                    _ => text.clone(),
                }
            }
            _ => text.clone(),
        };
        self.volume.iter().map(whole).collect()
    }

    /// The words of `--tmpfs`.
    fn tmpfs(&self) -> BTreeMap<String, String> {
        let parts = |text: &String| {
            let (target, options) = text.split_once(':').unwrap_or((text, ""));
            (target.to_owned(), options.to_owned())
        };
        self.tmpfs.iter().map(parts).collect()
    }

    /// Refuses drivers and options that are not there.
    fn check(&self) -> Result<(), String> {
        match self.volume_driver.as_deref() {
            None | Some("" | "local") => {}
            Some(other) => {
                return Err(format!(
                    "error looking up volume plugin {other}: plugin \"{other}\" not found"
                ));
            }
        }
        match self.driver_options.first() {
            None => Ok(()),
            Some(_) => Err(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
                    .to_owned(),
            ),
        }
    }
}

/// The file that the container's ID goes to, made before the container is.
#[derive(Debug)]
pub(super) struct IdFile<'a> {
    path: &'a Path,
    file: std::fs::File,
    written: bool,
}

impl<'a> IdFile<'a> {
    /// Makes the file. It must be new.
    pub(super) fn create(path: &'a Path) -> Result<Self, Failure> {
        if path.exists() {
            let path = path.display();
            let message = format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            );
            return Err(Failure::new(125, message));
        }
        let mut how = std::fs::File::options();
        let file = how.write(true).create_new(true).open(path);
        let file = file.map_err(|err| refused(path, &err))?;
        Ok(Self {
            path,
            file,
            written: false,
        })
    }

    /// Writes the ID.
    pub(super) fn write(&mut self, id: &str) -> Result<(), Failure> {
        use std::io::Write;
        let written = self.file.write_all(id.as_bytes());
        written.map_err(|err| refused(self.path, &err))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for IdFile<'_> {
    /// Nobody is misled by the file of a container that there is not.
    fn drop(&mut self) {
        if !self.written {
            let _gone = std::fs::remove_file(self.path);
        }
    }
}

fn refused(path: &Path, err: &std::io::Error) -> Failure {
    let path = path.display();
    let message = format!("failed to create the container ID file: open {path}: {err}");
    Failure::new(125, message)
}
