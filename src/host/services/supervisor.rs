//! `miniascape daemon`: starts, watches, restarts and stops the dnsmasq of every registered network, and takes
//! up pending work. Under systemd the units do the first part, and the daemon leaves dnsmasq alone.

use super::chore::{self, Chore};
use super::protocol::{self, Reply, Request, Verb};
use crate::host::{CommandError, Layout, Program, bus, command::Run, files};
use crate::name::NetworkName;
use fs_err as fs;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a new dnsmasq has to appear on the bus, and an old one to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// First and longest pause before a dnsmasq that died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// After this long a dnsmasq counts as well.
const SETTLED: Duration = Duration::from_secs(60);
/// Accounts that dnsmasq may give its root rights up for, the first that exists.
const ACCOUNTS: [&str; 3] = ["miniascape-dnsmasq", "dnsmasq", "nobody"];

/// Why the daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The socket or the run directory cannot be made.
    #[error("the daemon cannot listen: {0}")]
    Listen(#[from] io::Error),
    /// Another daemon has the socket.
    #[error("another `miniascape daemon` is running at {0}")]
    AlreadyRunning(String),
    /// dnsmasq is not installed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

enum Event {
    Asked(Request, Sender<Reply>),
    Exited(NetworkName, u32, ExitStatus),
    Terminate,
}

/// A dnsmasq that is ours to keep alive.
#[derive(Debug)]
struct Server {
    pidfd: OwnedFd,
    pid: u32,
    since: Instant,
    last_words: Receiver<String>,
}

/// The daemon's state.
#[derive(Debug)]
pub struct Daemon {
    layout: Layout,
    dnsmasq: Program,
    supervise: bool,
    events: (Sender<Event>, Receiver<Event>),
    servers: BTreeMap<NetworkName, Server>,
    due: BTreeMap<NetworkName, Instant>,
    /// How long each dnsmasq that keeps dying was last waited for.
    pauses: BTreeMap<NetworkName, Duration>,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked(request, _) => write!(f, "Asked({request:?})"),
            Self::Exited(network, pid, status) => write!(f, "Exited({network}, {pid}, {status})"),
            Self::Terminate => f.write_str("Terminate"),
        }
    }
}

impl Daemon {
    /// A daemon for the files at `layout`; with `supervise` it also runs the dnsmasq processes.
    pub fn new(layout: Layout, supervise: bool) -> Result<Self, DaemonError> {
        let dnsmasq = Program::find("dnsmasq", "dnsmasq-base")?;
        Ok(Self {
            layout,
            dnsmasq,
            supervise,
            events: channel(),
            servers: BTreeMap::new(),
            due: BTreeMap::new(),
            pauses: BTreeMap::new(),
        })
    }

    /// Runs until SIGTERM or SIGINT. `networks` are started first; `chore` takes up pending work, at the start and
    /// later, in a thread of its own, so that it may itself ask the daemon; `ready` is called once, when the socket
    /// answers.
    pub fn run(
        mut self,
        networks: &[NetworkName],
        chore: impl FnMut() -> Chore + Send + 'static,
        ready: impl FnOnce(),
    ) -> Result<(), DaemonError> {
        let socket = self.layout.daemon_socket();
        let (listener, _lock) = self.listen()?;
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
        let sender = self.events.0.clone();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                let _ = sender.send(Event::Terminate);
            }
        });
        if self.supervise {
            for network in networks {
                if let Err(reason) = self.start(network) {
                    tracing::error!(%network, %reason, "dnsmasq does not start");
                    self.postpone(network);
                }
            }
        }
        let sender = self.events.0.clone();
        std::thread::spawn(move || accept(&listener, &sender));
        ready();
        let layout = self.layout.clone();
        std::thread::spawn(move || chore::repeat(&layout, chore));
        loop {
            self.start_due();
            let left = self
                .due
                .values()
                .min()
                .map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            match self.events.1.recv_timeout(left) {
                Ok(Event::Asked(request, reply)) => drop(reply.send(self.answer(&request))),
                Ok(Event::Exited(network, pid, status)) => self.exited(&network, pid, status),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Terminate) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for network in self.servers.keys().cloned().collect::<Vec<_>>() {
            if let Err(reason) = self.stop(&network) {
                tracing::error!(%network, %reason, "dnsmasq does not stop");
            }
        }
        files::remove(socket.on_disk())?;
        Ok(())
    }

    /// The socket, and the lock that keeps a second daemon out for as long as this one lives.
    fn listen(&self) -> Result<(UnixListener, files::Lock), DaemonError> {
        let place = self.layout.daemon_socket();
        let path = place.on_disk();
        files::make_dir(self.layout.run().on_disk(), 0o755)?;
        let taken = || DaemonError::AlreadyRunning(path.display().to_string());
        let lock = files::Lock::try_acquire(self.layout.daemon_lock().on_disk())?.ok_or_else(taken)?;
        files::remove(path)?;
        // The socket answers under its final name only when its mode is right.
        let draft = path.with_extension("new");
        files::remove(&draft)?;
        let listener = UnixListener::bind(&draft)?;
        fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
        fs::rename(&draft, path)?;
        Ok((listener, lock))
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let result = match (request.verb, &request.network) {
            (Verb::Ping, _) => return Reply::default(),
            (_, None) => Err("the request names no network".to_owned()),
            (_, Some(_)) if !self.supervise => Err("systemd runs dnsmasq here, not the daemon".to_owned()),
            (Verb::Status, Some(_)) => Ok(false),
            (Verb::Start, Some(network)) => self.start(network),
            (Verb::Stop, Some(network)) => self.stop(network),
            (Verb::Restart, Some(network)) => self.stop(network).and_then(|_| {
                // One that was running stays wanted.
                self.start(network).inspect_err(|_| self.postpone(network))
            }),
            (Verb::Reload, Some(network)) => self.reload(network).map(|()| false),
        };
        let pid = request
            .network
            .as_ref()
            .and_then(|network| self.servers.get(network))
            .map(|server| server.pid);
        match result {
            Ok(changed) => Reply {
                error: None,
                changed,
                pid,
            },
            Err(error) => Reply {
                error: Some(error),
                changed: false,
                pid,
            },
        }
    }

    /// Starts a network's dnsmasq and waits until it is on the bus; true if it was not running.
    fn start(&mut self, network: &NetworkName) -> Result<bool, String> {
        self.due.remove(network);
        if self.servers.contains_key(network) {
            return Ok(false);
        }
        self.end_leftover(network);
        let server = self.spawn(network)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let up = bus::answers(network, server.pid);
            if let Ok(words) = server.last_words.try_recv() {
                return Err(format!("dnsmasq for {network} ended at once: {words}"));
            }
            if up {
                break;
            }
            if Instant::now() >= deadline {
                let _ = pidfd_send_signal(&server.pidfd, Signal::KILL);
                return Err(format!(
                    "dnsmasq for {network} did not appear on the D-Bus system bus within {} s; does the bus policy \
                     let it own {}?",
                    PATIENCE.as_secs(),
                    network.dnsmasq_bus_name()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        tracing::info!(%network, pid = server.pid, "dnsmasq started");
        self.servers.insert(network.clone(), server);
        Ok(true)
    }

    fn command(&self, network: &NetworkName) -> Run {
        // The configuration itself says that there is no pid file and that messages go to standard error.
        let conf = format!(
            "--conf-file={}",
            self.layout.dnsmasq_conf(network).on_disk().display()
        );
        let run = self.dnsmasq.run().arg("--keep-in-foreground").arg(conf);
        match account() {
            Some(account) => run.arg(format!("--user={account}")).arg("--group="),
            None => run,
        }
    }

    fn spawn(&self, network: &NetworkName) -> Result<Server, String> {
        let run = self.command(network);
        let mut child = run
            .start_with(Stdio::null(), Stdio::piped())
            .map_err(|e| e.to_string())?;
        let pid = child.id();
        let pidfd = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| format!("dnsmasq got the process id {pid}"))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).map_err(|e| e.to_string()))?;
        let place = self.layout.dnsmasq_pid(network);
        files::write(place.on_disk(), format!("{pid}\n").as_bytes(), 0o644).map_err(|e| e.to_string())?;
        let (words, last_words) = channel();
        let (name, sender, errors) = (network.clone(), self.events.0.clone(), child.stderr.take());
        std::thread::spawn(move || {
            let mut last = String::new();
            if let Some(errors) = errors {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    tracing::info!(network = %name, "{}", crate::name::printable(&line, 400));
                    // The line before says why.
                    if !line.trim_end().ends_with(": FAILED to start up") {
                        last = crate::name::printable(line.trim(), 400);
                    }
                }
            }
            if let Ok(status) = child.wait() {
                let _ = words.send(if last.is_empty() { status.to_string() } else { last });
                let _ = sender.send(Event::Exited(name, pid, status));
            }
        });
        Ok(Server {
            pidfd,
            pid,
            since: Instant::now(),
            last_words,
        })
    }

    /// Ends a network's dnsmasq and waits until it has; true if it was running.
    fn stop(&mut self, network: &NetworkName) -> Result<bool, String> {
        self.due.remove(network);
        self.pauses.remove(network);
        let Some(server) = self.servers.remove(network) else {
            return Ok(false);
        };
        let _ = pidfd_send_signal(&server.pidfd, Signal::TERM);
        if server.last_words.recv_timeout(PATIENCE).is_err() {
            let _ = pidfd_send_signal(&server.pidfd, Signal::KILL);
            let _ = server.last_words.recv_timeout(PATIENCE);
        }
        files::remove(self.layout.dnsmasq_pid(network).on_disk()).map_err(|e| e.to_string())?;
        tracing::info!(%network, pid = server.pid, "dnsmasq stopped");
        Ok(true)
    }

    fn reload(&mut self, network: &NetworkName) -> Result<(), String> {
        let server = self
            .servers
            .get(network)
            .ok_or_else(|| format!("no dnsmasq runs for {network}"))?;
        pidfd_send_signal(&server.pidfd, Signal::HUP)
            .map_err(|e| format!("cannot signal dnsmasq of {network}: {e}"))
    }

    fn exited(&mut self, network: &NetworkName, pid: u32, status: ExitStatus) {
        // One that was stopped, or has been replaced, is nobody's loss.
        let Some(server) = self.servers.get(network).filter(|server| server.pid == pid) else {
            return;
        };
        tracing::warn!(%network, pid, %status, "dnsmasq ended by itself; it is started again");
        if server.since.elapsed() >= SETTLED {
            self.pauses.remove(network);
        }
        self.servers.remove(network);
        self.postpone(network);
    }

    /// Makes a network's dnsmasq due again, each time after twice the pause of the time before.
    fn postpone(&mut self, network: &NetworkName) {
        let pause = self
            .pauses
            .get(network)
            .map_or(BACKOFF.0, |last| (*last * 2).min(BACKOFF.1));
        self.pauses.insert(network.clone(), pause);
        self.due.insert(network.clone(), Instant::now() + pause);
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let ripe: Vec<_> = self
            .due
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for network in ripe {
            if let Err(reason) = self.start(&network) {
                tracing::error!(%network, %reason, "dnsmasq does not start");
                self.postpone(&network);
            }
        }
    }

    /// Ends the dnsmasq that a killed daemon left behind.
    fn end_leftover(&self, network: &NetworkName) {
        let Some(pid) = recorded(&self.layout, network) else {
            return;
        };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        // Looked at behind the pidfd: now the number cannot pass to another process. One that is dying, because its
        // daemon did, has an empty command line and may still hold its sockets.
        if !has_our_conf(&self.layout, network, pid).unwrap_or(true) {
            return;
        }
        tracing::info!(%network, pid = pid.as_raw_nonzero(), "ending a dnsmasq that an earlier daemon left");
        let _ = pidfd_send_signal(&pidfd, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        // Signal 0 does not exist here; the process is gone when its directory is.
        while fs::metadata(format!("/proc/{}", pid.as_raw_nonzero())).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The network's dnsmasq as its pid file says, if that process still has our configuration on its command line. Anyone
/// may look.
pub(super) fn pid_on_record(layout: &Layout, network: &NetworkName) -> Option<Pid> {
    recorded(layout, network).filter(|pid| has_our_conf(layout, network, *pid) == Some(true))
}

/// What the pid file says.
fn recorded(layout: &Layout, network: &NetworkName) -> Option<Pid> {
    let content = files::read_if_there(layout.dnsmasq_pid(network).on_disk()).ok()??;
    Pid::from_raw(std::str::from_utf8(&content).ok()?.trim().parse().ok()?)
}

/// Whether the process runs with our configuration; `None` if it has no command line (any more).
fn has_our_conf(layout: &Layout, network: &NetworkName, pid: Pid) -> Option<bool> {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let ours = format!("--conf-file={}", layout.dnsmasq_conf(network).on_disk().display());
    (!line.is_empty()).then(|| {
        line.split(|b| *b == 0)
            .any(|argument| argument == ours.as_bytes())
    })
}

fn account() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ACCOUNTS
        .into_iter()
        .find(|name| passwd.lines().any(|line| line.split(':').next() == Some(name)))
}

/// Takes requests, each connection in its own thread so that none holds up the others.
fn accept(listener: &UnixListener, events: &Sender<Event>) {
    for stream in listener.incoming().flatten() {
        let events = events.clone();
        std::thread::spawn(move || serve(stream, &events));
    }
}

fn serve(mut stream: UnixStream, events: &Sender<Event>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let Ok(request) = protocol::receive::<Request>(&mut stream) else {
        return;
    };
    let (reply, answer) = channel();
    if events.send(Event::Asked(request, reply)).is_ok()
        && let Ok(reply) = answer.recv()
    {
        let _ = protocol::send(&mut stream, &reply);
    }
}
