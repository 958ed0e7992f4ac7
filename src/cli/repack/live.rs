//! `repack --live`: the disks come from a backup job, and everything is undone at every exit, by a signal too.

use crate::cli::progress::{self, Style};
use crate::cli::{Context, Failure};
use miniascape::guest::live::{self, Checkpoints, Consistency, DiskFiles, Live, LiveError};
use miniascape::host::Libvirt;
use miniascape::package::{DiskPlan, LiveDisk, Plan, Request, Split, read_beside};
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
    leave: bool,
    style: Style,
) -> Result<Live, Failure> {
    let checkpoints = checkpoints(context, running, request, plan, leave, style)?;
    undo_at_signals(context, running)?;
    let targets: Vec<String> = plan.disks.iter().map(|disk| disk.target.to_string()).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let beside = || -> Result<(), Failure> {
        plan.files = read_beside(request)?;
        Ok(())
    };
    let live = Live::begin(
        context.layout(),
        &running.libvirt,
        running.uuid,
        &targets,
        checkpoints,
        beside,
    )?;
    if let Some(reason) = live.unusable() {
        not_by_changes(context, style, reason);
    }
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

/// What is done with checkpoints: the one since which what has changed is read, if it is that of the earlier package, and
/// a new one, if one is to be left.
fn checkpoints(
    context: &Context,
    running: &Running,
    request: &Request,
    plan: &Plan,
    leave: bool,
    style: Style,
) -> Result<Checkpoints, Failure> {
    let files = |disk: &DiskPlan| -> DiskFiles {
        let paths = disk.chain.iter().map(|image| image.path.clone());
        (disk.target.to_string(), paths.collect())
    };
    let mut checkpoints = Checkpoints::default();
    if let Some(earlier) = &request.earlier {
        let known = |disk: &&DiskPlan| matches!(&disk.split, Split::Since(below) if below.content.is_some());
        let disks: Vec<DiskFiles> = plan.disks.iter().filter(known).map(files).collect();
        let manifest = earlier.manifest.digest();
        let (since, reasons) = live::usable_checkpoint(
            context.layout(),
            &running.libvirt,
            running.uuid,
            &manifest,
            &disks,
        )?;
        checkpoints.since = since;
        for reason in reasons {
            not_by_changes(context, style, &reason);
        }
    }
    if leave {
        // Only such an image can keep a dirty bitmap.
        let (can, cannot): (Vec<_>, Vec<_>) = plan
            .disks
            .iter()
            .partition(|disk| disk.top().version.is_some_and(|version| version >= 3));
        if can.is_empty() {
            return Err(Failure::refused(
                "no disk of the guest can have a checkpoint: only qcow2 images of version 3 keep account of what is written",
            )
            .hint("without --checkpoint the next --since compares all of its disks"));
        }
        for disk in cannot {
            let text = format!(
                "no checkpoint of the disk {}, which is no qcow2 image of version 3: the next --since compares all of it",
                disk.target
            );
            progress::warn(context, style, &text);
        }
        checkpoints.leave = can.into_iter().map(files).collect();
    }
    Ok(checkpoints)
}

fn not_by_changes(context: &Context, style: Style, reason: &str) {
    let text = format!("compared by content, not by what was written to: {reason}");
    progress::warn(context, style, &text);
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
            LiveError::Image(error) => error.into(),
            LiveError::Io(error) => error.into(),
            LiveError::Busy { .. } => Self::refused(message).hint("wait until it has finished"),
            LiveError::Foreign { guest } => Self::refused(message).hint(format!(
                "wait until it has finished (`virsh domjobinfo {guest}`), or end it with `virsh domjobabort {guest}`"
            )),
            LiveError::ForeignOfDisk { guest, target } => Self::refused(message).hint(format!(
                "wait until it has finished (`virsh blockjob {guest} {target}`), or end it with `virsh blockjob {guest} {target} --abort`"
            )),
            LiveError::Transient { target, .. } => Self::refused(message).hint(format!(
                "leave it behind with --without-disk {target}, or shut the guest down"
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
