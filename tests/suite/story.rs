//! The story that tutorials tell, as `tests/story.sh` plays it.

use crate::support::{Home, Need, needs};

#[test]
fn the_story_of_every_tutorial_works_as_told() {
    let needed = [
        Need::Root,
        Need::Busybox,
        Need::Overlay,
        Need::DockerRegistry,
    ];
    if !needs(&needed) {
        return;
    }
    // Its containers and its network are removed with this, however it ends.
    let home = Home::new();
    let played = home.run_script("tests/story.sh");
    assert!(
        played.code == 0 && played.text().contains("## The end:"),
        "{}\n{}",
        played.text(),
        played.stderr
    );
}
