//! Guests: what runs on this host, making new ones, starting and stopping them, waiting for them.
//!
//! Disk images are `image`'s business, packages `package`'s and `install`'s, and the XML itself `domain`'s.

mod create;
mod delete;
mod disks;
pub mod live;
mod make;
mod request;
mod reserve;
mod route;
mod status;
mod wait;

pub use create::{CreateError, GuestDisk, GuestNic, GuestSpec};
pub use delete::{DeleteError, Deleted, delete};
pub use make::{Made, MakeError, Request, make, virt_type};
pub use request::{DiskRequest, FirmwareKind, IpRequest, MachineType, NicRequest, RequestError, Size};
pub use reserve::Reserved;
pub use route::{Route, RouteError};
pub use status::{Address, GuestError, GuestStatus, list, status};
pub use wait::{Awaited, LeaseWait, WaitError};
