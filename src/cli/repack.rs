//! `miniascape repack`: a libvirt guest as packages.

mod known;
mod live;
mod many;
mod networks;
mod report;
mod source;

pub(super) use known::is_package_file;

use super::progress::{self, Spent, Style, Teller};
use super::{Context, Failure};
use miniascape::domain::VirtType;
use miniascape::guest;
use miniascape::guest::live::LiveError;
use miniascape::name::PackageVersion;
use miniascape::package::{
    self, Codec, DiskChoice, GuestPackage, Options, Plan, Repacked, Request, Seal, Target, Timestamp,
    UnpackedBase, UnpackedSet,
};
use report::{tell, tell_plan};
use source::Source;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: miniascape repack web --to rpm,deb --output packages --package-version 1.0\n\
    A repository: miniascape repack --all --to deb --repo /srv/guests --format json"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// A guest that is off (or runs, with --live), or a file with domain XML; several with --repo
    #[arg(value_name = "DOMAIN|FILE.xml", required_unless_present = "all")]
    guests: Vec<String>,
    /// Pack all guests that libvirt knows
    #[arg(long, conflicts_with = "guests", requires = "repo")]
    all: bool,
    /// Pack the guests into this repository: image packages in it are shared, and createrepo_c and apt-ftparchive make its indexes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "until", "since", "dry_run"])]
    repo: Option<PathBuf>,
    /// What to make [default: packages for this host: deb or rpm]
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = target)]
    to: Vec<Target>,
    /// Where the results go; made if it is not there
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// The version of the guest package
    #[arg(long, value_name = "VERSION", default_value = "0.1")]
    package_version: PackageVersion,
    /// The guest's package was called this before: its earlier versions give way to the new package, which takes their guests over
    #[arg(
        long,
        value_name = "PACKAGE",
        requires = "package_version",
        conflicts_with = "all"
    )]
    renamed_from: Vec<GuestPackage>,
    /// How to compress: zstd, zstd:1 to zstd:19, xz, xz:1 to xz:6, or none
    #[arg(long, value_name = "HOW", default_value = "zstd")]
    compress: Codec,
    /// Where the build tree goes, and what is needed meanwhile [default: the output directory]
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Pack a running guest as it is now: all its disks at one moment, its file systems frozen if its agent answers
    #[arg(long, conflicts_with = "seal")]
    live: bool,
    /// With --live: leave a checkpoint from which on libvirt notes what the guest writes, so that --since this package reads only that
    #[arg(long, requires = "live", conflicts_with = "repo")]
    checkpoint: bool,
    /// Leave this disk behind
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    without_disk: Vec<String>,
    /// Make one image of each disk, instead of a base and a delta
    #[arg(long)]
    flatten: bool,
    /// Make the delta of the first disk (or of TARGET) against this image, or against the base in a package: installed, or a file
    #[arg(long, value_name = "[TARGET=]IMAGE|PACKAGE|FILE", conflicts_with = "flatten")]
    base: Option<String>,
    /// Pack only what has changed since this package: installed, or an RPM or Debian package's file
    #[arg(long, value_name = "PACKAGE|FILE", conflicts_with_all = ["base", "flatten", "seal", "until"])]
    since: Option<String>,
    /// Pack the state of the guest's emulated TPM, with the keys that are in it
    #[arg(long)]
    with_tpm: bool,
    /// Pack the definitions of the guest's networks, too
    #[arg(long)]
    with_networks: bool,
    /// Reset machine id, SSH host keys, DHCP identifiers, random seed, logs and history in the copy (with virt-sysprep)
    #[arg(long)]
    seal: bool,
    /// Allow a raw backing file that lies here, outside of the disk's own directory
    #[arg(long, value_name = "PATH")]
    allow_backing: Vec<PathBuf>,
    /// The time that all results carry, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    created: Option<i64>,
    /// The user on whose behalf root runs this
    #[arg(long, value_name = "UID", env = "SUDO_UID", hide = true)]
    caller: Option<u32>,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// How to tell how far the work is, on standard error
    #[arg(long, value_name = "HOW", default_value = "text")]
    progress: Style,
    /// A packager's way, up to here: the build tree, then its tar file, then the source package
    #[arg(long, value_name = "STAGE", conflicts_with = "to")]
    until: Option<Stage>,
}

/// What a packager makes one after the other.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Stage {
    /// The build tree
    Tree,
    /// The tree and its tar file
    Tarball,
    /// The tree, its tar file and the source package
    Srpm,
}

impl Stage {
    fn targets(self) -> BTreeSet<Target> {
        let all = [Target::BuildTree, Target::Tar, Target::Srpm];
        let count = match self {
            Self::Tree => 1,
            Self::Tarball => 2,
            Self::Srpm => 3,
        };
        all[..count].iter().copied().collect()
    }
}

fn target(text: &str) -> Result<Target, String> {
    let names = Target::ALL.map(Target::as_str);
    Target::ALL
        .into_iter()
        .find(|target| target.as_str() == text)
        .ok_or_else(|| format!("what can be made: {}", names.join(", ")))
}

impl Args {
    fn output(&self) -> &Path {
        self.repo.as_ref().unwrap_or(&self.output)
    }

    fn targets(&self) -> BTreeSet<Target> {
        match self.until {
            Some(stage) => stage.targets(),
            None if self.to.is_empty() => [Target::of_host()].into(),
            None => self.to.iter().copied().collect(),
        }
    }
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    if let Some(dir) = &args.repo {
        return many::run(context, args, dir);
    }
    let [guest] = args.guests.as_slice() else {
        return Err(Failure::usage(
            "several guests are packed into a repository: --repo DIR",
        ));
    };
    if args.dry_run {
        let (job, _unpacked) = prepare(context, args, guest)?;
        tell_plan(context, &job.plan, &job.options)?;
    } else {
        let packed = pack(context, args, guest, &|_| Ok(()))?;
        tell(context, args.progress, &packed)?;
        packed.ended?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A guest that can be packed.
struct Job {
    running: Option<live::Running>,
    request: Request,
    plan: Plan,
    options: Options,
}

/// What was unpacked for a job, which lasts as long as this.
type Unpacked = (Option<UnpackedBase>, Option<UnpackedSet>);

/// A guest that was packed.
struct Packed {
    repacked: Repacked,
    steps: Vec<Spent>,
    /// The whole time.
    whole: Duration,
    /// Whether everything that a running guest needed for it was undone.
    ended: Result<(), LiveError>,
}

/// Packs one guest, if `allow` has nothing against the plan.
fn pack(
    context: &Context,
    args: &Args,
    guest: &str,
    allow: &dyn Fn(&Plan) -> Result<(), Failure>,
) -> Result<Packed, Failure> {
    let (job, _unpacked) = prepare(context, args, guest)?;
    allow(&job.plan)?;
    carry_out(context, args, job)
}

/// Looks at one guest, and says what will stay behind and what else is to be known.
fn prepare(context: &Context, args: &Args, guest: &str) -> Result<(Job, Unpacked), Failure> {
    let source = Source::read(context, guest, args)?;
    let known = args.base.as_deref().map(|text| known::base(context, args, text));
    let (base, unpacked_base) = known.transpose()?.unzip();
    let known = args
        .since
        .as_deref()
        .map(|text| known::earlier(context, args, text));
    let (earlier, unpacked_set) = known.transpose()?.unzip();
    let unpacked_set = unpacked_set.flatten();
    let definitions = if args.with_networks {
        networks::definitions(context, &source.xml)?
    } else {
        Vec::new()
    };
    let request = Request {
        xml: source.xml,
        xml_is_public: source.public,
        libvirt_knows: source.libvirt_knows,
        activity: source.activity,
        version: args.package_version.clone(),
        renamed_from: args.renamed_from.clone(),
        disks: DiskChoice {
            leave: args.without_disk.clone(),
            flatten: args.flatten,
            base,
        },
        volumes: source.volumes,
        with_tpm: args.with_tpm,
        definitions,
        seal: if args.seal {
            Some(Seal {
                emulate: guest::virt_type(context.layout(), args.dry_run)?.0 == VirtType::Qemu,
            })
        } else {
            None
        },
        earlier,
        reservations: networks::reservations(context, args.progress),
        allowed_backing: args.allow_backing.clone(),
    };
    let options = Options {
        targets: args.targets(),
        output: args.output().to_owned(),
        repository: args.repo.is_some(),
        work: args.workdir.clone(),
        codec: args.compress,
        created: created(args.created)?,
        caller: args.caller,
    };
    let plan = package::prepare(&request)?;
    if args.with_networks {
        let packed = |name: &str| {
            plan.files
                .iter()
                .any(|f| f.section.network().is_some_and(|n| n.as_str() == name))
        };
        for network in plan
            .networks
            .iter()
            .filter(|network| !packed(network.name.as_str()))
        {
            let text = format!(
                "the definition of the network {} is not packed: it is not registered here with miniascape",
                network.name
            );
            progress::warn(context, args.progress, &text);
        }
    }
    for item in plan.not_packed.iter().filter(|_| args.progress != Style::Json) {
        context
            .output()
            .note(format!("not packed: {}: {}", item.what, item.fate));
    }
    for warning in &plan.warnings {
        progress::warn(context, args.progress, warning.as_str());
    }
    if args.checkpoint && source.running.is_none() {
        return Err(
            Failure::refused("a checkpoint is of a guest that runs, and this one is off")
                .hint("without --checkpoint it is packed as well"),
        );
    }
    let job = Job {
        running: source.running,
        request,
        plan,
        options,
    };
    Ok((job, (unpacked_base.flatten(), unpacked_set)))
}

/// Carries a plan out, of a guest that may be running.
fn carry_out(context: &Context, args: &Args, job: Job) -> Result<Packed, Failure> {
    let Job {
        running,
        request,
        mut plan,
        options,
    } = job;
    let begun = Instant::now();
    let live = match &running {
        Some(running) => Some(live::begin(
            context,
            running,
            &request,
            &mut plan,
            args.checkpoint,
            args.progress,
        )?),
        None => None,
    };
    let teller = Teller::new(context, args.progress);
    let still = || live.as_ref().is_none_or(|live| live.ensure_running().is_ok());
    let result = package::build_while(&plan, &options, &teller, &still).map_err(Failure::from);
    let steps = teller.finish(result.is_ok());
    let result = match &live {
        Some(live) => result.map_err(|failure| {
            tracing::debug!("{}", failure.message());
            live.explain(failure)
        }),
        None => result,
    };
    for disk in &mut plan.disks {
        disk.live = None;
    }
    let ended = live.map_or(Ok(()), |live| {
        if let Ok(repacked) = &result {
            let section = &repacked.manifest.package;
            let package = format!("{} {}", section.name, section.version);
            live.keep_checkpoint(&package, repacked.manifest.digest())?;
        }
        live.end()
    });
    if let (Err(_), Err(left)) = (&result, &ended) {
        tracing::error!("{left}");
    }
    Ok(Packed {
        repacked: result?,
        steps,
        whole: begun.elapsed(),
        ended,
    })
}

fn created(asked: Option<i64>) -> Result<Timestamp, Failure> {
    let seconds = asked.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(0)
    });
    Timestamp::from_epoch(seconds)
        .filter(|_| seconds >= 0)
        .ok_or_else(|| Failure::usage(format!("{seconds} is no time that a package can carry")))
}
