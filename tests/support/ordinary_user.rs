//! Running this executable again as an ordinary user, when it runs as root: the lab must work for both.
//!
//! The user exists only in a mount namespace: the passwd and subuid files with its entries lie over the
//! machine's there, as does a `/dev/net` whose tun device the user may open (many machines give it to everyone,
//! some do not), and a `/tmp` with copies of the programs, which may be built where the user cannot read.
//! The machine's own files and nodes stay as they are, and everything is gone with the last process.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fs_err as fs;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use super::command::{Command, PATH};
use super::error::{Context, LabError, Result};
use super::guest::{CACHE_VARIABLE, boot_image, cache_dir};
use super::program::{self, PROGRAM_VARIABLE};

/// The first argument that makes the executable, run as root, start itself again as an ordinary user with the rest
/// of the arguments.
pub(crate) const AS_USER_ARGUMENT: &str = "--lab-as-ordinary-user";

/// The same, inside the mount namespace: program under test, cache, then the arguments.
pub(super) const STAGE_ARGUMENT: &str = "--lab-user-stage";

const NAME: &str = "miniascape-lab";
/// Far from what machines hand out.
const ID: u32 = 471_100;
const SUBORDINATE_IDS: &str = "miniascape-lab:471200000:65536\n";
const HOME: &str = "/tmp/lab";

/// This executable with `args` as an ordinary user: a command for the machine, to be run by root.
pub(crate) fn as_ordinary_user<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Command> {
    // The user sees root's cache and cannot write there.
    boot_image()?;
    let program = program::under_test()?;
    let cache = cache_dir()?;
    let head: [OsString; 11] = [
        "unshare".into(),
        "--mount".into(),
        "--pid".into(),
        "--fork".into(),
        "--kill-child".into(),
        "tini".into(),
        "--".into(),
        super::own_executable().into(),
        STAGE_ARGUMENT.into(),
        program.into(),
        cache.into(),
    ];
    Ok(Command::machine(
        head.into_iter()
            .chain(args.into_iter().map(|arg| arg.as_ref().to_owned())),
    ))
}

/// Runs as the start of [`AS_USER_ARGUMENT`], with the arguments after it.
pub(super) fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let ended = as_ordinary_user(args).and_then(|command| {
        let code = command.run_in_foreground()?.code();
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    });
    ended.map_or_else(|error| fail(&error), ExitCode::from)
}

/// Runs inside the mount namespace; the arguments after [`STAGE_ARGUMENT`].
pub(super) fn stage(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(program), Some(cache)) = (args.next(), args.next()) else {
        return fail(&LabError::new("program and cache are missing"));
    };
    match prepare(Path::new(&program), Path::new(&cache)) {
        Ok(executable) => {
            let id = ID.to_string();
            let error = std::process::Command::new("setpriv")
                .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
                .arg(executable)
                .args(args)
                .env_clear()
                .envs([
                    ("PATH", PATH),
                    ("HOME", HOME),
                    ("USER", NAME),
                    ("TMPDIR", "/tmp"),
                    ("LC_ALL", "C.UTF-8"),
                ])
                .env(PROGRAM_VARIABLE, Path::new(HOME).join("miniascape"))
                .env(CACHE_VARIABLE, Path::new(HOME).join("cache"))
                .current_dir(HOME)
                .exec();
            fail(&LabError::new(format!("cannot start setpriv: {error}")))
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &LabError) -> ExitCode {
    super::note(error);
    ExitCode::FAILURE
}

/// Builds what the user sees; the result is the executable that the user can run.
fn prepare(program: &Path, cache: &Path) -> Result<PathBuf> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("private mounts")?;
    // Programs and cache may be below /tmp, so they are opened before it is covered.
    let own = fs::File::open(super::own_executable()).context("the own executable")?;
    let program = fs::File::open(program).context("the program under test")?;
    let cache = fs::canonicalize(cache)
        .and_then(fs::File::open)
        .context("the cache")?;
    tmpfs(Path::new("/tmp"), "mode=1777")?;
    let home = Path::new(HOME);
    for dir in [home.to_owned(), home.join("cache"), home.join("etc")] {
        fs::create_dir(&dir).context("the user's home")?;
        chown(&dir, Some(ID), Some(ID)).context("the user's home")?;
    }
    let executable = home.join("lab");
    for (mut source, target) in [(own, executable.clone()), (program, home.join("miniascape"))] {
        let mut copy = fs::File::create(&target).context("a copy of a program")?;
        std::io::copy(&mut source, &mut copy).context("a copy of a program")?;
        fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).context("a copy of a program")?;
    }
    let fd = std::os::fd::AsRawFd::as_raw_fd(cache.file());
    mount_bind(format!("/proc/self/fd/{fd}"), home.join("cache")).context("the cache")?;
    for (file, line) in [
        ("passwd", format!("{NAME}:x:{ID}:{ID}::{HOME}:/bin/sh\n")),
        ("group", format!("{NAME}:x:{ID}:\n")),
        ("subuid", SUBORDINATE_IDS.to_owned()),
        ("subgid", SUBORDINATE_IDS.to_owned()),
    ] {
        let machine = Path::new("/etc").join(file);
        let ours = home.join("etc").join(file);
        let text = fs::read_to_string(&machine).context("a machine without users")?;
        fs::write(&ours, format!("{text}{line}")).context("the user's files")?;
        mount_bind(&ours, &machine).context(format_args!("cannot cover {}", machine.display()))?;
    }
    let net = Path::new("/dev/net");
    tmpfs(net, "mode=0755")?;
    let everyone = Mode::from_raw_mode(0o666);
    mknodat(
        CWD,
        net.join("tun"),
        FileType::CharacterDevice,
        everyone,
        makedev(10, 200),
    )
    .context("a tun device")?;
    rustix::fs::chmod(net.join("tun"), everyone).context("a tun device")?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None).context("cannot mount /proc")?;
    Ok(executable)
}

fn tmpfs(target: &Path, options: &str) -> Result<()> {
    let options = CString::new(options).context("mount options")?;
    mount("tmpfs", target, "tmpfs", MountFlags::empty(), options.as_c_str())
        .context(format_args!("cannot cover {}", target.display()))
}
