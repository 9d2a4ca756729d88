//! A stream cut into blocks of one size, which are worked on at once and put
//! together in their order.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Most threads that work on one stream.
const WORKERS: usize = 8;
/// Streams that are being worked on: they share the processors, and with them
/// the memory that blocks take.
static STREAMS: AtomicUsize = AtomicUsize::new(0);

/// Counts a stream while it is being worked on.
struct Counted;

impl Counted {
    fn begin() -> (Self, usize) {
        let streams = STREAMS.fetch_add(1, Ordering::Relaxed) + 1;
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        (Self, processors.div_ceil(streams).clamp(1, WORKERS))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::Relaxed);
    }
}

type Answer<T> = io::Result<(Vec<u8>, T)>;

/// Cuts `source` into blocks of `size` bytes, does `work` for several at once,
/// and gives the results to `take` in the order of the blocks. Returns how many
/// blocks there were; none for an empty source.
///
/// Memory is bounded by two blocks and their results a thread.
pub(super) fn each<T: Send>(
    source: &mut dyn Read,
    size: usize,
    work: &(dyn Fn(&[u8]) -> Answer<T> + Sync),
    take: &mut dyn FnMut(&[u8], T) -> io::Result<()>,
) -> io::Result<u64> {
    let (_counted, workers) = Counted::begin();
    std::thread::scope(|scope| {
        // Each answer has a way of its own, so that answers keep their order.
        let (questions, asked) = sync_channel::<(Vec<u8>, SyncSender<Answer<T>>)>(workers);
        let asked = std::sync::Mutex::new(asked);
        let asked = std::sync::Arc::new(asked);
        for _ in 0..workers {
            let asked = std::sync::Arc::clone(&asked);
            scope.spawn(move || {
                loop {
                    let next = asked
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .recv();
                    let Ok((block, answer)) = next else { return };
                    // Nobody waits for it when something else failed.
                    answer.send(work(&block)).ok();
                }
            });
        }
        drop(asked);
        let mut waiting: VecDeque<Receiver<Answer<T>>> = VecDeque::new();
        let mut count = 0;
        loop {
            let block = read_block(source, size)?;
            if block.is_empty() {
                break;
            }
            count += 1;
            let (answer, answered) = sync_channel(1);
            questions.send((block, answer)).map_err(|_| gone())?;
            waiting.push_back(answered);
            if waiting.len() > workers {
                take_first(&mut waiting, take)?;
            }
        }
        drop(questions);
        while !waiting.is_empty() {
            take_first(&mut waiting, take)?;
        }
        Ok(count)
    })
}

fn take_first<T>(
    waiting: &mut VecDeque<Receiver<Answer<T>>>,
    take: &mut dyn FnMut(&[u8], T) -> io::Result<()>,
) -> io::Result<()> {
    let Some(first) = waiting.pop_front() else {
        return Ok(());
    };
    let (bytes, rest) = first.recv().map_err(|_| gone())??;
    take(&bytes, rest)
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

fn read_block(source: &mut dyn Read, size: usize) -> io::Result<Vec<u8>> {
    let mut block = vec![0; size];
    let filled = fill(source, &mut block)?;
    block.truncate(filled);
    Ok(block)
}

/// Fills the buffer as far as the source goes, whatever pieces it comes in.
pub(super) fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whoever_is_first() {
        let source: Vec<u8> = (0..100).collect();
        let mut seen = Vec::new();
        let slow_first = |block: &[u8]| {
            if block[0] == 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Ok((block.to_vec(), block.len()))
        };
        let mut lengths = Vec::new();
        let count = each(&mut &source[..], 7, &slow_first, &mut |bytes, length| {
            seen.extend_from_slice(bytes);
            lengths.push(length);
            Ok(())
        });
        assert_eq!((count.unwrap(), seen), (15, source));
        assert_eq!((lengths[0], lengths[14]), (7, 2));
    }

    #[test]
    fn a_failure_in_the_middle_ends_it() {
        let source = [1; 1000];
        let fails = |_: &[u8]| Err::<(Vec<u8>, ()), _>(io::Error::other("no"));
        let got = each(&mut &source[..], 10, &fails, &mut |_, ()| Ok(()));
        assert_eq!(got.unwrap_err().to_string(), "no");
        let same = |block: &[u8]| Ok((block.to_vec(), ()));
        let mut full = |_: &[u8], ()| Err(io::Error::other("full"));
        let got = each(&mut &source[..], 10, &same, &mut full);
        assert_eq!(got.unwrap_err().to_string(), "full");
    }
}
