//! A guest as libvirt sees it: domain XML for tests that define one by hand, and its serial console.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::host::Host;
use crate::support::output::Output;
use crate::support::running::Running;
use crate::support::site::Site;
use crate::support::wait::patient;

/// A domain for tests that do not ask the program under test for one.
#[derive(Debug, Clone)]
pub(crate) struct DomainSpec {
    name: String,
    disk: String,
    format: String,
    network: Option<(String, String)>,
    devices: String,
}

impl DomainSpec {
    /// A domain with one qcow2 disk and no network.
    pub(crate) fn new(name: &str, disk: &str) -> Self {
        Self {
            name: name.to_owned(),
            disk: disk.to_owned(),
            format: "qcow2".to_owned(),
            network: None,
            devices: String::new(),
        }
    }

    /// Adds a device by its XML.
    pub(crate) fn device(mut self, xml: &str) -> Self {
        self.devices.push_str(xml);
        self
    }

    /// Says the format of the disk.
    pub(crate) fn format(mut self, format: &str) -> Self {
        format.clone_into(&mut self.format);
        self
    }

    /// Plugs the domain into a libvirt network.
    pub(crate) fn network(mut self, network: &str, mac: &str) -> Self {
        self.network = Some((network.to_owned(), mac.to_owned()));
        self
    }

    /// The domain XML: software emulation, a serial console with a log.
    pub(crate) fn xml(&self) -> String {
        let Self {
            name,
            disk,
            format,
            network,
            devices,
        } = self;
        let interface = network.as_ref().map_or_else(String::new, |(network, mac)| {
            format!(
                "<interface type='network'><mac address='{mac}'/><source network='{network}'/>\
                 <model type='virtio'/></interface>"
            )
        });
        format!(
            "<domain type='qemu'>\n<name>{name}</name>\n<memory unit='MiB'>192</memory>\n<vcpu>1</vcpu>\n\
             <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>\n<features><acpi/></features>\n\
             <devices>\n<disk type='file' device='disk'><driver name='qemu' type='{format}'/>\
             <source file='{disk}'/><target dev='vda' bus='virtio'/></disk>\n{interface}{devices}\n\
             <serial type='pty'><log file='{log}' append='off'/><target port='0'/></serial>\n\
             <memballoon model='none'/>\n</devices>\n</domain>\n",
            log = console_log(name),
        )
    }

    /// Defines the domain and starts it.
    #[track_caller]
    pub(crate) fn start(&self, host: &Host) -> Console {
        let file = format!("/root/{}.xml", self.name);
        host.write_file(&file, self.xml());
        host.check(["virsh", "define", &file]);
        host.check(["virsh", "start", &self.name]);
        Console::attach(host, &self.name)
    }
}

/// Makes a guest of 256 MiB with the program, from a disk that is there. `more` are further options.
#[track_caller]
pub(crate) fn create(host: &Host, name: &str, disk: &str, more: &[&str]) -> Output {
    let log = format!("/var/log/libvirt/qemu/{name}-serial.log");
    let mut words = vec!["guest", "create", name, "--memory", "256MiB", "--disk", disk];
    words.extend(["--serial-log", &log]);
    words.extend(more);
    host.miniascape_check(words)
}

/// Where domains of the lab log their console.
fn console_log(name: &str) -> String {
    format!("/var/log/libvirt/qemu/{name}-console.log")
}

/// The serial console of a running guest: what it says from its start on, and what it is told.
pub(crate) struct Console {
    domain: String,
    reader: Running,
    writer: Option<Running>,
    lines: Vec<Line>,
    /// For each word, the line after the last one that a wait returned.
    taken: HashMap<String, usize>,
}

impl Console {
    /// Attaches to the console of a running domain, whoever defined it. Everything since the start is read
    /// where the domain has a console log; only what comes from now on where it has none.
    #[track_caller]
    pub(crate) fn attach(site: &dyn Site, domain: &str) -> Self {
        let xml = site.at(&["virsh", "dumpxml", domain]).check().stdout;
        let serial = section(&xml, "<serial ", "</serial>")
            .or_else(|| section(&xml, "<console ", "</console>"))
            .unwrap_or_else(|| panic!("{domain} has no serial console: {xml}"));
        let source = section(serial, "<source ", ">").unwrap_or_default();
        let log = section(serial, "<log ", ">").and_then(|log| attribute(log, "file"));
        let (terminal, file) = match attribute(serial, "type") {
            Some("pty") => (attribute(source, "path"), log),
            Some("file") => (None, log.or_else(|| attribute(source, "path"))),
            other => panic!("{domain} has a console of type {other:?}, which the lab cannot use: {serial}"),
        };
        // The terminal is kept open, because QEMU forgets what is written while no one listens; and read,
        // because the guest would wait for the reader.
        let talk = "exec 3<>$0; stty raw -echo <&3; cat <&3 & exec cat >&3";
        let writer = terminal.map(|path| site.at(&["sh", "-c", talk, path]).stdin_pipe().spawn());
        let (reader, writer) = match (file, writer) {
            (Some(file), writer) => (
                site.at(&["tail", "-n", "+1", "-s", "0.1", "-F", file]).spawn(),
                writer,
            ),
            (None, Some(terminal)) => (terminal, None),
            (None, None) => panic!("{domain}'s console can neither be read nor written: {serial}"),
        };
        Self {
            domain: domain.to_owned(),
            reader,
            writer,
            lines: Vec::new(),
            taken: HashMap::new(),
        }
    }

    /// Waits for the next line that starts with `word`, and returns it. Lines with other words may come
    /// before or after; none of them is lost to a later wait.
    #[track_caller]
    pub(crate) fn wait(&mut self, word: &str, timeout: Duration) -> Line {
        let deadline = Instant::now() + patient(timeout);
        let mut index = self.taken.get(word).copied().unwrap_or(0);
        loop {
            if index == self.lines.len() {
                let left = deadline.saturating_duration_since(Instant::now());
                let Some(line) = self.reader.next_line(left) else {
                    panic!(
                        "{}: no {word} from the guest in {timeout:?}: {}",
                        self.domain,
                        self.transcript()
                    );
                };
                self.lines.push(Line(clean(&line).to_owned()));
            }
            if self.lines[index].word() == word {
                self.taken.insert(word.to_owned(), index + 1);
                return self.lines[index].clone();
            }
            index += 1;
        }
    }

    /// Waits until the guest obeys commands.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        self.wait("READY", BOOT_TIMEOUT);
    }

    /// Sends a command.
    #[track_caller]
    pub(crate) fn send(&mut self, command: &str) {
        self.writer
            .as_mut()
            .unwrap_or(&mut self.reader)
            .send(&format!("{command}\n"));
    }

    /// Sends a command and waits for the line that starts with `answer`.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, answer: &str) -> Line {
        self.send(command);
        self.wait(answer, ANSWER_TIMEOUT)
    }

    /// Makes the guest write its marker to its disk.
    #[track_caller]
    pub(crate) fn write_marker(&mut self, marker: &str) {
        let line = self.ask(&format!("write-marker {marker}"), "WROTE");
        assert_eq!(line.0, format!("WROTE {marker}"), "{}", self.domain);
    }

    /// Everything that the guest said so far.
    pub(crate) fn transcript(&self) -> String {
        self.reader.transcript()
    }
}

/// The time that a guest gets to boot; generous, because the lab itself may run in an emulated machine.
pub(crate) const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A line of the guest: a word, then `key=value` pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) String);

impl Line {
    fn word(&self) -> &str {
        self.0.split_whitespace().next().unwrap_or_default()
    }

    /// The value of a key; panics when the line has none.
    #[track_caller]
    pub(crate) fn value(&self, key: &str) -> &str {
        self.0
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_else(|| panic!("no {key} in {:?}", self.0))
    }
}

/// A line without what firmware and terminals leave before it.
fn clean(line: &str) -> &str {
    let line = line.rsplit("\u{1b}[2J").next().unwrap_or(line);
    line.trim_matches(|c: char| c.is_whitespace() || c.is_control())
}

/// The text from `start` to the next `end`, both included.
fn section<'a>(xml: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let from = xml.find(start)?;
    let to = xml[from..].find(end)? + end.len();
    Some(&xml[from..from + to])
}

/// The value of the first attribute of that name.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let start = element.find(&format!(" {name}='"))? + name.len() + 3;
    element[start..].split('\'').next()
}
