//! Running this executable again, aside: in namespaces where nothing else happens.
//!
//! There, `/tmp` is empty but for copies of the programs (they may be built where the user cannot read),
//! HOME is in it, and no process, mount or link is anyone else's, so that what is left behind can be told
//! from what others do. Root can also run it as an ordinary user, who exists only there: the passwd and
//! subuid files with its entries lie over the machine's, as does a `/dev/net` whose tun device the user may
//! open (many machines give it to everyone, some do not). The machine's own files and nodes stay as they
//! are, and everything is gone with the last process.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fs_err as fs;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use super::command::{Command, PATH};
use super::error::{Context, LabError, Result};
use super::guest::{CACHE_VARIABLE, boot_images, cache_dir};
use super::namespaces::{has_unmapped_files, needs_user_namespace, require_own_namespaces};
use super::program::{self, PROGRAM_VARIABLE};
use super::wait::PATIENCE_VARIABLE;

/// The first argument that makes the executable, run as root, start itself again as an ordinary user with
/// the rest of the arguments.
pub(crate) const AS_USER_ARGUMENT: &str = "--lab-as-ordinary-user";

/// Inside the namespaces: who, program under test, cache, executable, the number of further files, these, then
/// the executable's arguments.
pub(super) const STAGE_ARGUMENT: &str = "--lab-stage";

/// Set for what runs aside.
const ASIDE_VARIABLE: &str = "MINIASCAPE_LAB_ASIDE";

const NAME: &str = "miniascape-lab";
/// Far from what machines hand out.
const ID: u32 = 471_100;
const SUBORDINATE_IDS: &str = "miniascape-lab:471200000:65536\n";
const HOME: &str = "/tmp/lab";

/// As whom something runs aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// As root of the namespaces; in a user namespace when an ordinary user asks.
    Root,
    /// As a user with subordinate ids and nothing else; only root can ask.
    OrdinaryUser,
}

impl Who {
    fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::OrdinaryUser => "user",
        }
    }
}

/// This process runs aside already.
pub(crate) fn is_aside() -> bool {
    std::env::var_os(ASIDE_VARIABLE).is_some()
}

/// This executable with `args`, aside: a command for the machine.
pub(crate) fn aside<S: AsRef<OsStr>>(who: Who, args: impl IntoIterator<Item = S>) -> Result<Command> {
    aside_with(who, &[], args)
}

/// This executable with `args`, aside, where its working directory holds copies of these files.
pub(crate) fn aside_with<S: AsRef<OsStr>>(
    who: Who,
    files: &[PathBuf],
    args: impl IntoIterator<Item = S>,
) -> Result<Command> {
    let user_namespace = needs_user_namespace();
    if user_namespace && who == Who::OrdinaryUser {
        return Err(LabError::new("only root can run something as another user"));
    }
    // The user sees root's cache and cannot write there.
    boot_images()?;
    let mut argv: Vec<OsString> = ["setpriv", "--pdeathsig", "KILL", "unshare"]
        .map(OsString::from)
        .to_vec();
    if user_namespace {
        argv.extend(["--user", "--map-root-user", "--map-auto"].map(OsString::from));
    }
    argv.extend(["--mount", "--net", "--pid", "--fork", "--kill-child"].map(OsString::from));
    argv.extend(["tini".into(), "--".into(), super::own_executable().into()]);
    argv.extend([STAGE_ARGUMENT.into(), who.word().into()]);
    argv.extend([
        program::under_test()?.into(),
        cache_dir()?.into(),
        super::own_executable().into(),
    ]);
    argv.push(files.len().to_string().into());
    argv.extend(files.iter().map(OsString::from));
    argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    let command = Command::machine(argv);
    Ok(match std::env::var_os(PATIENCE_VARIABLE) {
        Some(times) => command.env(PATIENCE_VARIABLE, times),
        None => command,
    })
}

/// Runs as the start of [`AS_USER_ARGUMENT`], with the arguments after it.
pub(super) fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let code = aside(Who::OrdinaryUser, args).and_then(|command| command.run_in_foreground());
    match code.map(|status| status.code().and_then(|code| u8::try_from(code).ok())) {
        Ok(code) => ExitCode::from(code.unwrap_or(1)),
        Err(error) => fail(&error),
    }
}

/// Runs inside the namespaces; the arguments after [`STAGE_ARGUMENT`].
pub(super) fn stage(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(who), Some(program), Some(cache), Some(executable), Some(count)) =
        (args.next(), args.next(), args.next(), args.next(), args.next())
    else {
        return fail(&LabError::new(
            "who, program, cache, executable or the number of files is missing",
        ));
    };
    let files: Vec<PathBuf> = args
        .by_ref()
        .take(count.parse().unwrap_or(0))
        .map(PathBuf::from)
        .collect();
    let executable = match prepare(
        Path::new(&program),
        Path::new(&cache),
        Path::new(&executable),
        &files,
    ) {
        Ok(executable) => executable,
        Err(error) => return fail(&error),
    };
    let (user, id) = if who == Who::Root.word() {
        ("root", "0".to_owned())
    } else {
        (NAME, ID.to_string())
    };
    let error = std::process::Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
        .arg(executable)
        .args(args)
        .env_clear()
        .envs([
            ("PATH", PATH),
            ("HOME", HOME),
            ("USER", user),
            ("TMPDIR", "/tmp"),
            ("LC_ALL", "C.UTF-8"),
        ])
        .env(PROGRAM_VARIABLE, Path::new(HOME).join("miniascape"))
        .env(CACHE_VARIABLE, Path::new(HOME).join("cache"))
        .env(ASIDE_VARIABLE, "1")
        .envs(std::env::var_os(PATIENCE_VARIABLE).map(|times| (PATIENCE_VARIABLE, times)))
        .current_dir(HOME)
        .exec();
    fail(&LabError::new(format!("cannot start setpriv: {error}")))
}

fn fail(error: &LabError) -> ExitCode {
    super::note(error);
    ExitCode::FAILURE
}

/// Builds what is seen aside; the result is the executable to run there.
fn prepare(program: &Path, cache: &Path, executable: &Path, files: &[PathBuf]) -> Result<PathBuf> {
    require_own_namespaces()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("private mounts")?;
    // Programs and cache may be below /tmp, so they are opened before it is covered.
    let home = Path::new(HOME);
    let open = |path: &Path, name: PathBuf| Ok((fs::File::open(path).context("a file to go along")?, name));
    let own = home.join("executable");
    let mut copies = vec![
        open(executable, own.clone())?,
        open(program, home.join("miniascape"))?,
    ];
    for file in files {
        copies.push(open(file, home.join(file.file_name().unwrap_or_default()))?);
    }
    let cache = fs::File::open(cache).context("the cache")?;
    tmpfs(Path::new("/tmp"), "mode=1777")?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None).context("cannot mount /proc")?;
    for dir in [home.to_owned(), home.join("cache"), home.join("etc")] {
        fs::create_dir(&dir).context("the user's home")?;
        if !has_unmapped_files() {
            chown(&dir, Some(ID), Some(ID)).context("the user's home")?;
        }
    }
    for (mut source, target) in copies {
        let mut copy = fs::File::create(&target).context("a file to go along")?;
        std::io::copy(&mut source, &mut copy).context("a file to go along")?;
        fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).context("a file to go along")?;
    }
    mount_bind(format!("/proc/self/fd/{}", cache.as_raw_fd()), home.join("cache")).context("the cache")?;
    if !has_unmapped_files() {
        ordinary_user(home)?;
    }
    Ok(own)
}

/// Makes the ordinary user known, and gives it the tun device that its own machine would.
fn ordinary_user(home: &Path) -> Result<()> {
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
    rustix::fs::chmod(net.join("tun"), everyone).context("a tun device")
}

fn tmpfs(target: &Path, options: &str) -> Result<()> {
    let options = CString::new(options).context("mount options")?;
    mount("tmpfs", target, "tmpfs", MountFlags::empty(), options.as_c_str())
        .context(format_args!("cannot cover {}", target.display()))
}
