//! The packages that the machines install: those that `make deb rpm PROFILE=dev` has made, and older ones from the same
//! staged tree, whose reference networks net-2 and net-3 have another lease time.

use crate::machine::Machine;
use crate::support::{Command, Context, LabError, Result};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The version of the older packages; theirs sort before any real one.
pub(crate) const OLD: &str = "0.0.9";

/// Where a machine has its repository.
const REPOSITORY: &str = "/srv/repository";

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deb,
    Rpm,
}

pub(crate) struct Packages {
    old: Vec<PathBuf>,
    new: Vec<PathBuf>,
    /// What Debian has and its rpm's database does not know of.
    stub: PathBuf,
}

/// The packages, made if they are not there.
pub(crate) fn all() -> Result<&'static Packages> {
    static ALL: OnceLock<Packages> = OnceLock::new();
    if let Some(all) = ALL.get() {
        return Ok(all);
    }
    let made = make()?;
    Ok(ALL.get_or_init(|| made))
}

/// Where the older packages are made, by this process alone.
fn work() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("system-{}", std::process::id()))
}

/// Removes what [`all`] has made.
pub(crate) fn clean() {
    // There may be nothing.
    let _ = fs::remove_dir_all(work());
}

fn make() -> Result<Packages> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stage = top.join("dist/dev/stage");
    let version = env!("CARGO_PKG_VERSION").replace('-', "~");
    let new: Vec<PathBuf> = [
        format!("dist/dev/miniascape_{version}-1_amd64.deb"),
        format!("dist/miniascape-refdata_{version}-1_all.deb"),
        format!("dist/dev/miniascape-{version}-1.x86_64.rpm"),
        format!("dist/miniascape-refdata-{version}-1.noarch.rpm"),
    ]
    .map(|file| top.join(file))
    .into();
    if let Some(missing) = new.iter().chain([&stage]).find(|path| !path.exists()) {
        let missing = format!("there is no {}", missing.display());
        return Err(LabError::new(missing).remedy("make deb rpm PROFILE=dev; `make test-system` does it"));
    }
    let work = work();
    let script = "set -eu; top=$0; work=$1; old=$2\n\
        mkdir -p \"$work\"\n\
        cp -a \"$top/packaging\" \"$top/networks\" \"$top/CHANGELOG.md\" \"$top/dist/dev/stage\" \"$work/\"\n\
        for dir in networks stage/usr/share/miniascape/networks; do\n\
            sed -i 's/lease_time: 12h/lease_time: 6h/' \"$work/$dir/net-2.yaml\" \"$work/$dir/net-3.yaml\"\n\
        done\n\
        export DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1 SOURCE_DATE_EPOCH=1700000000\n\
        \"$work/packaging/build-deb\" \"$work/stage\" \"$old\" \"$top/dist/licences/copyright\" \"$work/old\" \"$work/old\"\n\
        \"$work/packaging/build-rpm\" \"$work/stage\" \"$old\" \"$top/dist/licences\" \"$work/old\" \"$work/old\"\n\
        \"$work/packaging/build-rpm-stub\" \"$work/stub.rpm\" \"$work\"/old/*.rpm\n";
    let argv = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        top.as_os_str(),
        work.as_os_str(),
        OLD.as_ref(),
    ];
    Command::machine(argv)
        .timeout(Duration::from_secs(600))
        .try_check()?;
    Ok(Packages {
        old: list(&work.join("old"))?,
        new,
        stub: work.join("stub.rpm"),
    })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).context("the built packages")?;
    let files = entries.flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "deb" || ext == "rpm");
    Ok(files.filter(is_package).collect())
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }

    fn of(self, files: &[PathBuf]) -> Vec<PathBuf> {
        let wanted = |path: &&PathBuf| path.extension().is_some_and(|ext| ext == self.extension());
        files.iter().filter(wanted).cloned().collect()
    }

    /// The packages of this source.
    pub(crate) fn new_files(self) -> Vec<PathBuf> {
        self.of(&all().expect("made before").new)
    }

    /// Makes the machine's package manager know its repository, and nothing else. The machine may be off.
    pub(crate) fn prepare(self, machine: &Machine) {
        match self {
            Self::Deb => machine.write(
                "/etc/apt/sources.list",
                format!("deb [trusted=yes] file:{REPOSITORY} ./\n"),
            ),
            Self::Rpm => {
                // Debian's rpm keeps its database in the home directory otherwise.
                machine.write("/etc/rpm/macros.dbpath", "%_dbpath /var/lib/rpm\n");
                let text = format!("[lab]\nname=lab\nbaseurl=file://{REPOSITORY}\ngpgcheck=0\n");
                machine.write("/etc/lab.repos.d/lab.repo", text);
            }
        }
    }

    /// Publishes the older packages.
    pub(crate) fn publish_old(self, machine: &Machine) {
        let all = all().expect("made before");
        self.publish(machine, &self.of(&all.old));
        if self == Self::Rpm {
            self.publish(machine, std::slice::from_ref(&all.stub));
        }
    }

    /// Publishes the packages of this source.
    pub(crate) fn publish_new(self, machine: &Machine) {
        let all = all().expect("made before");
        self.publish(machine, &self.new_files());
        if self == Self::Rpm {
            self.publish(machine, std::slice::from_ref(&all.stub));
        }
    }

    /// Puts files into the machine's repository, and makes its index anew.
    pub(crate) fn publish(self, machine: &Machine, files: &[PathBuf]) {
        machine.bring(files, REPOSITORY);
        self.index(machine);
    }

    /// Makes the index of the machine's repository anew, by this machine's programs.
    pub(crate) fn index(self, machine: &Machine) {
        let dir = machine.root().join(REPOSITORY.trim_start_matches('/'));
        let script = match self {
            Self::Deb => {
                "apt-ftparchive packages . >Packages && apt-ftparchive release . >Release.new && mv Release.new Release"
            }
            Self::Rpm => "createrepo_c -q .",
        };
        Command::machine(["sh", "-c", script]).cwd(dir).check();
    }

    /// The script that installs packages, or the newest versions of installed ones.
    pub(crate) fn install(self, packages: &str) -> String {
        match self {
            Self::Deb => format!("{APT} update; {APT} install {packages}"),
            Self::Rpm => format!("{DNF} --refresh install {packages}"),
        }
    }

    /// The script that upgrades all of them.
    pub(crate) fn upgrade(self) -> String {
        match self {
            Self::Deb => format!("{APT} update; {APT} upgrade"),
            Self::Rpm => format!("{DNF} --refresh upgrade"),
        }
    }

    pub(crate) fn remove(self, packages: &str) -> String {
        match self {
            Self::Deb => format!("{APT} remove {packages}"),
            Self::Rpm => format!("{DNF} remove {packages}"),
        }
    }
}

const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root \
    -o Dpkg::Options::=--force-confold --no-install-recommends";
const DNF: &str = "dnf -y --releasever=12 --setopt=reposdir=/etc/lab.repos.d";
