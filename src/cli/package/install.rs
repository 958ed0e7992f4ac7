//! `miniascape package install`: package files onto this host, after a look at what they would meet. Who installs which
//! kind is `install`'s business; what is printed here is what was found by looking, not what others say they did.

use super::preflight;
use crate::cli::guest::packaged;
use crate::cli::progress::{Style, Teller};
use crate::cli::{Context, Failure, Format};
use miniascape::guest;
use miniascape::host::CommandError;
use miniascape::host::command::Run;
use miniascape::install::{self, Finding, InstallError, Manager, Outcome, PendingKind, Unpacking, Verdict};
use miniascape::name::printable;
use miniascape::package::{self, Contents, GuestPackage, PackageKind};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

/// What is wanted.
pub(super) struct Request<'a> {
    pub(super) files: &'a [PathBuf],
    pub(super) trust: bool,
    pub(super) dry_run: bool,
    pub(super) style: Style,
}

/// What `--format json` tells.
#[derive(Serialize)]
struct Told<'a> {
    go: bool,
    dry_run: bool,
    findings: &'a [Finding],
    /// Image packages that were found beside the files.
    beside: Vec<String>,
    /// Files of image packages that are installed.
    left_out: Vec<String>,
    /// The program that installs, with its arguments; none for tar files.
    command: Option<Vec<String>>,
    packages: &'a [Outcome],
}

pub(super) fn run(context: &Context, request: &Request<'_>) -> Result<ExitCode, Failure> {
    let kind = one_kind(request.files)?;
    refuse_elsewhere(context, kind)?;
    let (packages, beside) = preflight::read(context, request.files, request.style)?;
    let findings = if context.layout().is_live() {
        let libvirt = context.local_libvirt(true)?;
        let (virt, _) = guest::virt_type(context.layout(), true)?;
        install::preflight(context.layout(), &libvirt, virt, &packages, request.trust)?
    } else {
        Vec::new()
    };
    let mut told = Told {
        go: findings.iter().all(|finding| finding.verdict != Verdict::No),
        dry_run: request.dry_run,
        findings: &findings,
        beside: beside.iter().map(|path| shown(path)).collect(),
        left_out: Vec::new(),
        command: None,
        packages: &[],
    };
    let text = context.format() == Format::Text;
    if text && !findings.is_empty() {
        context.output().report(&(), || preflight::table(&findings))?;
    }
    if !told.go {
        if !text {
            context.output().result(&told, String::new)?;
        }
        return Ok(ExitCode::from(3));
    }
    let manager = match kind {
        PackageKind::Rpm | PackageKind::Srpm => Some(Manager::Rpm),
        PackageKind::Deb => Some(Manager::Dpkg),
        PackageKind::Tar => None,
    };
    let run = match manager {
        Some(manager) => {
            let (files, left_out) = to_install(context, &packages)?;
            told.left_out = left_out.iter().map(|path| shown(path)).collect();
            for path in &told.left_out {
                context
                    .output()
                    .note(format!("note: left out, since it is installed: {path}"));
            }
            let run = (!files.is_empty())
                .then(|| install::install_run(manager, &files).map_err(|error| unsuitable(manager, error)))
                .transpose()?;
            told.command = run.as_ref().map(Run::words);
            run
        }
        None => None,
    };
    if request.dry_run {
        context.output().report(&told, || match (&run, kind) {
            (Some(run), _) => format!("would run: {}", run.line()),
            (None, PackageKind::Tar) => {
                let names = packages.iter().map(|package| package.found.package.as_str());
                format!("would be unpacked: {}", names.collect::<Vec<_>>().join(", "))
            }
            (None, _) => "nothing to do".to_owned(),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let guests: Vec<(GuestPackage, String)> = packages
        .iter()
        .filter_map(|package| {
            let section = &package.guest.as_ref()?.manifest.package;
            Some((
                section.name.clone(),
                format!("{}-{}", section.version, section.release),
            ))
        })
        .collect();
    let done = match &run {
        Some(run) => {
            hand_over(context, run).and_then(|()| after(context, &packages, &guests, manager, request.trust))
        }
        None if kind == PackageKind::Tar => unpack(context, &packages, request),
        None => Ok(()),
    };
    let outcomes = look(context, &guests)?;
    told.packages = &outcomes;
    context.output().report(&told, || {
        let all = outcomes.iter().zip(&guests);
        all.map(|(outcome, (_, version))| sentence(outcome, version))
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    done?;
    let all = outcomes.iter().zip(&guests).all(|(outcome, (_, version))| {
        // Another system's guests are registered by its first run.
        outcome.is_done(version) || !context.layout().is_live() && outcome.installed.as_ref() == Some(version)
    });
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Packages of the other kind: their package manager could be installed, but it would know nothing of this host.
fn unsuitable(manager: Manager, error: CommandError) -> Failure {
    let (kind, programs, other) = match manager {
        Manager::Dpkg => ("Debian", "neither apt-get nor dpkg", "rpm"),
        Manager::Rpm => ("RPM", "neither dnf nor zypper nor rpm", "deb"),
    };
    if !error.is_missing() {
        return error.into();
    }
    Failure::missing(format!(
        "{kind} packages cannot be installed here: there is {programs}"
    ))
    .hint(format!(
        "`miniascape repack --to {other}` packs a guest for this host, and `--to tar` for any"
    ))
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), 400)
}

/// The kind of all the files, known from their beginnings.
fn one_kind(files: &[PathBuf]) -> Result<PackageKind, Failure> {
    let mut kinds = Vec::new();
    for path in files {
        kinds.push((package::kind_of(path)?, path));
    }
    let (first, path) = kinds[0];
    match kinds.iter().find(|(kind, _)| *kind != first) {
        None => Ok(first),
        Some((other, second)) => Err(Failure::usage(format!(
            "{} is {}, and {} is {}: nothing was installed",
            shown(path),
            word(first),
            shown(second),
            word(*other)
        ))
        .hint(
            "give packages of one kind; a guest's RPM packages, Debian packages and tar file hold the same",
        )),
    }
}

const fn word(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Rpm | PackageKind::Srpm => "an RPM package",
        PackageKind::Deb => "a Debian package",
        PackageKind::Tar => "a tar file",
    }
}

/// A package manager knows one place, and root only.
fn refuse_elsewhere(context: &Context, kind: PackageKind) -> Result<(), Failure> {
    let layout = context.layout();
    if kind != PackageKind::Tar && !layout.is_standard() {
        return Err(Failure::usage(format!(
            "{} goes into this host's system: no --root or --state-dir",
            word(kind)
        ))
        .hint("install the guest's tar file there; or use the package manager's own option (dpkg --root, rpm --root, dnf --installroot)"));
    }
    if layout.is_standard() {
        super::need_root("installing packages")?;
    }
    Ok(())
}

/// The files for the package manager, and those of image packages that it has.
fn to_install(context: &Context, packages: &[Contents]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Failure> {
    let images = packages.iter().filter(|package| package.guest.is_none());
    let names: Vec<String> = images.map(|package| package.found.package.clone()).collect();
    let managed = install::managed(context.layout(), &names)?;
    let has = |package: &&Contents| {
        let image = |(digest, size): &(_, u64)| {
            let place = context.layout().packaged_image(digest);
            fs_err::metadata(place.on_disk()).is_ok_and(|meta| meta.len() == *size)
        };
        managed.contains_key(&package.found.package) && package.images.iter().all(image)
    };
    let (left, install): (Vec<_>, Vec<_>) = packages.iter().partition(has);
    let paths = |all: Vec<&Contents>| all.into_iter().map(|package| package.path.clone()).collect();
    Ok((paths(install), paths(left)))
}

/// Runs a package manager, whose words go to standard error.
pub(super) fn hand_over(context: &Context, run: &Run) -> Result<(), Failure> {
    if context.output().is_quiet() {
        run.output()?;
        return Ok(());
    }
    context.output().note(run.line());
    run.run_with(Stdio::from(std::io::stderr()), Stdio::inherit())?;
    Ok(())
}

/// What the scriptlets leave to be done: guests that are to be trusted, and what was pending.
fn after(
    context: &Context,
    packages: &[Contents],
    guests: &[(GuestPackage, String)],
    manager: Option<Manager>,
    trust: bool,
) -> Result<(), Failure> {
    let images: Vec<&str> = packages
        .iter()
        .filter(|package| package.guest.is_none())
        .map(|package| package.found.package.as_str())
        .collect();
    if let Some(run) = manager.and_then(|manager| install::mark_run(manager, &images))
        && let Err(error) = run.output()
    {
        context
            .output()
            .warn(format!("images stay when no guest needs them any more: {error}"));
    }
    for (package, _) in guests.iter().filter(|_| trust) {
        packaged::or_pending(context, &pending(package, trust), false, |libvirt| {
            register(context, libvirt, package, trust)
        })?;
    }
    Ok(())
}

fn pending(package: &GuestPackage, trust: bool) -> PendingKind {
    PendingKind::RegisterGuest {
        package: package.clone(),
        name: None,
        trust,
    }
}

fn register(
    context: &Context,
    libvirt: &miniascape::host::Libvirt,
    package: &GuestPackage,
    trust: bool,
) -> Result<(), InstallError> {
    for registered in packaged::register_all(context, libvirt, package, trust)? {
        for note in &registered.notes {
            context.output().note(format!("note: {note}"));
        }
    }
    Ok(())
}

/// Unpacks tar files one after the other, and registers their guests.
fn unpack(context: &Context, packages: &[Contents], request: &Request<'_>) -> Result<(), Failure> {
    let layout = context.layout();
    let unpacking = Unpacking::begin(layout)?;
    let teller = Teller::new(context, request.style);
    let one = |contents: &Contents| -> Result<(), Failure> {
        let unpacked = install::unpack(layout, &unpacking, contents, &teller)?;
        let package = unpacked.package().clone();
        let kind = pending(&package, request.trust);
        if !layout.is_live() {
            unpacked.put(layout, &unpacking)?;
            kind.note(layout, install::SYSTEM, "installed into another system's root")?;
            return Ok(());
        }
        packaged::or_pending(context, &kind, false, |libvirt| {
            unpacked.put(layout, &unpacking)?;
            register(context, libvirt, &package, request.trust)
        })
    };
    let done = packages.iter().try_for_each(one);
    teller.finish(done.is_ok());
    // Also after a failure: what nobody needs does not stay.
    let tidied = install::tidy(layout);
    done?;
    tidied?;
    Ok(())
}

fn look(context: &Context, guests: &[(GuestPackage, String)]) -> Result<Vec<Outcome>, Failure> {
    let layout = context.layout();
    let libvirt = if layout.is_live() {
        Some(context.libvirt_for_reading()?)
    } else {
        None
    };
    let mut outcomes = Vec::new();
    for (package, _) in guests {
        outcomes.push(install::outcome(layout, libvirt.as_ref(), package)?);
    }
    Ok(outcomes)
}

fn sentence(outcome: &Outcome, wanted: &str) -> String {
    let package = &outcome.package;
    let mut parts = vec![match &outcome.installed {
        None => format!("{package} is not installed"),
        Some(version) if version == wanted => format!("{package} {version} is installed"),
        Some(version) => format!("{package} is installed in version {version}, not {wanted}"),
    }];
    parts.extend(outcome.guests.iter().map(|guest| {
        let name = &guest.name;
        if guest.registered {
            format!("{name} is registered: miniascape guest start {name}")
        } else {
            format!("{name} is not registered")
        }
    }));
    parts.extend(
        outcome
            .pending
            .iter()
            .map(|pending| format!("pending: {pending}")),
    );
    parts.join("; ")
}
