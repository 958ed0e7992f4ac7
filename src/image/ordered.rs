//! Work on all cores, results in order. How many cores there are changes no result.

use super::ImageError;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many items for each core may be in work or wait for their turn; this bounds the memory.
const AHEAD: usize = 4;

/// Who may take which item.
struct Turns<I> {
    items: std::iter::Enumerate<I>,
    /// How many more items may be begun now.
    open: usize,
    stopped: bool,
}

/// Calls its function when its thread panics.
struct Guard<F: Fn()>(F);

impl<F: Fn()> Drop for Guard<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of threads for heavy work.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does the work that `worker` makes on every item, on all cores, and hands the results to `take` in the items' order,
/// on the calling thread. The first error, in that order, ends it.
pub(super) fn in_order<T, R, W>(
    items: impl Iterator<Item = T> + Send,
    worker: impl Fn() -> W + Sync,
    mut take: impl FnMut(R) -> Result<(), ImageError>,
) -> Result<(), ImageError>
where
    T: Send,
    R: Send,
    W: FnMut(T) -> Result<R, ImageError>,
{
    let count = threads();
    let turns = Mutex::new(Turns {
        items: items.enumerate(),
        open: AHEAD * count,
        stopped: false,
    });
    let moved = Condvar::new();
    let next = || {
        let mut turns = lock(&turns);
        loop {
            if turns.stopped {
                return None;
            }
            if turns.open > 0 {
                turns.open -= 1;
                return turns.items.next();
            }
            turns = moved.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
    };
    let stop = || {
        lock(&turns).stopped = true;
        moved.notify_all();
    };
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..count {
            let sender = sender.clone();
            let (next, worker, stop) = (&next, &worker, &stop);
            scope.spawn(move || {
                // A worker that panics must not leave the others waiting for its turn to come.
                let guard = Guard(stop);
                let mut work = worker();
                while let Some((number, item)) = next() {
                    if sender.send((number, work(item))).is_err() {
                        break;
                    }
                }
                drop(guard);
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut turn = 0;
        let mut outcome = Ok(());
        'results: for (number, result) in receiver {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&turn) {
                turn += 1;
                outcome = result.and_then(&mut take);
                if outcome.is_err() {
                    break 'results;
                }
                lock(&turns).open += 1;
                moved.notify_one();
            }
        }
        stop();
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_end_it() {
        let mut seen = Vec::new();
        let slow = |n: u32| {
            if n.is_multiple_of(7) {
                thread::sleep(std::time::Duration::from_millis(1));
            }
            Ok(n * 2)
        };
        in_order(
            0..500u32,
            || slow,
            |n| {
                seen.push(n);
                Ok(())
            },
        )
        .unwrap();
        assert!(seen.iter().copied().eq((0..500).map(|n| n * 2)));

        let failing = |n: u32| match n {
            100.. => Err(ImageError::Io(std::io::Error::other(n.to_string()))),
            _ => Ok(n),
        };
        let mut taken = 0;
        let error = in_order(
            0..u32::MAX,
            || failing,
            |_| {
                taken += 1;
                Ok(())
            },
        );
        assert_eq!((error.unwrap_err().to_string().as_str(), taken), ("100", 100));
    }
}
