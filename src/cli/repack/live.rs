//! `repack --live`: the disks come from a backup job, and everything is undone at every exit, by a signal too.

use crate::cli::progress::{self, Style};
use crate::cli::{Context, Failure};
use miniascape::guest::live::{self, Consistency, Live, LiveError};
use miniascape::host::Libvirt;
use miniascape::package::{LiveDisk, Plan, Request, read_beside};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// A guest that runs and is to be packed so.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) libvirt: Libvirt,
    pub(super) uuid: Uuid,
}

/// Has the disks of the plan exported, all as they are at one moment, and what belongs to them read at that moment.
pub(super) fn begin(
    context: &Context,
    running: &Running,
    request: &Request,
    plan: &mut Plan,
    style: Style,
) -> Result<Live, Failure> {
    undo_at_signals(context, running)?;
    let targets: Vec<String> = plan.disks.iter().map(|disk| disk.target.to_string()).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let beside = || -> Result<(), Failure> {
        plan.files = read_beside(request)?;
        Ok(())
    };
    let live = Live::begin(context.layout(), &running.libvirt, running.uuid, &targets, beside)?;
    for disk in &mut plan.disks {
        let export = live.export(disk.target.as_str());
        disk.live = export.map(|export| LiveDisk(export.clone()));
        if let Some(export) = export {
            disk.virtual_size = export.size();
        }
    }
    for warning in live.warnings() {
        progress::warn(context, style, warning);
    }
    match live.consistency() {
        Consistency::Frozen { filesystems, time } => {
            let count = match filesystems {
                1 => "1 file system".to_owned(),
                count => format!("{count} file systems"),
            };
            let text = format!("{count} of the guest frozen for {} ms", time.as_millis());
            if style != Style::Json {
                context.output().note(text);
            }
        }
        Consistency::Crash { reason } => {
            let text =
                format!("packed while it ran, its disks as after a power failure: not frozen: {reason}");
            progress::warn(context, style, &text);
            plan.warn(&text);
        }
    }
    Ok(live)
}

/// The guest that is being packed, for those who undo that.
static CURRENT: Mutex<Option<Uuid>> = Mutex::new(None);

/// From here on a signal that ends this program undoes the live pack of this guest first.
fn undo_at_signals(context: &Context, running: &Running) -> Result<(), Failure> {
    // One watches, whichever guest it is.
    let watched = CURRENT
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(running.uuid);
    if watched.is_some() {
        return Ok(());
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (layout, uri) = (context.layout().clone(), running.libvirt.uri().to_owned());
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let uuid = *CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Err(error)) = uuid.map(|uuid| live::undo_own(&layout, &uri, uuid)) {
                tracing::error!("the next run will try again: {error}");
            }
            // Then as if there were no handler.
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(())
}

const ROOM: &str = "make room there, pack while the guest writes less, or shut it down";

impl From<LiveError> for Failure {
    fn from(error: LiveError) -> Self {
        let message = error.to_string();
        match error {
            LiveError::Libvirt(error) => error.into(),
            LiveError::Nbd(error) => miniascape::image::ImageError::from(error).into(),
            LiveError::Io(error) => error.into(),
            LiveError::Busy { .. } => Self::refused(message).hint("wait until it has finished"),
            LiveError::Foreign { guest } => Self::refused(message).hint(format!(
                "wait until it has finished (`virsh domjobinfo {guest}`), or end it with `virsh domjobabort {guest}`"
            )),
            LiveError::OtherDisk { .. } => {
                Self::refused(message).hint("shut the guest down, or make its definition say what runs")
            }
            LiveError::OtherLibvirt { .. } => Self::refused(message).hint("shut the guest down and pack it without --live"),
            LiveError::Stopped { guest } => Self::refused(message).hint(format!(
                "`virsh domblkerror {guest}` says where; put that right, then `virsh resume {guest}`"
            )),
            LiveError::Tight { .. } => Self::refused(message).hint(ROOM),
            LiveError::NoRoom { .. } => Self::failed(message).hint(ROOM),
            LiveError::Frozen { guest, .. } => {
                Self::failed(message).hint(format!("the next miniascape run tries again; or `virsh domfsthaw {guest}`"))
            }
            LiveError::StillRuns { guest } => {
                Self::failed(message).hint(format!("the next miniascape run tries again; or `virsh domjobabort {guest}`"))
            }
            LiveError::NotRunning { .. } | LiveError::NoDirectory { .. } | LiveError::Ended { .. } | LiveError::Xml(_) => Self::failed(message),
        }
    }
}
