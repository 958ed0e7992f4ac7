//! Clashes found before anything is changed: with other definitions of this host and with what its configuration
//! reserves, which are mistakes in files; and with the host's routes and libvirt's networks, which are how this host
//! happens to be.
//!
//! What is around is gathered once ([`Surroundings`], [`Host`]); the rules are pure.

use super::auto::Chosen;
use super::definition::{self, Definition};
use super::{Observed, check, dropin, find, registered};
use crate::config::{Config, Networks};
use crate::host::routes::{self, Route};
use crate::host::{Layout, Libvirt, LibvirtError, NetworkRecord, files};
use crate::name::{InterfaceName, Mac, NetworkName, printable};
use crate::yaml::{Fault, MAX_FILE, Place, Problems, Report, Source};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Another definition on this host.
#[derive(Debug)]
struct Neighbour {
    name: NetworkName,
    subnets: Vec<(IpNet, String)>,
    /// The bridge that libvirt makes for it; one that is there may serve several.
    bridge: Option<(InterfaceName, String)>,
}

/// A network of libvirt's.
#[derive(Debug)]
struct Foreign {
    name: String,
    bridges: Vec<String>,
    nets: Vec<IpNet>,
}

/// How the running host is.
#[derive(Debug)]
pub(super) struct Host {
    routes: Vec<Route>,
    networks: Vec<Foreign>,
}

/// What a network of this host has around it in files.
#[derive(Debug)]
pub(super) struct Surroundings {
    config: Networks,
    neighbours: Vec<Neighbour>,
    /// Who has a MAC address: the neighbour by its index, and where.
    macs: HashMap<Mac, Vec<(usize, String)>>,
}

impl Surroundings {
    /// What the files of `layout` say: the definitions in the directory for them, those that networks are registered
    /// from, and the configuration. A definition with mistakes is passed over: checking it is its own business; and so is
    /// `own`, the one definition that is to be checked against all this.
    pub(super) fn of_files(layout: &Layout, own: Option<&Path>) -> Result<Self, Problems> {
        let mut paths: Vec<PathBuf> = Vec::new();
        let dir = layout.definitions();
        for (_, path) in find::defined(layout) {
            if path.parent() == Some(dir.on_disk()) {
                paths.push(path);
            }
        }
        // What cannot be read is told in the log, or by whoever needs it.
        for applied in registered(layout).unwrap_or_default() {
            let elsewhere = applied.source.parent() != Some(dir.on_disk());
            if elsewhere && !paths.contains(&applied.source) {
                paths.push(applied.source);
            }
        }
        let mut all = Self {
            config: Config::read(layout)?.networks,
            neighbours: Vec::new(),
            macs: HashMap::new(),
        };
        for path in paths.into_iter().filter(|path| own != Some(path)) {
            all.add(layout, &path);
        }
        Ok(all)
    }

    fn add(&mut self, layout: &Layout, path: &Path) {
        let shown = path.display().to_string();
        let Ok(bytes) = files::read_at_most(path, MAX_FILE) else {
            return;
        };
        let text = String::from_utf8_lossy(&bytes);
        let late = OnceCell::new();
        let mut report = Report::new(Source::new(&shown, &text));
        let Some(mut definition) = definition::read(&mut report) else {
            return;
        };
        let name = definition.name.value.clone();
        for part in late.get_or_init(|| dropin::load(layout, path, &name, true, &[])) {
            part.read(&mut definition, &mut report);
        }
        let at = |place: Place| {
            let file = printable(report.file_name(place), 4096);
            format!("{file}:{}:{}", place.line, place.column)
        };
        let index = self.neighbours.len();
        for entry in &definition.hosts {
            for mac in &entry.macs {
                let owners = self.macs.entry(mac.value).or_default();
                owners.push((index, at(mac.place)));
            }
        }
        let chosen = Chosen::read(layout, &name).subnet;
        let subnets = subnets(&definition)
            .into_iter()
            .filter_map(|(net, place)| match net {
                Some(net) => Some((net, at(place))),
                None => Some((chosen?.into(), at(place))),
            });
        let bridge = check::own_bridge(&definition).map(|bridge| (bridge, at(bridge_place(&definition))));
        self.neighbours.push(Neighbour {
            subnets: subnets.collect(),
            bridge,
            name,
        });
    }

    /// Where `subnet: auto` may look for a subnet.
    pub(super) fn pool(&self) -> &[Ipv4Net] {
        &self.config.pool
    }

    /// All subnets that somebody else than `name` has, or that nobody is to have. `own` are the network's bridges.
    pub(super) fn taken(&self, host: Option<&Host>, name: &NetworkName, own: &[String]) -> Vec<IpNet> {
        let mut all: Vec<IpNet> = self.config.reserved.iter().map(|reserved| reserved.net).collect();
        for neighbour in self.others(name) {
            all.extend(neighbour.subnets.iter().map(|(net, _)| *net));
        }
        if let Some(host) = host {
            all.extend(
                host.foreign(name)
                    .flat_map(|network| network.nets.iter().copied()),
            );
            all.extend(host.routes(own).map(|route| route.net));
        }
        all
    }

    fn others(&self, name: &NetworkName) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.iter().filter(move |other| other.name != *name)
    }

    /// Reports clashes with other files as errors; what is only suspicious, as warnings.
    pub(super) fn check_files(&self, definition: &Definition, report: &mut Report<'_>) {
        let name = &definition.name.value;
        for (subnet, place) in subnets(definition) {
            let Some(subnet) = subnet else { continue };
            for other in self.others(name) {
                for (net, at) in other.subnets.iter().filter(|(net, _)| overlap(*net, subnet)) {
                    report.error(taken(
                        place,
                        subnet,
                        &format!("{net} of the network {} ({at})", other.name),
                    ));
                }
            }
            for reserved in self.config.reserved.iter().filter(|r| overlap(r.net, subnet)) {
                report.error(taken(
                    place,
                    subnet,
                    &format!("{}, which is reserved ({})", reserved.net, reserved.at),
                ));
            }
        }
        let (bridge, place) = (check::own_bridge(definition), bridge_place(definition));
        for other in self.others(name) {
            if let (Some(bridge), Some((theirs, at))) = (&bridge, &other.bridge)
                && bridge == theirs
            {
                report.error(
                    Fault::new(
                        place,
                        format!(
                            "the bridge {bridge} is that of the network {} too ({at})",
                            other.name
                        ),
                    )
                    .help("give each network a `bridge:` of its own"),
                );
            }
        }
        for mac in definition.hosts.iter().flat_map(|entry| &entry.macs) {
            let owners = self.macs.get(&mac.value).into_iter().flatten();
            let theirs = owners.map(|(index, at)| (&self.neighbours[*index].name, at));
            for (other, at) in theirs.filter(|(other, _)| *other != name) {
                report.warning(
                    Fault::new(
                        mac.place,
                        format!("the MAC address {} is in the network {other} too ({at})", mac.value),
                    )
                    .help("an interface is in one network; give each of a guest's interfaces an address of its own"),
                );
            }
        }
    }
}

fn taken(place: Place, subnet: IpNet, by: &str) -> Fault {
    Fault::new(place, format!("{subnet} overlaps {by}"))
        .help("take another subnet; `subnet: auto` finds a free one")
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// The subnets of a definition with their places; `None` where one is still to be chosen.
fn subnets(definition: &Definition) -> Vec<(Option<IpNet>, Place)> {
    let v4 = definition.ipv4.iter().map(|section| {
        let unknown = section.auto && section.subnet.value == Ipv4Net::default();
        let net = (!unknown).then_some(IpNet::V4(section.subnet.value));
        (net, section.subnet.place)
    });
    let v6 = definition.ipv6.iter().map(|section| {
        let net = IpNet::V6(section.subnet.value);
        (Some(net), section.subnet.place)
    });
    v4.chain(v6).collect()
}

/// Where the network's bridge is named, or else the network.
fn bridge_place(definition: &Definition) -> Place {
    match &definition.bridge {
        Some(bridge) => bridge.place,
        None => definition.name.place,
    }
}

/// True if the network can be a part of what the host reaches by the route: one whose guests are seen there with their
/// own addresses, for which the host answers.
fn is_part(definition: &Definition, subnet: IpNet, route: &Route) -> bool {
    let mode = definition.mode.value;
    mode.forwards() && mode.shows_addresses() && route.net != subnet && route.net.contains(&subnet)
}

impl Foreign {
    fn new(record: &NetworkRecord) -> Self {
        let sides = [Some(&record.xml), record.live_xml.as_ref()];
        let sides: Vec<Observed> = sides
            .into_iter()
            .flatten()
            .map(|xml| Observed::parse(xml))
            .collect();
        let mut nets: Vec<IpNet> = sides
            .iter()
            .flat_map(|side| &side.addresses)
            .filter_map(|(address, mask)| net(address, mask))
            .collect();
        nets.sort();
        nets.dedup();
        Self {
            name: record.name.clone(),
            bridges: sides.into_iter().filter_map(|side| side.bridge).collect(),
            nets,
        }
    }
}

/// The subnet of an address with its prefix length or netmask, as libvirt writes them.
fn net(address: &str, mask: &str) -> Option<IpNet> {
    let net = match (
        address.parse().ok()?,
        mask.parse::<u8>(),
        mask.parse::<Ipv4Addr>(),
    ) {
        (IpAddr::V4(address), Ok(length), _) => Ipv4Net::new(address, length).ok()?.into(),
        (IpAddr::V4(address), _, Ok(mask)) => Ipv4Net::with_netmask(address, mask).ok()?.into(),
        (IpAddr::V6(address), Ok(length), _) => Ipv6Net::new(address, length).ok()?.into(),
        _ => return None,
    };
    Some(IpNet::trunc(&net))
}

impl Host {
    /// The routes of this host, and the networks of its libvirt, if that can be asked.
    pub(super) fn gather(libvirt: Option<&Libvirt>) -> Self {
        let networks = libvirt.map(Libvirt::networks);
        let unknown = |error: LibvirtError| {
            tracing::warn!("{error}, so that clashes with its networks are not seen");
            Vec::new()
        };
        Self {
            routes: routes::routes().unwrap_or_else(|error| {
                tracing::warn!("{error}, so that clashes with this host's routes are not seen");
                Vec::new()
            }),
            networks: networks
                .map_or(Ok(Vec::new()), |networks| networks)
                .unwrap_or_else(unknown)
                .iter()
                .map(Foreign::new)
                .collect(),
        }
    }

    /// Reports clashes with the running host as errors; what is only suspicious, as warnings. `own` are the network's
    /// bridges.
    pub(super) fn check(&self, definition: &Definition, own: &[String], report: &mut Report<'_>) {
        let name = &definition.name.value;
        for (subnet, place) in subnets(definition) {
            let Some(subnet) = subnet else { continue };
            for network in self.foreign(name) {
                for net in network.nets.iter().filter(|net| overlap(**net, subnet)) {
                    report.error(taken(
                        place,
                        subnet,
                        &format!("{net} of libvirt's network {}", printable(&network.name, 64)),
                    ));
                }
            }
            for route in self.routes(own).filter(|route| overlap(route.net, subnet)) {
                let interface = printable(&route.interface, 20);
                let single = route.net.prefix_len() == route.net.max_prefix_len();
                if route.gateway && (single || route.net.contains(&subnet) && route.net != subnet) {
                    report.warning(
                        Fault::new(
                            place,
                            format!(
                                "{subnet} overlaps {}, which this host reaches by {interface}",
                                route.net
                            ),
                        )
                        .help("the addresses that both have will be one of them only; is that meant?"),
                    );
                } else if !single && !is_part(definition, subnet, route) {
                    report.error(taken(
                        place,
                        subnet,
                        &format!("{}, which this host reaches by {interface}", route.net),
                    ));
                }
            }
        }
    }

    /// libvirt's networks of other names.
    fn foreign(&self, name: &NetworkName) -> impl Iterator<Item = &Foreign> {
        self.networks
            .iter()
            .filter(move |network| network.name != name.as_str())
    }

    /// Routes that can clash: not the default ones, also in the two halves that some VPNs make of them, nor those of links
    /// and multicast; not those of libvirt's networks, which have a name, and not the network's own.
    fn routes<'h>(&'h self, own: &'h [String]) -> impl Iterator<Item = &'h Route> {
        let bridges = self.networks.iter().flat_map(|network| &network.bridges);
        let bridges: Vec<&String> = bridges.collect();
        self.routes.iter().filter(move |route| {
            let special = match route.net {
                IpNet::V4(net) => net.network().is_link_local() || net.network().is_multicast(),
                IpNet::V6(net) => {
                    net.network().is_unicast_link_local()
                        || net.network().is_multicast()
                        || net.network() == Ipv6Addr::LOCALHOST
                }
            };
            route.net.prefix_len() >= 4
                && !special
                && route.interface != "lo"
                && !bridges.contains(&&route.interface)
                && !own.contains(&route.interface)
        })
    }
}
