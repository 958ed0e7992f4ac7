//! The directory in which libvirt keeps the state of an emulated TPM: for the user that it runs swtpm as, and for nobody
//! else. libvirt gives the files to that user again whenever the guest starts.

use super::{Layout, Place, files};
use fs_err as fs;
use std::io;
use std::path::Path;

/// Writes `content` as `name` into the directory `version` below `own`, a domain's directory.
pub fn fill(layout: &Layout, own: &Place, version: &str, name: &str, content: &[u8]) -> io::Result<()> {
    let dir = own.join(version);
    if let Some(all) = own.on_disk().parent() {
        files::make_dir_once(all, 0o711)?;
    }
    files::make_dir(own.on_disk(), 0o711)?;
    files::make_dir(dir.on_disk(), 0o700)?;
    let file = dir.join(name);
    files::write(file.on_disk(), content, 0o600)?;
    match owner(layout) {
        Some(owner) if rustix::process::geteuid().is_root() => [file.on_disk(), dir.on_disk()]
            .into_iter()
            .try_for_each(|path| std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1))),
        _ => Ok(()),
    }
}

/// User and group of swtpm: those of libvirt's configuration, or libvirt's own choice.
fn owner(layout: &Layout) -> Option<(u32, u32)> {
    let config = fs::read_to_string(layout.qemu_conf().on_disk()).unwrap_or_default();
    let name = |key| setting(&config, key).unwrap_or("tss").to_owned();
    let user = id(layout.users().on_disk(), &name("swtpm_user"))?;
    let group = id(layout.groups().on_disk(), &name("swtpm_group"))?;
    Some((user, group))
}

/// The value of a line `key = "value"`.
fn setting<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    let value = |line: &'a str| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?;
        value.trim().strip_prefix('"')?.split('"').next()
    };
    config.lines().rev().find_map(value)
}

/// The number of a name in `/etc/passwd` or `/etc/group`; a number stands for itself.
fn id(database: &Path, name: &str) -> Option<u32> {
    if let Ok(number) = name.trim_start_matches('+').parse() {
        return Some(number);
    }
    let text = fs::read_to_string(database).ok()?;
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.find(|fields| fields[0] == name)?.get(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_counts_and_comments_do_not() {
        let config = "#swtpm_user = \"no\"\nswtpm_user=\"a\"\n swtpm_user = \"b\" # said twice\nswtpm_user_x = \"c\"\n";
        assert_eq!(setting(config, "swtpm_user"), Some("b"));
        assert_eq!(setting(config, "swtpm_group"), None);
    }
}
