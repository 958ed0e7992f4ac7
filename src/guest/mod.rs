//! Guests: what runs on this host, making new ones, starting and stopping them, waiting for them.
//!
//! Disk images are `image`'s business, packages `package`'s and `install`'s, and the XML itself `domain`'s.

pub mod kvm;
mod status;
mod wait;

pub use status::{Address, GuestError, GuestStatus, list, status};
pub use wait::{Awaited, LeaseWait, WaitError};
