//! A Debian machine with real systemd under Debian's own kernel, emulated by QEMU: for what the kernel of the machine that
//! tests run on may not have (AppArmor, SELinux), and for firewalls of a whole host. Its disk is the common image, and what
//! it writes there goes with it. It has no network but its own, and is told what to do through QEMU's guest agent.

use crate::doctor::Shell;
use crate::image::{self, Image};
use crate::support::{Command, Context, LabError, Output, Result, Running, poll_for};
use fs_err as fs;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Emulated, and beside other work.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(400);

/// The number of the last question: answers to those who no longer listen have others.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Where the machine finds the files that were brought.
const BROUGHT: &str = "/srv/brought";

/// The machine's first process until its root is there.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module; done
mount -t ext4 /dev/vda /new || { echo 'no root'; poweroff -f; }
mount --move /dev /new/dev
umount /proc /sys
exec switch_root /new /sbin/init
";

/// A machine that runs. It is gone when it is dropped.
pub(crate) struct Emulated {
    name: &'static str,
    dir: tempfile::TempDir,
    agent: Mutex<Option<BufReader<UnixStream>>>,
    qemu: Running,
}

impl Emulated {
    /// Boots one, with these words on its kernel's command line and these files in [`BROUGHT`].
    pub(crate) fn boot(name: &'static str, words: &str, files: &[PathBuf]) -> Result<Self> {
        let Image { disk, kernel } = image::image()?;
        let dir = tempfile::tempdir().context("a directory for a machine")?;
        let place = |file: &str| dir.path().join(file);
        fs::create_dir(place("brought")).context("a directory for a machine's files")?;
        for file in files {
            let name = file.file_name().unwrap_or_default();
            fs::copy(file, place("brought").join(name)).context("a machine's file")?;
        }
        fs::write(place("init"), INIT).context("a machine's init")?;
        let initrd =
            "set -eu; chmod 755 init; { cat \"$0/initrd\"; echo init | cpio -o -H newc --quiet; } >initrd";
        Command::machine(["sh".as_ref(), "-c".as_ref(), initrd.as_ref(), kernel.as_os_str()])
            .cwd(dir.path())
            .try_check()?;
        let line =
            "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0 rdinit=/init";
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2));
        let script = "exec setpriv --pdeathsig KILL -- qemu-system-x86_64 -name \"$0\" -nodefaults -no-user-config -display none -no-reboot \
            -machine q35 -accel tcg,thread=multi -cpu max -smp \"$1\" -m 2048 -nic none \
            -kernel \"$2/vmlinuz\" -initrd initrd -append \"$4\" \
            -drive \"file=$3,format=raw,if=virtio,cache=unsafe,snapshot=on\" -device virtio-rng-pci \
            -fsdev local,id=brought,path=brought,security_model=none,readonly=on -device virtio-9p-pci,fsdev=brought,mount_tag=brought \
            -serial file:console -device virtio-serial-pci \
            -chardev socket,id=agent,path=agent,server=on,wait=off -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0";
        let qemu = Command::machine([
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
            name.as_ref(),
            cores.to_string().as_ref(),
            kernel.as_os_str(),
            disk.as_os_str(),
            format!("{line} {words}").as_ref(),
        ])
        .cwd(dir.path())
        .try_spawn()?;
        let mut machine = Self {
            name,
            dir,
            agent: Mutex::new(None),
            qemu,
        };
        let started = Instant::now();
        let up = poll_for(BOOT_PATIENCE, || {
            if !machine.qemu.is_running() {
                return Some(false);
            }
            let state = machine.try_run("systemctl is-system-running --wait", Duration::from_secs(60));
            let state = state.ok()?.text().to_owned();
            ["running", "degraded"].contains(&state.as_str()).then_some(true)
        });
        if up != Some(true) {
            return Err(LabError::new(format!(
                "{name} does not boot: {}{}",
                machine.qemu.transcript(),
                machine.console()
            )));
        }
        machine.sh(&format!(
            "mkdir -p {BROUGHT}; mount -t 9p -o trans=virtio,version=9p2000.L,ro brought {BROUGHT}"
        ));
        crate::support::note(format_args!("{name} has booted in {:.0?}", started.elapsed()));
        Ok(machine)
    }

    /// The last that its kernel has said.
    fn console(&self) -> String {
        let text = fs::read(self.dir.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Runs a script; it has to succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Output {
        let output = self.try_sh(script);
        assert!(output.ok(), "{}: {output}", self.name);
        output
    }

    /// Runs a script, whatever it ends with.
    #[track_caller]
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        self.try_run(script, PATIENCE)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.console()))
    }

    fn try_run(&self, script: &str, timeout: Duration) -> Result<Output> {
        let started = Instant::now();
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.ask(&mut agent, script, started + timeout);
        if answer.is_err() {
            // What is still to come is nobody's.
            *agent = None;
        }
        let answer = answer?;
        let text = |key: &str| {
            String::from_utf8_lossy(&from_base64(answer[key].as_str().unwrap_or_default())).into_owned()
        };
        let number = |key: &str| answer[key].as_i64().and_then(|number| i32::try_from(number).ok());
        Ok(Output {
            command: script.to_owned(),
            // As wait(2) has it.
            status: ExitStatus::from_raw(
                number("exitcode").unwrap_or(0) << 8 | number("signal").unwrap_or(0),
            ),
            stdout: text("out-data"),
            stderr: text("err-data"),
            elapsed: started.elapsed(),
        })
    }

    /// Has the agent run a script and waits for its end: QEMU's guest agent protocol, commands `guest-sync`, `guest-exec`
    /// and `guest-exec-status`.
    fn ask(
        &self,
        agent: &mut Option<BufReader<UnixStream>>,
        script: &str,
        deadline: Instant,
    ) -> Result<Value> {
        if agent.is_none() {
            let stream = UnixStream::connect(self.dir.path().join("agent")).context("the agent's socket")?;
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .context("the agent's socket")?;
            *agent = Some(BufReader::new(stream));
        }
        let agent = agent.as_mut().expect("just made");
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        talk(
            agent,
            &json!({ "execute": "guest-sync", "arguments": { "id": number } }),
            |answer| answer["return"] == number,
        )?;
        let environment = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "HOME=/root",
        ];
        let started = talk(
            agent,
            &json!({ "execute": "guest-exec", "arguments": {
                "path": "/bin/bash", "arg": ["-e", "-c", script], "env": environment, "capture-output": true } }),
            |_| true,
        )?;
        loop {
            let question = json!({ "execute": "guest-exec-status", "arguments": { "pid": started["pid"] } });
            let answer = talk(agent, &question, |_| true)?;
            if answer["exited"] == true {
                return Ok(answer);
            }
            if Instant::now() > deadline {
                return Err(LabError::new(format!("ran out of time: {script}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Asks the agent, and waits for the first answer that is `wanted`; what it returns.
fn talk(
    agent: &mut BufReader<UnixStream>,
    question: &Value,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let ask = |error| format!("the agent: {error}");
    writeln!(agent.get_mut(), "{question}").map_err(|error| LabError::new(ask(error)))?;
    loop {
        let mut line = String::new();
        if agent
            .read_line(&mut line)
            .map_err(|error| LabError::new(ask(error)))?
            == 0
        {
            return Err(LabError::new("the agent's socket was closed"));
        }
        let answer: Value = serde_json::from_str(&line).context("the agent's answer")?;
        if !wanted(&answer) {
            continue;
        }
        return match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => Err(LabError::new(format!("the agent says {answer}"))),
        };
    }
}

/// Format: RFC 4648, section 4.
fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut octets = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for value in text
        .bytes()
        .filter_map(|octet| ALPHABET.iter().position(|known| *known == octet))
    {
        bits = bits << 6 | u32::try_from(value).unwrap_or(0);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).unwrap_or(0));
        }
    }
    octets
}

impl Shell for Emulated {
    fn try_sh(&self, script: &str) -> Output {
        Self::try_sh(self, script)
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = self.try_run("journalctl -b --no-pager | tail -n 60", Duration::from_secs(60));
            let journal = journal.map_or_else(|error| error.to_string(), |output| output.stdout);
            crate::support::note(format_args!("the end of {}'s journal:\n{journal}", self.name));
        }
        self.qemu.kill();
    }
}
