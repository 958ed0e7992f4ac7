//! What is to be known of a host before it can be judged. Nothing is judged here, and nothing changed.

use crate::domain::Domain;
use crate::guest;
use crate::host::denials::{self, Denial};
use crate::host::files::{self, FileSystem};
use crate::host::kvm;
use crate::host::listeners::{self, Listener};
use crate::host::packet_filter::{self, Family, Zone};
use crate::host::{Daemons, Layout, Libvirt, ServiceError, Services, bridges, bus, sysctl};
use crate::install;
use crate::lease::{self, Lease};
use crate::name::{Mac, NetworkName, printable};
use crate::network::{self, Applied, Needs, StateError, Status};
use fs_err as fs;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How libvirt was asked for.
#[derive(Debug)]
pub enum Asked {
    /// It answers.
    There(Libvirt),
    /// It does not.
    Away(String),
    /// It does not want to talk to us.
    Refused(String),
}

/// A registered network.
#[derive(Debug)]
pub struct Net {
    /// What it is doing, with what is not as it should be.
    pub status: Status,
    /// What it needs, as recorded.
    pub needs: Option<Needs>,
    /// True if its dnsmasq answers questions for names.
    pub serves_dns: bool,
    /// Whether its dnsmasq has its name on the message bus; `None` where the bus cannot be asked.
    pub on_bus: Option<bool>,
    /// firewalld's zone for its bridge, if firewalld runs.
    pub zone: Option<Zone>,
    /// Its leases.
    pub leases: Vec<Lease>,
    /// Hardware addresses that it reserves something for.
    pub reserved: HashSet<Mac>,
    /// Those of machines that were heard on its bridge lately.
    pub heard: Vec<Mac>,
}

/// The rules of packet filters, as far as they can be read.
#[derive(Debug, Default)]
pub struct Filter {
    /// iptables' table `filter`.
    pub v4: Option<String>,
    /// Its table `nat`.
    pub nat: Option<String>,
    /// ip6tables' table `filter`.
    pub v6: Option<String>,
    /// All of nftables.
    pub ruleset: Option<Value>,
    /// True if iptables sees what passes within a bridge, as Docker wants it.
    pub bridged: bool,
    /// True if firewalld has the zone that libvirt brings.
    pub libvirt_zone: bool,
}

/// A denial with what has been done about its file since.
#[derive(Debug, Clone)]
pub struct Denied {
    /// The denial.
    pub denial: Denial,
    /// When the file was last changed, its label included, in milliseconds since 1970; `None` if it is not there.
    pub changed: Option<u64>,
    /// True if rules for it are loaded now: the administrator's own, which name the file, or `SELinux`'s module of ours.
    pub allowed: bool,
}

/// A file system that we write to.
#[derive(Debug, Clone)]
pub struct Space {
    /// Our directories on it.
    pub dirs: Vec<PathBuf>,
    /// How large it is, and how full.
    pub system: FileSystem,
    /// What can be made anew lies on it too: a directory, the command that empties it, its bytes.
    pub caches: Vec<(PathBuf, &'static str, u64)>,
}

/// All that a host is judged by.
#[derive(Debug)]
pub struct Facts {
    /// True if we may look at everything.
    pub root: bool,
    /// How the host's daemons are arranged.
    pub daemons: Daemons,
    /// Why libvirt cannot be asked, and whether that is a matter of rights.
    pub libvirt: Option<(String, bool)>,
    /// The registered networks.
    pub networks: Vec<Net>,
    /// Those whose records or leases cannot be read, and why.
    pub unreadable: Vec<(NetworkName, String)>,
    /// The records of networks as a whole cannot be read.
    pub damaged: Option<(PathBuf, String)>,
    /// Packet filters.
    pub filter: Filter,
    /// Who listens where names are asked for; `None` where that cannot be read.
    pub name_servers: Option<Vec<Listener>>,
    /// True if the policy for dnsmasq's names is installed.
    pub policy: bool,
    /// What was denied; `None` where no log can be read.
    pub denied: Option<Vec<Denied>>,
    /// Now, in seconds since 1970.
    pub now: u64,
    /// Units that have failed, or why nobody can tell.
    pub failed: Result<Vec<String>, String>,
    /// True if `miniascape daemon` is needed here and does not answer.
    pub no_daemon: bool,
    /// What the probe of KVM has shown, where there is one that does not work.
    pub kvm: Option<String>,
    /// Why KVM could not be tried.
    pub kvm_untried: Option<String>,
    /// What waits, and why.
    pub pending: Vec<(String, String)>,
    /// The file systems that we write to.
    pub spaces: Vec<Space>,
    /// The hardware addresses of all guests; `None` where libvirt cannot be asked.
    pub macs: Option<HashSet<Mac>>,
}

/// Gathers the facts. Networks with DHCP are asked for other servers, which takes some seconds.
pub fn gather(layout: &Layout, asked: &Asked) -> Facts {
    let libvirt = match asked {
        Asked::There(libvirt) => Some(libvirt),
        Asked::Away(_) | Asked::Refused(_) => None,
    };
    let services = Services::of(layout);
    let root = rustix::process::geteuid().is_root();
    let (records, damaged) = match network::registered(layout) {
        Ok(records) => (records, None),
        Err(StateError::Damaged { path, reason }) => (Vec::new(), Some((path, reason))),
        Err(error) => (
            Vec::new(),
            Some((layout.networks().on_disk().to_owned(), error.to_string())),
        ),
    };
    let mut unreadable = Vec::new();
    let mut networks = Vec::new();
    for record in &records {
        match net(layout, libvirt, &services, record) {
            Ok(net) => networks.push(net),
            Err(reason) => unreadable.push((record.name.clone(), reason)),
        }
    }
    let wants_daemon = records.iter().any(|record| record.dnsmasq);
    let (kvm, kvm_untried) = match kvm::answer(layout, true) {
        Ok(answer) => (
            (!answer.usable && Path::new("/dev/kvm").exists()).then_some(answer.words),
            None,
        ),
        Err(error) => (None, Some(error.to_string())),
    };
    Facts {
        libvirt: match asked {
            Asked::There(_) => None,
            Asked::Away(reason) => Some((reason.clone(), false)),
            Asked::Refused(reason) => Some((reason.clone(), true)),
        },
        networks,
        unreadable,
        damaged,
        filter: filter(root),
        name_servers: listeners::at(53).ok(),
        policy: policy(layout),
        denied: denied(root),
        now: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs()),
        failed: services.failed_units().map_err(|error| error.to_string()),
        no_daemon: wants_daemon && matches!(services.check(), Err(ServiceError::NoManager { .. })),
        kvm,
        kvm_untried,
        pending: pending(layout),
        spaces: spaces(layout),
        macs: libvirt.and_then(|libvirt| macs(libvirt).ok()),
        root,
        daemons: Daemons::here(),
    }
}

fn net(
    layout: &Layout,
    libvirt: Option<&Libvirt>,
    services: &Services,
    record: &Applied,
) -> Result<Net, String> {
    let status =
        network::status(layout, libvirt, services, &record.name).map_err(|error| error.to_string())?;
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let leases = if record.dnsmasq {
        lease::read(layout.leases(&record.name).on_disk()).map_err(|error| error.to_string())?
    } else {
        Vec::new()
    };
    let dir = layout.network(&record.name);
    let mut reserved = HashSet::new();
    for file in record.files.keys() {
        let words = text(dir.join(file).on_disk());
        let words = words.split([',', '\n', ' ', '=']);
        reserved.extend(words.filter_map(|word| word.parse::<Mac>().ok()));
    }
    let bridge = record.bridge.as_ref();
    Ok(Net {
        needs: record.needs.clone(),
        serves_dns: record.dnsmasq
            && !text(layout.dnsmasq_conf(&record.name).on_disk())
                .lines()
                .any(|line| line == "port=0"),
        on_bus: bus::dnsmasq_pid(&record.name).ok().map(|pid| pid.is_some()),
        zone: bridge.and_then(|bridge| {
            packet_filter::firewalld_zone(bridge, &[("dhcp", "67/udp"), ("dns", "53/udp")])
        }),
        leases,
        reserved,
        heard: bridge.map_or_else(Vec::new, |bridge| bridges::heard(bridge).unwrap_or_default()),
        status,
    })
}

fn filter(root: bool) -> Filter {
    let rules = |family, table| {
        if root {
            packet_filter::rules(family, table)
        } else {
            None
        }
    };
    let zones = ["/usr/lib/firewalld/zones", "/etc/firewalld/zones"];
    Filter {
        v4: rules(Family::V4, "filter"),
        nat: rules(Family::V4, "nat"),
        v6: rules(Family::V6, "filter"),
        ruleset: packet_filter::ruleset(),
        bridged: sysctl::is_on("net/bridge/bridge-nf-call-iptables"),
        libvirt_zone: zones
            .iter()
            .any(|dir| Path::new(dir).join("libvirt.xml").exists()),
    }
}

fn policy(layout: &Layout) -> bool {
    layout.bus_policies().iter().any(|place| place.on_disk().exists())
}

fn denied(root: bool) -> Option<Vec<Denied>> {
    if !root {
        return None;
    }
    let has_module = denials::has_module("miniascape");
    let all = denials::read()?.into_iter().map(|mut denial| {
        // Of a name alone nobody knows whose it is.
        if let Some(inode) = denial.inode.filter(|_| !denial.file.starts_with('/'))
            && let Some(path) = denials::find(&super::confinement::OURS, &denial.file, inode)
        {
            denial.file = printable(&path.to_string_lossy(), 400);
        }
        let allowed = match super::confinement::local_rules(&denial) {
            Some(path) => {
                fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"{}\"", denial.file)))
            }
            None => has_module,
        };
        Denied {
            changed: denials::changed(Path::new(&denial.file)),
            allowed,
            denial,
        }
    });
    Some(all.collect())
}

fn pending(layout: &Layout) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for wish in network::pending(layout).unwrap_or_default() {
        let what = format!("to {} it is pending: {}", wish.work.verb(), wish.reason);
        all.push((wish.network.to_string(), what));
    }
    for wish in install::pending(layout).unwrap_or_default() {
        let reason = printable(&wish.reason, 400);
        all.push((
            wish.kind.guest().to_string(),
            format!("to {} is pending: {reason}", wish.kind),
        ));
    }
    if install::is_any_unlinked(layout) {
        let what = "an image that came back is not linked to the guests that hold it";
        all.push(("images".to_owned(), what.to_owned()));
    }
    if guest::live::is_any(layout) {
        let what = "an interrupted live pack has left something to undo";
        all.push(("live packs".to_owned(), what.to_owned()));
    }
    all
}

fn macs(libvirt: &Libvirt) -> Result<HashSet<Mac>, crate::host::LibvirtError> {
    let mut macs = HashSet::new();
    for record in libvirt.domains()? {
        let mut all = vec![record.xml];
        if record.state.is_active() {
            all.extend(libvirt.live_domain_xml(&record.name).ok());
        }
        for xml in all {
            let interfaces = Domain::parse(&xml).map(|domain| domain.interfaces);
            let interfaces = interfaces.unwrap_or_default().into_iter();
            macs.extend(interfaces.filter_map(|interface| interface.mac?.parse::<Mac>().ok()));
        }
    }
    Ok(macs)
}

/// Directories with files that can be had again, and what empties them.
const CACHES: [(&str, &str); 3] = [
    ("/var/cache/apt/archives", "apt-get clean"),
    ("/var/cache/dnf", "dnf clean packages"),
    ("/var/log/journal", "journalctl --vacuum-size=100M"),
];

fn spaces(layout: &Layout) -> Vec<Space> {
    let ours = [
        layout.networks(),
        layout.packaged_images(),
        layout.all_instance_disks(),
        layout.run(),
    ];
    let mut systems: BTreeMap<u64, Space> = BTreeMap::new();
    for place in ours {
        let dir = place.on_disk();
        let Some(there) = dir.ancestors().find(|dir| dir.exists()) else {
            continue;
        };
        // What cannot be looked at is not ours to write to either.
        let Ok(system) = files::file_system(there) else {
            continue;
        };
        let space = systems.entry(system.device).or_insert_with(|| Space {
            dirs: Vec::new(),
            system,
            caches: Vec::new(),
        });
        space.dirs.push(dir.to_owned());
    }
    for (dir, command) in CACHES {
        let dir = Path::new(dir);
        if let Ok(system) = files::file_system(dir)
            && let Some(space) = systems.get_mut(&system.device)
        {
            let bytes = size(dir, 3);
            space.caches.push((dir.to_owned(), command, bytes));
        }
    }
    systems.into_values().collect()
}

/// The bytes of the files in a directory, so many levels deep.
fn size(dir: &Path, depth: u32) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() && depth > 0 => size(&entry.path(), depth - 1),
        Ok(meta) if meta.is_file() => meta.len(),
        _ => 0,
    });
    sizes.sum()
}
