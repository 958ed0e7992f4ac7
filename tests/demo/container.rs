//! What is told where private hosts are refused, as in an ordinary container.

use super::Options;
use super::screen::Screen;
use crate::support::LabError;

/// Shows what works, and lists what is missing with the commands that would allow it.
pub(crate) fn tell(screen: &mut Screen, _options: &Options, obstacles: &[LabError]) {
    for obstacle in obstacles {
        screen.say(&obstacle.to_string());
    }
}
