//! One file a command: its arguments, the request to the engine that they mean,
//! and how the result is shown.

mod build;
mod cache;
mod completion;
mod containers;
mod context;
mod copy;
mod debug;
mod events;
mod filters;
mod history;
mod image_tree;
mod images;
mod imagetools;
mod import;
mod inspect;
mod load;
mod login;
mod man;
mod manifest;
mod networks;
mod pull;
mod push;
mod reach;
mod registry;
mod restart_policy;
mod rmi;
mod save;
mod search;
mod system;
mod tag;
mod version;
mod volume;

use clap::Subcommand;
use rbuild::engine::{Config, Engine};

use super::output::Output;
use super::report::Failure;

/// Opens the engine; commands that need none never touch the disk.
pub(crate) type Open<'a> = &'a dyn Fn() -> Result<Engine, Failure>;

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(Box<build::Args>),
    Debug(Box<debug::Args>),
    Context(Box<context::Args>),
    Images(images::Args),
    Tag(tag::Args),
    Rmi(rmi::Args),
    Inspect(inspect::Args),
    History(history::Args),
    Save(save::Args),
    Load(load::Args),
    Pull(pull::Args),
    Push(push::Args),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Import(import::Args),
    Version(version::Args),
    Completion(completion::Args),
    #[command(name = "__complete")]
    Complete(completion::CompleteArgs),
    Man(man::Args),
    Events(events::Args),
    /// Work with volumes
    #[command(subcommand)]
    Volume(volume::Command),
    Info(system::InfoArgs),
    Du(cache::DuArgs),
    Prune(cache::PruneArgs),
    /// Work with images
    #[command(subcommand)]
    Image(Image),
    /// Work with containers
    #[command(subcommand)]
    Container(Container),
    /// Work with networks
    #[command(subcommand)]
    Network(networks::Command),
    /// Work with builds
    #[command(subcommand, alias = "buildx")]
    Builder(Builder),
    /// Work with the data root
    #[command(subcommand)]
    System(System),
    /// Work with what lies on registries
    #[command(subcommand)]
    Registry(registry::Verb),
    Search(search::Args),
    /// Work with lists of manifests
    #[command(subcommand)]
    Manifest(manifest::Verb),
    /// Work with images on registries
    #[command(subcommand)]
    Imagetools(imagetools::Verb),
    #[command(flatten)]
    Containers(containers::Command),
}

/// `image ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    #[command(visible_alias = "list")]
    Ls(images::Args),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Build(Box<build::Args>),
    Tag(tag::Args),
    Inspect(inspect::ImageArgs),
    History(history::Args),
    Save(save::Args),
    Load(load::Args),
    Pull(pull::Args),
    Push(push::Args),
    Import(import::Args),
    Copy(copy::Args),
    Tags(registry::tags::Args),
    /// Remove images that no container uses
    Prune(system::ImagePruneArgs),
}

/// `container ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    #[command(flatten)]
    Verb(containers::Command),
    Inspect(inspect::ContainerArgs),
    /// Remove stopped containers
    Prune(system::PruneArgs),
}

/// `builder ...`, `buildx ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Builder {
    Build(Box<build::Args>),
    Du(cache::DuArgs),
    Prune(cache::PruneArgs),
    /// Keep items of the build cache, or an image's layers, whatever their age
    Pin(cache::PinArgs),
    /// Let items of the build cache go again
    Unpin(cache::PinArgs),
    /// Work with images on registries
    #[command(subcommand)]
    Imagetools(imagetools::Verb),
}

/// `system ...`
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    Df(system::DfArgs),
    Events(events::Args),
    Info(system::InfoArgs),
    /// Remove stopped containers, unused images and the build cache
    Prune(system::SystemPruneArgs),
    RestartPolicy(restart_policy::Args),
}

/// Runs a command; returns the exit code.
pub(crate) fn run(
    command: Command,
    config: &Config,
    open: Open<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        Command::Build(args)
        | Command::Image(Image::Build(args))
        | Command::Builder(Builder::Build(args)) => build::run(&args, config, open, output),
        Command::Context(args) => context::run(&args, config, open, output),
        Command::Debug(args) => debug::run(&args, config, open, output),
        Command::Version(args) => version::run(&args, output),
        Command::Events(args) | Command::System(System::Events(args)) => {
            events::run(&args, &open()?, output)
        }
        Command::Completion(args) => completion::run(&args, output),
        Command::Complete(args) => completion::complete(&args, config, output),
        Command::Man(args) => man::run(&args, output),
        Command::Volume(command) => volume::run(&command, &open()?, output),
        Command::Images(args) | Command::Image(Image::Ls(args)) => {
            images::run(&args, &open()?, output)
        }
        Command::Tag(args) | Command::Image(Image::Tag(args)) => tag::run(&args, &open()?),
        Command::Rmi(args) | Command::Image(Image::Rm(args)) => rmi::run(&args, &open()?, output),
        Command::Inspect(args) => inspect::run(&args, &open()?, output),
        Command::Image(Image::Inspect(args)) => inspect::images(&args, &open()?, output),
        Command::History(args) | Command::Image(Image::History(args)) => {
            history::run(&args, &open()?, output)
        }
        Command::Save(args) | Command::Image(Image::Save(args)) => {
            save::run(&args, &open()?, output)
        }
        Command::Load(args) | Command::Image(Image::Load(args)) => {
            load::run(&args, &open()?, output)
        }
        Command::Push(args) | Command::Image(Image::Push(args)) => {
            push::run(&args, &open()?, output)
        }
        Command::Registry(verb) => registry::run(&verb, &open()?, output),
        Command::Search(args) => search::run(&args, &open()?, output),
        Command::Manifest(verb) => manifest::run(&verb, &open()?, output),
        Command::Imagetools(verb) | Command::Builder(Builder::Imagetools(verb)) => {
            imagetools::run(&verb, &open()?, output)
        }
        Command::Image(Image::Copy(args)) => copy::run(&args, &open()?, output),
        Command::Image(Image::Tags(args)) => registry::tags::run(&args, &open()?, output),
        Command::Login(args) => login::login(&args, &open()?, output),
        Command::Logout(args) => login::logout(&args, &open()?, output),
        Command::Pull(args) | Command::Image(Image::Pull(args)) => {
            pull::run(&args, &open()?, output)
        }
        Command::Import(args) | Command::Image(Image::Import(args)) => {
            import::run(&args, &open()?, output)
        }
        Command::Image(Image::Prune(args)) => system::prune_images(&args, &open()?, output),
        Command::Du(args) | Command::Builder(Builder::Du(args)) => {
            cache::du(&args, &open()?, output)
        }
        Command::Prune(args) | Command::Builder(Builder::Prune(args)) => {
            cache::prune(&args, &open()?, output)
        }
        Command::Builder(Builder::Pin(args)) => cache::pin(&args, true, &open()?, output),
        Command::Builder(Builder::Unpin(args)) => cache::pin(&args, false, &open()?, output),
        Command::System(System::Prune(args)) => system::prune_system(&args, &open()?, output),
        Command::System(System::Df(args)) => system::df(&args, &open()?, output),
        Command::Info(args) | Command::System(System::Info(args)) => {
            system::info(&args, config, &open()?, output)
        }
        Command::System(System::RestartPolicy(args)) => {
            restart_policy::run(&args, config, open, output)
        }
        Command::Container(Container::Inspect(args)) => {
            inspect::containers(&args, &open()?, output)
        }
        Command::Container(Container::Prune(args)) => {
            system::prune_containers(&args, &open()?, output)
        }
        Command::Network(command) => networks::run(command, &open()?, output),
        Command::Container(Container::Verb(command)) | Command::Containers(command) => {
            containers::run(command, &open()?, output)
        }
    }
}

/// One of the commands that are waited for most, alone: building the arguments of all commands takes
/// longer than many a command's own work.
pub(crate) fn alone(verb: &str) -> Option<clap::Command> {
    let (name, augment): (&'static str, fn(clap::Command) -> clap::Command) = match verb {
        "build" => ("build", <build::Args as clap::Args>::augment_args),
        "images" => ("images", <images::Args as clap::Args>::augment_args),
        "inspect" => ("inspect", <inspect::Args as clap::Args>::augment_args),
        "pull" => ("pull", <pull::Args as clap::Args>::augment_args),
        "push" => ("push", <push::Args as clap::Args>::augment_args),
        "tag" => ("tag", <tag::Args as clap::Args>::augment_args),
        _ => return containers::alone(verb),
    };
    Some(augment(clap::Command::new(name)))
}

/// Verbs have other names inside their management command: `container ls` is `ps`.
const ALIASES: [(&str, &str, &[&str]); 1] = [("container", "ps", &["ls", "list"])];

/// Adds the names that hold only inside a management command.
pub(crate) fn with_aliases(mut program: clap::Command) -> clap::Command {
    for (group, verb, aliases) in ALIASES {
        let has = program
            .find_subcommand(group)
            .is_some_and(|group| group.find_subcommand(verb).is_some());
        if has {
            program = program.mut_subcommand(group, |group| {
                group.mut_subcommand(verb, |verb| verb.visible_aliases(aliases))
            });
        }
    }
    program
}
