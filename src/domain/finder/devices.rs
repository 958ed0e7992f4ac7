//! What ties a domain's devices to the host that it is on.

use super::Finder;
use crate::domain::error::{shown, shown_path};
use crate::domain::host_bound::{Fate, HostBoundKind};
use crate::domain::host_device::host_device;
use crate::domain::scan::Element;

impl<'d> Finder<'d> {
    pub(super) fn device(&mut self, device: Element<'d>) {
        use Fate::Removed;
        use HostBoundKind as Kind;
        if device.namespace().is_some() {
            return;
        }
        let kind = device.attribute("type").unwrap_or("");
        let from = |name: &str| device.child("source").and_then(|source| source.attribute(name));
        match device.qualified_name() {
            "emulator" => {
                let what = format!("emulator {}", shown_path(device.text().trim()));
                self.add(device, Kind::Emulator, Removed, what);
            }
            "hostdev" => self.add(device, Kind::HostDevice, Removed, host_device(device)),
            "filesystem" => {
                let directory = from("dir")
                    .or(from("file"))
                    .or(from("name"))
                    .or(from("socket"))
                    .unwrap_or("?");
                let tag = device
                    .child("target")
                    .and_then(|target| target.attribute("dir"))
                    .unwrap_or("?");
                let what = format!("shared directory {} (as {})", shown(directory), shown(tag));
                self.add(device, Kind::Filesystem, Removed, what);
            }
            "redirdev" if kind != "spicevmc" => {
                let what = format!("device redirected over {}", shown(kind));
                self.add(device, Kind::RedirectedDevice, Removed, what);
            }
            "smartcard" if device.attribute("mode") == Some("passthrough") => {
                self.character_device(device, kind);
            }
            "smartcard"
                if device
                    .attribute("mode")
                    .is_some_and(|mode| mode.starts_with("host")) =>
            {
                self.add(
                    device,
                    Kind::Smartcard,
                    Removed,
                    "smartcard of the host".to_owned(),
                );
            }
            "input" if matches!(kind, "passthrough" | "evdev") => {
                let path = from("evdev").or(from("dev")).unwrap_or("?");
                self.add(
                    device,
                    Kind::HostDevice,
                    Removed,
                    format!("input device {}", shown(path)),
                );
            }
            "disk" => self.disk(device),
            "interface" => self.interface(device, kind),
            "tpm" => self.tpm(device),
            "graphics" => {
                if device.attribute("passwd").is_some() {
                    self.add(
                        device,
                        Kind::Password,
                        Removed,
                        format!("password of the {} display", shown(kind)),
                    );
                }
                let node = device.child("gl").and_then(|gl| gl.attribute("rendernode"));
                self.path(device, "render node", node);
                self.display_sockets(device);
            }
            "serial" | "parallel" | "console" | "channel" => self.character_device(device, kind),
            "rng" => self.random_numbers(device),
            "memory" | "shmem" | "video" => {
                let path = device.at(&["source", "path"]).and_then(Element::trimmed_text);
                let path = path.or_else(|| device.attribute("name").map(str::to_owned));
                self.path(device, "memory shared with the host", path.as_deref());
                let server = device.child("server").and_then(|server| server.attribute("path"));
                self.path(device, "server of shared memory", server);
                let node = device.at(&["model", "acceleration"]);
                let node = node.and_then(|node| node.attribute("rendernode"));
                self.path(device, "render node", node);
            }
            "audio" => {
                let path = device.attribute("path").or(device.attribute("serverName"));
                self.path(device, "sound", path);
                for name in ["input", "output"] {
                    let end = device.child(name);
                    self.path(device, "sound", end.and_then(|end| end.attribute("dev")));
                }
            }
            "pstore" => {
                let path = device.child("path").and_then(Element::trimmed_text);
                self.path(device, "store of crash records", path.as_deref());
            }
            "lease" => {
                let path = device.child("target").and_then(|target| target.attribute("path"));
                self.path(device, "lease of a lock", path);
            }
            _ => {}
        }
    }

    /// libvirt's own, in the XML of a running domain, are no one's choice.
    fn display_sockets(&mut self, graphics: Element<'d>) {
        let listen = graphics.children_named("listen");
        let sockets = std::iter::once(graphics).chain(listen);
        for socket in sockets.filter_map(|element| element.attribute("socket")) {
            if !generated_socket(socket) {
                self.path(graphics, "socket of the display", Some(socket));
            }
        }
        for (name, what) in [("xauth", "X authority"), ("address", "message bus")] {
            self.path(graphics, what, graphics.attribute(name));
        }
    }

    fn random_numbers(&mut self, rng: Element<'d>) {
        let usual = ["/dev/random", "/dev/urandom", "/dev/hwrng"];
        for backend in rng.children_named("backend") {
            if backend.attribute("model") == Some("egd") {
                let what = "random numbers from a daemon of the host".to_owned();
                self.add(backend, HostBoundKind::HostPath, Fate::Kept, what);
            } else if let Some(path) = backend.trimmed_text() {
                let path = Some(path.as_str()).filter(|path| !usual.contains(path));
                self.path(backend, "random numbers from", path);
            }
        }
    }

    pub(super) fn option_rom(&mut self, device: Element<'d>) {
        if let Some(rom) = device.child("rom") {
            self.path(rom, "option ROM", rom.attribute("file"));
        }
    }

    fn disk(&mut self, disk: Element<'d>) {
        if !matches!(disk.attribute("device"), Some("cdrom" | "floppy")) {
            return;
        }
        // A chain below an empty drive is one all the same.
        let chain = || disk.at(&["backingStore", "source"]);
        let Some(source) = disk.child("source").or_else(chain) else {
            return;
        };
        let named = ["file", "dev", "dir", "protocol", "pool", "name", "volume"];
        let medium: Vec<&str> = named.iter().filter_map(|name| source.attribute(name)).collect();
        let target = disk
            .child("target")
            .and_then(|target| target.attribute("dev"))
            .unwrap_or("?");
        let what = format!(
            "medium {} in the drive {}",
            shown(&medium.join(" ")),
            shown(target)
        );
        self.add(disk, HostBoundKind::Media, Fate::Emptied, what);
    }

    fn interface(&mut self, interface: Element<'d>, kind: &str) {
        let from = |name: &str| {
            interface
                .child("source")
                .and_then(|source| source.attribute(name))
        };
        let what = match kind {
            "hostdev" => {
                let what = host_device(interface);
                return self.add(interface, HostBoundKind::HostDevice, Fate::Removed, what);
            }
            "bridge" => format!("bridge {}", shown(from("bridge").unwrap_or("?"))),
            "direct" | "vdpa" => format!("network device {}", shown(from("dev").unwrap_or("?"))),
            "vhostuser" => format!("network socket {}", shown_path(from("path").unwrap_or("?"))),
            "server" | "client" | "mcast" | "udp" => format!(
                "network socket {} {}:{}",
                shown(kind),
                shown(from("address").unwrap_or("?")),
                shown(from("port").unwrap_or("?"))
            ),
            _ => String::new(),
        };
        if !what.is_empty() {
            self.add(interface, HostBoundKind::HostNetwork, Fate::Kept, what);
        }
        let target = interface.child("target");
        if let Some(target) = target.filter(|target| target.attribute("managed") == Some("no")) {
            let device = shown(target.attribute("dev").unwrap_or("?"));
            self.add(
                target,
                HostBoundKind::HostNetwork,
                Fate::Kept,
                format!("network device {device}"),
            );
        }
        for forward in interface.children_named("portForward") {
            let part = |name| shown(forward.attribute(name).unwrap_or("any"));
            let what = format!(
                "forwarded {} ports of {}",
                shown(forward.attribute("proto").unwrap_or("?")),
                part("address")
            );
            self.add(forward, HostBoundKind::HostNetwork, Fate::Kept, what);
        }
        if let Some(backend) = interface.child("backend") {
            for (name, what) in [
                ("tap", "network device"),
                ("vhost", "network device"),
                ("logFile", "log of the network's back end"),
            ] {
                self.path(backend, what, backend.attribute(name));
            }
        }
        if let Some(filter) = interface.child("filterref") {
            let what = format!(
                "network filter {}",
                shown(filter.attribute("filter").unwrap_or("?"))
            );
            self.add(filter, HostBoundKind::HostNetwork, Fate::Kept, what);
        }
        for name in ["script", "downscript"] {
            let script = interface.child(name);
            let path = script.and_then(|script| script.attribute("path"));
            if let Some((script, path)) = script.zip(path.filter(|path| !path.is_empty())) {
                let what = format!("network script {}", shown_path(path));
                self.add(script, HostBoundKind::Script, Fate::Kept, what);
            }
        }
    }

    fn tpm(&mut self, tpm: Element<'d>) {
        let backend = tpm.child("backend");
        match backend.and_then(|backend| backend.attribute("type")) {
            Some("emulator") => {
                let what = "state of the emulated TPM".to_owned();
                self.add(tpm, HostBoundKind::Tpm, Fate::Emptied, what);
                // Each host's libvirt has its own place for it.
                if let Some(source) = backend.and_then(|backend| backend.child("source")) {
                    let what = format!(
                        "place of the TPM's state {}",
                        shown(source.attribute("path").unwrap_or("?"))
                    );
                    self.add(source, HostBoundKind::HostPath, Fate::Removed, what);
                }
            }
            _ => self.add(
                tpm,
                HostBoundKind::Tpm,
                Fate::Removed,
                "TPM of the host".to_owned(),
            ),
        }
    }

    fn character_device(&mut self, device: Element<'d>, kind: &str) {
        let name = device.qualified_name();
        for source in device
            .children_named("source")
            .filter(|_| !matches!(kind, "pty" | "spicevmc"))
        {
            if generated_channel(device) {
                continue;
            }
            let address = source
                .attribute("host")
                .map(|host| format!("{}:{}", host, source.attribute("service").unwrap_or("?")));
            let place = source.attribute("path").map(str::to_owned).or(address);
            self.path(source, &format!("{name} {}", shown(kind)), place.as_deref());
        }
        if let Some(log) = device.child("log") {
            let what = format!(
                "log of the {name} {}",
                shown(log.attribute("file").unwrap_or("?"))
            );
            self.add(log, HostBoundKind::HostPath, Fate::Removed, what);
        }
    }

    pub(super) fn secrets(&mut self, device: Element<'d>) {
        let places = [
            &["encryption", "secret"][..],
            &["source", "encryption", "secret"],
            &["auth", "secret"],
            &["source", "auth", "secret"],
            &["backend", "encryption"],
        ];
        for secret in places.iter().filter_map(|path| device.at(path)) {
            let name = ["uuid", "usage", "secret"]
                .iter()
                .find_map(|name| secret.attribute(name));
            if let Some(name) = name {
                let what = format!("libvirt secret {}", shown(name));
                self.add(secret, HostBoundKind::Secret, Fate::Kept, what);
            }
        }
    }
}

/// Whether libvirt made up the path of a display's socket: …/qemu/domain-ID-NAME/vnc.sock.
pub(in crate::domain) fn generated_socket(path: &str) -> bool {
    path.contains("/qemu/domain-") && !climbs(path)
}

/// Whether a path leads out of the directory that it seems to be in.
fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// Whether libvirt made up the socket path of a channel (in the XML of a running domain it is there).
pub(in crate::domain) fn generated_channel(device: Element<'_>) -> bool {
    let name = device.child("target").and_then(|target| target.attribute("name"));
    let source = device.child("source");
    // Its own it makes; it never connects to one.
    let made = source.filter(|source| !matches!(source.attribute("mode"), Some("connect" | "client")));
    let path = made.and_then(|source| source.attribute("path"));
    let path = path.filter(|path| !climbs(path));
    let directory = path
        .zip(name.filter(|name| !name.contains('/')))
        .and_then(|(path, name)| {
            // Below libvirt's own directory, wherever that is: /var/lib/libvirt/qemu, or in a home directory.
            let (host, below) = path.strip_suffix(name)?.rsplit_once("/channel/")?;
            let below = below.strip_prefix("target/").unwrap_or(below);
            host.split('/').any(|part| part == "qemu").then_some(below)
        });
    device.is("channel")
        && device.attribute("type") == Some("unix")
        && directory.is_some_and(|directory| match directory.strip_suffix('/') {
            // domain-ID-NAME, or ID-NAME since libvirt 9.7.
            Some(own) => {
                !own.contains('/') && own.strip_prefix("domain-").unwrap_or(own).starts_with(is_digit)
            }
            None => !directory.contains('/') && directory.ends_with('.'),
        })
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}
