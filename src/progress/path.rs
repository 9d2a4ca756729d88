//! Which steps decide how long a build takes.

use super::StepRecord;

/// The critical path: the places in `steps` of those that the build could not
/// have been quicker without, first to last. Each waits for the one before it;
/// of all such chains this one takes longest.
///
/// A step counts with its own time, so steps that only waited for a free
/// processor are not blamed for it. Inputs that are no steps, and any that do
/// not stand before their user, are left out.
pub fn critical_path(steps: &[StepRecord]) -> Vec<usize> {
    let place = |index: usize, input| {
        steps[..index]
            .iter()
            .rposition(|before: &StepRecord| before.step == input)
    };
    // For each step, how long the longest chain to its end takes, and what precedes it there.
    let mut chains: Vec<(std::time::Duration, Option<usize>)> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let inputs = step.inputs.iter().filter_map(|input| place(index, *input));
        let before = inputs.reduce(|best, next| {
            if chains[next].0 > chains[best].0 {
                next
            } else {
                best
            }
        });
        let waited = before.map_or_else(Default::default, |before| chains[before].0);
        chains.push((waited + step.took, before));
    }
    let ends = (0..chains.len()).reduce(|best, next| {
        if chains[next].0 >= chains[best].0 {
            next
        } else {
            best
        }
    });
    let mut path: Vec<usize> = std::iter::successors(ends, |index| chains[*index].1).collect();
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::progress::StepId;

    /// Steps numbered from 1, each with its seconds and inputs.
    fn check(steps: &[(u64, &[u32])], expected: &[usize]) {
        let steps: Vec<StepRecord> = (1..)
            .zip(steps)
            .map(|(number, (seconds, inputs))| StepRecord {
                inputs: inputs.iter().map(|input| StepId(*input)).collect(),
                took: Duration::from_secs(*seconds),
                ..StepRecord::new(StepId(number), String::new(), Duration::ZERO)
            })
            .collect();
        assert_eq!(critical_path(&steps), expected);
    }

    #[test]
    fn the_longest_chain_is_critical() {
        check(&[], &[]);
        check(&[(1, &[])], &[0]);
        // Two stages that a last step copies from.
        let stages: &[(u64, &[u32])] = &[(1, &[]), (5, &[1]), (3, &[1]), (1, &[3]), (1, &[2, 4])];
        check(stages, &[0, 1, 4]);
        // A long step that nothing waits for.
        check(&[(1, &[]), (1, &[1]), (9, &[1])], &[0, 2]);
    }

    #[test]
    fn a_cached_end_is_part_of_its_chain() {
        check(&[(0, &[]), (0, &[1]), (0, &[2])], &[0, 1, 2]);
    }

    #[test]
    fn steps_that_are_unknown_or_come_later_are_no_inputs() {
        check(&[(1, &[9]), (1, &[2, 3]), (5, &[])], &[2]);
    }
}
