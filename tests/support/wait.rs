//! Waiting for a condition with a deadline. Nothing here knows what is waited for.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to sleep between two looks at a condition, at least; as long as a look takes, at most so long. Who looks all the
/// time takes from what is waited for.
const PAUSE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// How many times longer things may take than on a machine of its own: set where that is emulated.
pub(crate) const PATIENCE_VARIABLE: &str = "MINIASCAPE_TEST_PATIENCE";

/// A time-out as it is here. Not for times in which something must not happen.
pub(crate) fn patient(timeout: Duration) -> Duration {
    let times = std::env::var_os(PATIENCE_VARIABLE).and_then(|text| text.to_str()?.parse().ok());
    timeout * times.unwrap_or(1)
}

/// Looks at `probe` until it gives a value; `None` when `timeout` passed first.
pub(crate) fn poll_for<T>(timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    look_until(Instant::now() + patient(timeout), &mut probe)
}

fn look_until<T>(deadline: Instant, probe: &mut impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let began = Instant::now();
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(began.elapsed().clamp(PAUSE.0, PAUSE.1));
    }
}

/// Waits until `probe` gives a value, and panics with `what` when `timeout` passed first.
#[track_caller]
pub(crate) fn wait_for<T>(what: impl Display, timeout: Duration, probe: impl FnMut() -> Option<T>) -> T {
    match poll_for(timeout, probe) {
        Some(value) => value,
        None => panic!("waited {timeout:?} in vain for: {what}"),
    }
}

/// Waits until `condition` holds, and panics with `what` when `timeout` passed first.
#[track_caller]
pub(crate) fn wait_until(what: impl Display, timeout: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, timeout, || condition().then_some(()));
}

/// Asserts that `condition` holds during the whole of `duration`.
#[track_caller]
pub(crate) fn hold_true(what: impl Display, duration: Duration, mut condition: impl FnMut() -> bool) {
    let broken = look_until(Instant::now() + duration, &mut || (!condition()).then_some(()));
    assert!(broken.is_none(), "did not stay true for {duration:?}: {what}");
}
