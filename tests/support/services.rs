//! The daemons of a private host: its message bus and its libvirtd. Their configuration, their start,
//! which is awaited by a real question, their end, and their logs.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use fs_err as fs;

use super::error::{Context, LabError, Result};
use super::host::{Host, HostOptions};
use super::init::FileIn;
use super::running::Running;
use super::wait::poll_for;

/// Policy files in this directory are read last, so they have the last word.
pub(crate) const BUS_POLICY_DIR: &str = "/etc/dbus-1/lab.d";

const BUS_CONFIG: &str = "/etc/dbus-1/lab.conf";
const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
const LIBVIRT_LOG: &str = "/var/log/libvirt/libvirtd.log";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What the message bus of a host allows before the files in [`BUS_POLICY_DIR`] are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BusPolicy {
    /// Everything to everyone.
    Open,
    /// What a distribution's system bus allows: no names and no calls, except by the policy files that
    /// packages install.
    Distribution,
}

/// As which user libvirt runs QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QemuUser {
    /// As the distribution does; then libvirt changes owners of disk files as it does on a real host.
    Distribution,
    /// As root.
    Root,
}

/// The daemons that a host runs.
#[derive(Default)]
pub(super) struct Services {
    bus: Option<Running>,
    libvirtd: Option<Running>,
}

impl Services {
    /// The configuration files of the daemons.
    pub(super) fn files(options: &HostOptions) -> Vec<FileIn> {
        let file = |path: &str, content: String| FileIn {
            host_path: path.into(),
            content,
        };
        let (user, group) = match options.qemu_user {
            QemuUser::Root => ("root", "root"),
            QemuUser::Distribution => distribution_qemu_user(),
        };
        vec![
            file(BUS_CONFIG, bus_config(options.bus.unwrap_or(BusPolicy::Open))),
            file(
                &format!("{BUS_POLICY_DIR}/README"),
                "Policy files (*.conf) of tests.\n".to_owned(),
            ),
            file(
                "/etc/libvirt/libvirtd.conf",
                format!(
                    "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nlog_outputs = \"2:file:{LIBVIRT_LOG}\"\n"
                ),
            ),
            file(
                "/etc/libvirt/qemu.conf",
                format!(
                    "user = \"{user}\"\ngroup = \"{group}\"\ndynamic_ownership = 1\nremember_owner = 0\n\
                     security_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = \"file\"\n"
                ),
            ),
        ]
    }

    /// Stops what runs, the last started first.
    pub(super) fn stop(&mut self) {
        self.libvirtd = None;
        self.bus = None;
    }
}

impl Host {
    pub(super) fn start_services(&mut self) -> Result<()> {
        if self.options.bus.is_some() {
            self.start_bus()?;
        }
        if self.options.libvirtd {
            self.try_start_libvirtd()?;
        }
        Ok(())
    }

    fn start_bus(&mut self) -> Result<()> {
        let config = format!("--config-file={BUS_CONFIG}");
        let mut bus = self
            .command([
                "dbus-daemon",
                &config,
                "--nofork",
                "--nopidfile",
                "--print-address",
            ])
            .try_spawn()?;
        // The address is printed when the socket listens.
        if bus.next_line(START_TIMEOUT).is_none() {
            return Err(LabError::new(format!(
                "the message bus did not start: {}",
                bus.transcript()
            )));
        }
        self.services.bus = Some(bus);
        Ok(())
    }

    /// Writes a policy file `NAME.conf` for the message bus (the content of `<busconfig>`), and makes the
    /// bus read it.
    #[track_caller]
    pub(crate) fn set_bus_policy(&self, name: &str, policies: &str) {
        let content = format!("{BUS_DOCTYPE}<busconfig>\n{policies}\n</busconfig>\n");
        self.write_file(format!("{BUS_POLICY_DIR}/{name}.conf"), content);
        self.reload_bus();
    }

    /// Makes the message bus read its policies again.
    #[track_caller]
    pub(crate) fn reload_bus(&self) {
        self.check([
            "dbus-send",
            "--system",
            "--type=method_call",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.ReloadConfig",
        ]);
    }

    /// Starts libvirtd and waits until it answers.
    #[track_caller]
    pub(crate) fn start_libvirtd(&mut self) {
        self.try_start_libvirtd()
            .unwrap_or_else(|error| panic!("{error}"));
    }

    fn try_start_libvirtd(&mut self) -> Result<()> {
        let mut libvirtd = self.command(["libvirtd"]).try_spawn()?;
        let answered = poll_for(START_TIMEOUT, || {
            let up = self
                .command(["virsh", "--connect", "qemu:///system", "uri"])
                .try_run();
            (up.is_ok_and(|output| output.ok()) || !libvirtd.is_running()).then_some(())
        });
        if answered.is_none() || !libvirtd.is_running() {
            let log = self
                .command(["tail", "-n50", LIBVIRT_LOG])
                .try_run()
                .context("no log")?;
            return Err(LabError::new(format!(
                "libvirtd did not start: {}{log}",
                libvirtd.transcript()
            )));
        }
        self.services.libvirtd = Some(libvirtd);
        Ok(())
    }

    /// Stops libvirtd as `kill -9` does: guests and networks go on, connecting fails.
    pub(crate) fn stop_libvirtd(&mut self) {
        if let Some(mut libvirtd) = self.services.libvirtd.take() {
            libvirtd.kill();
        }
        self.check([
            "rm",
            "-f",
            "/run/libvirtd.pid",
            "/run/libvirt/libvirt-sock",
            "/run/libvirt/libvirt-sock-ro",
        ]);
    }

    /// What a power cut does: every process of the host is gone at once, with links, firewall rules and `/run`; files
    /// stay. The next thing is [`Host::boot`].
    pub(crate) fn lose_power(&mut self) {
        // The first two processes are the host itself.
        const SCRIPT: &str = "
            cd /proc && for process in [0-9]*; do
                [ $process -le 2 ] || [ $process = $$ ] || kill -9 $process 2>/dev/null
            done
            for link in $(ls /sys/class/net | grep -vx lo); do ip link delete $link 2>/dev/null; done
            nft flush ruleset
            echo 0 >/proc/sys/net/ipv4/ip_forward
            find /run /tmp -mindepth 1 -delete
            mkdir /run/dbus /run/lock /run/libvirt /run/user";
        self.command(["sh", "-c", SCRIPT]).run();
        self.services.stop();
        assert_eq!(
            self.list_dir("/sys/class/net"),
            ["lo"],
            "links survive a power cut"
        );
    }

    /// Starts the message bus again, as the first thing of a boot; libvirtd and the daemon are the test's business.
    #[track_caller]
    pub(crate) fn boot(&mut self) {
        self.start_bus().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Everything that the host's daemons and guests logged, for the message of a failed test.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for (name, daemon) in [
            ("message bus", &self.services.bus),
            ("libvirtd", &self.services.libvirtd),
        ] {
            if let Some(daemon) = daemon {
                writeln!(text, "--- {name} ---\n{}", daemon.transcript()).expect("a String takes everything");
            }
        }
        let logs = self
            .command([
                "find", "/var/log", "-type", "f", "-size", "+0", "-print", "-exec", "tail", "-n60", "{}", ";",
            ])
            .timeout(Duration::from_secs(10))
            .try_run();
        if let Ok(logs) = logs {
            text.push_str(&logs.stdout);
        }
        text
    }

    /// Shows the logs on standard error.
    pub(super) fn dump_logs(&self) {
        let text = format!(
            "===== logs of host {} =====\n{}\n===== end =====\n",
            self.name(),
            self.logs()
        );
        // A closed standard error takes the logs away, nothing more.
        drop(std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()));
    }
}

/// The user and group that the distribution's libvirt runs QEMU as; root when there is none.
fn distribution_qemu_user() -> (&'static str, &'static str) {
    let has = |file: &str, name: &str| {
        fs::read_to_string(Path::new("/etc").join(file)).is_ok_and(|text| {
            text.lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
        })
    };
    [
        ("libvirt-qemu", "kvm"),
        ("libvirt-qemu", "libvirt-qemu"),
        ("qemu", "qemu"),
    ]
    .into_iter()
    .find(|(user, group)| has("passwd", user) && has("group", group))
    .unwrap_or(("root", "root"))
}

const BUS_DOCTYPE: &str = "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n";

/// A bus of type system without service activation: that would wait 25 seconds for a systemd that is not
/// there.
fn bus_config(policy: BusPolicy) -> String {
    let policies = match policy {
        BusPolicy::Open => {
            "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/>\
             <allow send_type=\"signal\"/><allow send_type=\"method_return\"/><allow send_type=\"error\"/>\
             <allow receive_type=\"method_call\"/><allow receive_type=\"signal\"/>\
             <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/></policy>\n"
        }
        // The default policy of dbus' own system.conf.
        BusPolicy::Distribution => {
            "<policy context=\"default\"><allow user=\"*\"/><deny own=\"*\"/><deny send_type=\"method_call\"/>\
             <allow send_type=\"signal\"/><allow send_requested_reply=\"true\" send_type=\"method_return\"/>\
             <allow send_requested_reply=\"true\" send_type=\"error\"/><allow receive_type=\"method_call\"/>\
             <allow receive_type=\"method_return\"/><allow receive_type=\"error\"/><allow receive_type=\"signal\"/>\
             <allow send_destination=\"org.freedesktop.DBus\" send_interface=\"org.freedesktop.DBus\"/>\
             <allow send_destination=\"org.freedesktop.DBus\" \
             send_interface=\"org.freedesktop.DBus.Introspectable\"/>\
             <allow send_destination=\"org.freedesktop.DBus\" send_interface=\"org.freedesktop.DBus.Properties\"/>\
             </policy>\n\
             <includedir>/usr/share/dbus-1/system.d</includedir>\n<includedir>/etc/dbus-1/system.d</includedir>\n"
        }
    };
    format!(
        "{BUS_DOCTYPE}<busconfig>\n<type>system</type>\n<listen>unix:path={BUS_SOCKET}</listen>\n\
         <auth>EXTERNAL</auth>\n{policies}<includedir>{BUS_POLICY_DIR}</includedir>\n</busconfig>\n"
    )
}
