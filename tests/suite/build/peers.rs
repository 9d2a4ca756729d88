//! Other programs read what we save.

use serde_json::Value;

use super::{Need, Project, needs};
use crate::support;

/// What skopeo says of the image in an archive.
fn inspect(more: &[&str], image: &str) -> Value {
    let mut arguments = vec!["inspect"];
    arguments.extend(more);
    arguments.push(image);
    serde_json::from_slice(&support::run_other("skopeo", &arguments)).unwrap()
}

#[test]
fn skopeo_inspects_what_is_saved() {
    if !needs(&[Need::Root, Need::Busybox, Need::Overlay, Need::Skopeo]) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nLABEL a=b\nENV E=1\nCOPY Dockerfile /\nRUN rm /etc/group\nCMD [\"x\"]\n",
    );
    project.build(&[]);
    let own = project.image();
    let file = project.home().scratch().join("saved.tar");
    project
        .home()
        .run(&["save", "-o", file.to_str().unwrap(), "result"])
        .ok();
    // One file is both: a docker archive and an OCI layout.
    for transport in ["docker-archive", "oci-archive"] {
        let image = format!("{transport}:{}", file.display());
        let seen = inspect(&[], &image);
        assert_eq!(seen["Labels"]["a"], "b", "{transport}");
        assert_eq!(seen["Os"], "linux", "{transport}");
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 3, "{transport}");
        let config = inspect(&["--config"], &image);
        let diff_ids = serde_json::to_value(&own.config.rootfs.diff_ids).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], diff_ids, "{transport}");
        assert_eq!(config["config"]["Cmd"][0], "x", "{transport}");
    }
    // And what it makes of it comes back as the same image.
    let copy = project.home().scratch().join("copy.tar");
    let from = format!("docker-archive:{}", file.display());
    let to = format!("docker-archive:{}:copied:latest", copy.display());
    support::run_other("skopeo", &["--insecure-policy", "copy", &from, &to]);
    project
        .home()
        .run(&["load", "-i", copy.to_str().unwrap()])
        .ok();
    assert_eq!(project.image_named("copied").id, own.id);
}
