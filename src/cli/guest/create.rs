//! `miniascape guest create`.

use crate::cli::{Context, Failure};
use miniascape::guest::{self, DiskRequest, FirmwareKind, IpRequest, MachineType, NicRequest, Request, Size};
use miniascape::name::{GuestName, HostName};
use miniascape::template::Templates;
use std::fmt::Write;
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
    /// An interface in a libvirt network: NETWORK[,mac=MAC][,ip=ADDR|auto][,name=NAME]; may be given several times. With
    /// `ip` or `name` the network reserves an address and knows the guest by that name from its first start on; `auto`
    /// chooses a free address
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<NicRequest>,
    /// The address that the only network is to reserve for it: the same as `ip` there
    #[arg(long, value_name = "ADDR|auto")]
    ip: Option<IpRequest>,
    /// Its name in the only network, by default the guest's: the same as `name` there
    #[arg(long = "name", value_name = "NAME")]
    host_name: Option<HostName>,
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

/// The interfaces, with the address and name that are given beside the only one.
fn nics(args: &Create) -> Result<Vec<NicRequest>, Failure> {
    let mut nics = args.networks.clone();
    if args.ip.is_none() && args.host_name.is_none() {
        return Ok(nics);
    }
    let [nic] = nics.as_mut_slice() else {
        return Err(
            Failure::usage("--ip and --name are for a guest with exactly one --network")
                .hint("say it with each network: --network NETWORK,ip=ADDR,name=NAME"),
        );
    };
    if nic.ip.is_some() && args.ip.is_some() || nic.name.is_some() && args.host_name.is_some() {
        return Err(Failure::usage(
            "the address or the name is given twice: with --network and beside it",
        ));
    }
    nic.ip = nic.ip.or(args.ip);
    nic.name = nic.name.take().or_else(|| args.host_name.clone());
    Ok(nics)
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
        nics: nics(args)?,
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
        let mut text = format!("{} {done}; it runs {how} ({})", made.guest, made.because);
        for host in &made.hosts {
            let ips: Vec<String> = host.ips.iter().map(ToString::to_string).collect();
            let what = match ips.as_slice() {
                [] => "gets an address when that network is there".to_owned(),
                ips => format!("has {}", ips.join(" and ")),
            };
            let _ = write!(text, "\n{} {what} in {}", host.name, host.network);
        }
        text
    })
}
