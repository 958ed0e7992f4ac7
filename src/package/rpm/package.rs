//! An RPM as rpm 4.14 and later read it: lead, signature header, header. Everything here is small; what follows is the
//! compressed archive, of which only length and digest count.

use super::header::{Header, IMMUTABLE, SIGNATURES, Value};
use crate::name::Digest;
use sha2::{Digest as _, Sha256};

/// The rpm whose features the header uses; programs look at it to work around old faults.
const RPM_VERSION: &str = "4.14.0";
/// Bytes kept for a signature, as rpmbuild keeps them: `rpmsign` writes it there.
const RESERVED: usize = 4128;
/// SHA-256 in rpm's numbering (RFC 4880).
const SHA256: u32 = 8;
/// Dependency flags.
const LESS: u32 = 1 << 1;
const EQUAL: u32 = 1 << 3;
const INTERPRETER: u32 = 1 << 8;
const RPMLIB: u32 = 1 << 24;
/// Needed by the scriptlet after installing.
pub(super) const POST: u32 = 1 << 10;
/// Needed by the scriptlet after removing.
pub(super) const POSTUN: u32 = 1 << 12;
/// The file flag of a spec.
pub(super) const SPECFILE: u32 = 1 << 5;

/// A package.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: u32,
    pub(super) summary: String,
    pub(super) description: String,
    /// The source package that it comes from; `None` makes it a source package itself.
    pub(super) source: Option<String>,
    /// Seconds since 1970: of the build and of all files.
    pub(super) created: u32,
    pub(super) provides: Vec<String>,
    /// Names with dependency flags.
    pub(super) requires: Vec<(String, u32)>,
    pub(super) recommends: Vec<String>,
    /// Names that the package had before: earlier versions under these give way to it.
    pub(super) renamed_from: Vec<String>,
    pub(super) post: Option<String>,
    pub(super) postun: Option<String>,
    /// In the order of their paths.
    pub(super) files: Vec<File>,
}

/// A file or directory of a package.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Absolute; in a source package the bare name.
    pub(super) path: String,
    /// Type and permission bits.
    pub(super) mode: u16,
    pub(super) size: u64,
    /// None for a directory.
    pub(super) digest: Option<Digest>,
    pub(super) flags: u32,
}

impl File {
    pub(super) fn directory(path: String, mode: u16) -> Self {
        Self {
            path,
            mode: 0o040_000 | mode,
            size: 0,
            digest: None,
            flags: 0,
        }
    }

    pub(super) fn regular(path: String, mode: u16, size: u64, digest: Digest) -> Self {
        Self {
            path,
            mode: 0o100_000 | mode,
            size,
            digest: Some(digest),
            flags: 0,
        }
    }
}

/// What a package's header says of its compressed archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Archive {
    /// Name for rpm and flags; `None` is not compressed.
    pub(super) compressor: Option<(&'static str, i32)>,
    /// SHA-256 as it is stored.
    pub(super) digest: Digest,
    /// Length as it is stored.
    pub(super) packed: u64,
    /// Length without compression.
    pub(super) plain: u64,
}

impl Package {
    /// Lead, signature header and header. For values of the same lengths the result has the same length.
    pub(super) fn head(&self, archive: &Archive) -> Vec<u8> {
        let header = self.header(archive).encode(IMMUTABLE);
        let mut signature = Header::default();
        let digest = Digest::from_bytes(Sha256::digest(&header).into());
        signature.set(270, Value::Int64(vec![header.len() as u64 + archive.packed]));
        signature.set(271, Value::Int64(vec![archive.plain]));
        signature.set(273, Value::Text(digest.to_string()));
        signature.set(1008, Value::Bytes(vec![0; RESERVED]));
        let mut out = self.lead();
        out.extend(signature.encode(SIGNATURES));
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(header);
        out
    }

    /// 96 bytes that only `file` still reads.
    fn lead(&self) -> Vec<u8> {
        let mut out = vec![
            0xed,
            0xab,
            0xee,
            0xdb,
            3,
            0,
            0,
            u8::from(self.source.is_none()),
            0,
            1,
        ];
        let full = format!("{}-{}-{}", self.name, self.version, self.release);
        out.extend(full.bytes().take(65));
        out.resize(76, 0);
        out.extend([0, 1, 0, 5]);
        out.resize(96, 0);
        out
    }

    fn header(&self, archive: &Archive) -> Header {
        let mut header = Header::default();
        let mut set = |tag, value| header.set(tag, value);
        let text = |text: &str| Value::Text(text.to_owned());
        let local = |text: &str| Value::Local(text.to_owned());
        set(100, Value::Texts(vec!["C".into()]));
        set(1000, text(&self.name));
        set(1001, text(&self.version));
        set(1002, text(&self.release.to_string()));
        set(1004, local(&self.summary));
        set(1005, local(self.description.trim_end()));
        set(1006, Value::Int32(vec![self.created]));
        set(1007, text("localhost"));
        set(1015, text("miniascape repack"));
        set(1014, text("LicenseRef-Unspecified"));
        set(1016, local("Unspecified"));
        set(1021, text("linux"));
        set(1022, text("noarch"));
        if let Some(script) = &self.post {
            set(1024, text(script.trim_end()));
            set(1086, text("/bin/sh"));
        }
        if let Some(script) = &self.postun {
            set(1026, text(script.trim_end()));
            set(1088, text("/bin/sh"));
        }
        if let Some(source) = &self.source {
            set(1044, text(source));
        } else {
            set(1106, Value::Int32(vec![1]));
            set(1089, Value::Texts(vec!["noarch".into()]));
            let sources = self.files.iter().filter(|file| file.flags & SPECFILE == 0);
            set(
                1018,
                Value::Texts(sources.map(|file| file.path.clone()).collect()),
            );
        }
        set(1064, text(RPM_VERSION));
        set(1124, text("cpio"));
        if let Some((name, level)) = archive.compressor {
            set(1125, text(name));
            set(1126, text(&level.to_string()));
        }
        set(5062, text("utf-8"));
        set(5092, Value::Texts(vec![archive.digest.to_string()]));
        set(5093, Value::Int32(vec![SHA256]));
        self.dependencies(archive, &mut header);
        self.file_list(&mut header);
        header
    }

    fn dependencies(&self, archive: &Archive, header: &mut Header) {
        let version = format!("{}-{}", self.version, self.release);
        let mut provides: Vec<(String, u32, String)> = self
            .provides
            .iter()
            .map(|name| (name.clone(), 0, String::new()))
            .collect();
        let mut obsoletes = Vec::new();
        for old in &self.renamed_from {
            provides.push((old.clone(), EQUAL, version.clone()));
            obsoletes.push((old.clone(), LESS, version.clone()));
        }
        provides.push((self.name.clone(), EQUAL, version));
        let mut requires: Vec<(String, u32, String)> = self
            .requires
            .iter()
            .map(|(name, flags)| (name.clone(), *flags, String::new()))
            .collect();
        for (script, flag) in [(&self.post, POST), (&self.postun, POSTUN)] {
            if script.is_some() {
                requires.push(("/bin/sh".into(), INTERPRETER | flag, String::new()));
            }
        }
        let mut rpmlib = |feature: &str, since: &str| {
            let name = format!("rpmlib({feature})");
            requires.push((name, RPMLIB | LESS | EQUAL, since.to_owned()));
        };
        rpmlib("CompressedFileNames", "3.0.4-1");
        rpmlib("FileDigests", "4.6.0-1");
        rpmlib("LargeFiles", "4.12.0-1");
        if self.source.is_some() {
            rpmlib("PayloadFilesHavePrefix", "4.0-1");
        }
        match archive.compressor {
            Some(("zstd", _)) => rpmlib("PayloadIsZstd", "5.4.18-1"),
            Some(("xz", _)) => rpmlib("PayloadIsXz", "5.2-1"),
            _ => {}
        }
        let recommends = self.recommends.iter();
        let recommends: Vec<_> = recommends.map(|name| (name.clone(), 0, String::new())).collect();
        for (mut list, [flags, name, version]) in [
            (provides, [1112, 1047, 1113]),
            (requires, [1048, 1049, 1050]),
            (recommends, [5048, 5046, 5047]),
            (obsoletes, [1114, 1090, 1115]),
        ] {
            if list.is_empty() {
                continue;
            }
            // rpm looks names up by bisection.
            list.sort();
            header.set(flags, Value::Int32(list.iter().map(|d| d.1).collect()));
            header.set(name, Value::Texts(list.iter().map(|d| d.0.clone()).collect()));
            header.set(version, Value::Texts(list.into_iter().map(|d| d.2).collect()));
        }
    }

    fn file_list(&self, header: &mut Header) {
        let files = &self.files;
        let texts = |of: &dyn Fn(&File) -> String| Value::Texts(files.iter().map(of).collect());
        let numbers = |of: &dyn Fn(&File) -> u32| Value::Int32(files.iter().map(of).collect());
        let mut dirs: Vec<String> = Vec::new();
        let (mut bases, mut indexes) = (Vec::new(), Vec::new());
        for file in files {
            let (dir, base) = match file.path.rsplit_once('/') {
                Some((dir, base)) => (format!("{dir}/"), base),
                None => (String::new(), file.path.as_str()),
            };
            let known = dirs.iter().position(|known| *known == dir);
            let index = known.unwrap_or_else(|| {
                dirs.push(dir);
                dirs.len() - 1
            });
            indexes.push(u32::try_from(index).unwrap_or(0));
            bases.push(base.to_owned());
        }
        let inodes = (1..).take(files.len()).collect();
        header.set(1030, Value::Int16(files.iter().map(|file| file.mode).collect()));
        header.set(1033, Value::Int16(vec![0; files.len()]));
        header.set(1034, numbers(&|_| self.created));
        let digest = |file: &File| file.digest.map(|digest| digest.to_string()).unwrap_or_default();
        header.set(1035, texts(&digest));
        header.set(1036, texts(&|_| String::new()));
        header.set(1037, numbers(&|file| file.flags));
        header.set(1039, texts(&|_| "root".into()));
        header.set(1040, texts(&|_| "root".into()));
        header.set(1045, numbers(&|_| u32::MAX));
        header.set(1095, numbers(&|_| 1));
        header.set(1096, Value::Int32(inodes));
        header.set(1097, texts(&|_| String::new()));
        header.set(1116, Value::Int32(indexes));
        header.set(1117, Value::Texts(bases));
        header.set(1118, Value::Texts(dirs));
        // What libmagic would say; it is not asked. Programs that read packages count on a class for each file.
        let class = |file: &File| u32::from(file.digest.is_some());
        header.set(1140, numbers(&|_| 0));
        header.set(1141, numbers(&class));
        header.set(1142, Value::Texts(vec!["directory".into(), String::new()]));
        let sizes: Vec<u64> = files.iter().map(|file| file.size).collect();
        // Beside the large fields the small ones, while they do: rpmlint reads no others.
        let small: Result<Vec<u32>, _> = sizes.iter().map(|size| u32::try_from(*size)).collect();
        let sum: u64 = sizes.iter().sum();
        if let (Ok(small), Ok(sum)) = (small, u32::try_from(sum)) {
            header.set(1028, Value::Int32(small));
            header.set(1009, Value::Int32(vec![sum]));
        }
        header.set(5008, Value::Int64(sizes));
        header.set(5009, Value::Int64(vec![sum]));
        header.set(5011, Value::Int32(vec![SHA256]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u64) -> Header {
        let digest = Digest::from_bytes([7; 32]);
        let package = Package {
            name: "miniascape-image-0707070707070707".into(),
            version: "1".into(),
            release: 1,
            summary: "x".into(),
            description: "x".into(),
            source: Some("x.src.rpm".into()),
            created: 1,
            provides: Vec::new(),
            requires: Vec::new(),
            recommends: Vec::new(),
            renamed_from: Vec::new(),
            post: None,
            postun: None,
            files: vec![
                File::directory("/a".into(), 0o755),
                File::regular("/a/b".into(), 0o444, size, digest),
            ],
        };
        package.header(&Archive {
            compressor: None,
            digest,
            packed: size,
            plain: size,
        })
    }

    /// Sizes of 64 bits are always there, and what the archive needs of rpm; the small ones only while they hold it.
    #[test]
    fn files_over_four_gibibytes_have_their_size() {
        let largest = u64::from(u32::MAX);
        for (size, small) in [(1, true), (largest, true), (largest + 1, false), (1 << 42, false)] {
            let header = header(size);
            assert_eq!(header.get(5008), Some(&Value::Int64(vec![0, size])));
            assert_eq!(header.get(5009), Some(&Value::Int64(vec![size])));
            for tag in [1028, 1009] {
                assert_eq!(header.get(tag).is_some(), small, "{size}");
            }
            let Some(Value::Texts(needs)) = header.get(1049) else {
                panic!("no list of requirements")
            };
            assert!(needs.contains(&"rpmlib(LargeFiles)".to_owned()));
        }
    }
}
