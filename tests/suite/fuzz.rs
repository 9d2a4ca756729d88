//! The corpora of the fuzz targets, replayed: what was found once stays found.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own, too")]
mod targets;

/// All corpora together, in bytes: they are to be small beside the code.
const MOST: u64 = 1_000_000;

#[test]
fn every_input_that_was_found_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut bytes = 0;
    for (name, target) in targets::TARGETS {
        let mut inputs: Vec<_> = fs::read_dir(corpora.join(name))
            .unwrap_or_else(|err| panic!("the corpus of {name}: {err}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        for path in inputs {
            let input = fs::read(&path).unwrap();
            bytes += input.len() as u64;
            let held = std::panic::catch_unwind(|| target(&input));
            assert!(held.is_ok(), "{} does not hold", path.display());
        }
    }
    assert!(bytes < MOST, "the corpora have grown to {bytes} bytes");
}
