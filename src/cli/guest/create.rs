//! `miniascape guest create`.

use crate::cli::{Context, Failure};
use miniascape::guest::{self, DiskRequest, FirmwareKind, MachineType, NicRequest, Request, Size};
use miniascape::name::GuestName;
use miniascape::template::Templates;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The guest's name
    name: GuestName,
    /// Its memory
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// Its virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    vcpus: u32,
    /// A disk: PATH[,format=qcow2|raw], or new:SIZE[,format=...]; may be given several times. The format of PATH can be
    /// left out where its name ends in .qcow2 and its content agrees
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<DiskRequest>,
    /// An interface in a libvirt network: NETWORK[,mac=MAC]; may be given several times
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<NicRequest>,
    /// The machine type
    #[arg(long, value_name = "TYPE", default_value = "q35")]
    machine: MachineType,
    /// What it boots with: bios or efi
    #[arg(long, default_value = "bios")]
    firmware: FirmwareKind,
    /// Keep the output of its serial port in FILE
    #[arg(long, value_name = "FILE")]
    serial_log: Option<PathBuf>,
    /// Give it a display, served by VNC on a Unix socket
    #[arg(long)]
    vnc: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn create(context: &Context, args: &Create) -> Result<(), Failure> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|e| Failure::usage(format!("--serial-log {}: {e}", path.display())))
    };
    let request = Request {
        name: args.name.clone(),
        memory: args.memory,
        vcpus: args.vcpus,
        machine: args.machine.clone(),
        firmware: args.firmware,
        disks: args.disks.clone(),
        nics: args.networks.clone(),
        serial_log: args.serial_log.as_ref().map(absolute).transpose()?,
        vnc: args.vnc,
    };
    let templates = Templates::with_replacements(context.layout().templates().on_disk())?;
    let libvirt = context.local_libvirt(args.dry_run)?;
    let made = guest::make(&request, context.layout(), &libvirt, &templates, args.dry_run)?;
    context.output().report(&made, || {
        let done = if args.dry_run {
            "would be created"
        } else {
            "created"
        };
        let how = match made.runs_as {
            "kvm" => "with KVM",
            _ => "under software emulation",
        };
        format!("{} {done}; it runs {how} ({})", made.guest, made.because)
    })
}
