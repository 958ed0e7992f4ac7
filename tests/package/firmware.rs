//! What a guest's machine remembers besides its disks: UEFI variables and the state of an emulated TPM.

use crate::guest::{Bench, domain, request, stdout};
use fs_err as fs;
use miniascape::package::{self, FileRole, Request, Target};
use std::path::Path;

/// The test domain with firmware that keeps its variables in `nvram`, and a TPM whose state is in `tpm`.
fn machine(bench: &Bench, nvram: &Path, tpm: &Path) -> String {
    domain("web", &bench.raw("a.raw"), "raw")
        .replace(
            "<boot dev='hd'/>",
            &format!(
                "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader>\
                 <nvram template='/usr/share/OVMF/OVMF_VARS_4M.ms.fd'>{}</nvram>",
                nvram.display()
            ),
        )
        .replace(
            "<cpu mode='host-model' check='partial'/>",
            "<features><acpi/><smm state='on'/><pae state='off'/></features>\
             <cpu mode='custom'><model>Skylake-Server</model><feature policy='disable' name='hle'/></cpu>",
        )
        .replace(
            "</devices>",
            &format!(
                "<tpm model='tpm-crb'><backend type='emulator' version='2.0'><source type='dir' path='{}'/>\
                 </backend></tpm></devices>",
                tpm.display()
            ),
        )
}

/// The first bytes of a firmware volume.
fn variables() -> Vec<u8> {
    let mut content = vec![0; 4096];
    content[40..44].copy_from_slice(b"_FVH");
    content
}

fn wanted(request: &Request) -> Vec<(FileRole, u64)> {
    let plan = package::prepare(request).unwrap();
    let files = plan.files.iter().map(|file| &file.section);
    files.map(|file| (file.role, file.size)).collect()
}

#[test]
fn variables_and_tpm_state_are_in_every_kind_of_package() {
    let bench = Bench::new();
    let (nvram, tpm) = (bench.path("web_VARS.fd"), bench.path("tpm"));
    let mut request = request(machine(&bench, &nvram, &tpm));
    let left = |request: &Request| {
        let plan = package::prepare(request).unwrap();
        plan.not_packed
            .iter()
            .map(|item| item.kind.to_string())
            .collect::<Vec<_>>()
    };
    // A guest that never ran has neither.
    assert_eq!(wanted(&request), []);
    assert!(left(&request).contains(&"firmware-variables".to_owned()));
    request.with_tpm = true;
    let error = package::prepare(&request).unwrap_err().to_string();
    assert!(error.contains("when the guest first starts"), "{error}");

    fs::write(&nvram, variables()).unwrap();
    fs::create_dir(&tpm).unwrap();
    fs::write(tpm.join("tpm2-00.permall"), "the state").unwrap();
    request.with_tpm = false;
    assert_eq!(wanted(&request), [(FileRole::FirmwareVariables, 4096)]);
    assert_eq!(
        left(&request),
        ["media", "password", "host-device", "tpm", "host-path"]
    );
    request.with_tpm = true;
    assert_eq!(left(&request), ["media", "password", "host-device", "host-path"]);

    let targets = [Target::Rpm, Target::Deb, Target::BuildTree];
    let repacked = package::repack(&request, &bench.options(&targets), &()).unwrap();
    let manifest = &repacked.manifest;
    let names: Vec<_> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["nvram.fd", "tpm2-00.permall", "blocks-vda"]);
    assert!(manifest.files[0].is_of(&variables()));
    let machine = serde_json::to_value(&manifest.domain).unwrap();
    assert_eq!(
        machine["firmware"]["loader"],
        "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
    );
    assert_eq!(machine["features"], serde_json::json!(["acpi", "smm"]));
    assert_eq!(machine["cpu"]["model"], "Skylake-Server");
    assert_eq!(machine["cpu"]["features"], serde_json::json!({"hle": "disable"}));
    assert_eq!(machine["tpm"], "2.0");

    let file = |end: &str| {
        let found = repacked.files.iter().find(|file| {
            let path = file.path.to_string_lossy();
            path.contains("vm-web") && path.ends_with(end)
        });
        found.unwrap().path.clone()
    };
    let rpm = stdout("rpm", |c| c.args(["-qp", "--dump"]).arg(file(".rpm")));
    let deb = stdout("dpkg-deb", |c| c.arg("-c").arg(file(".deb")));
    for name in ["nvram.fd", "tpm2-00.permall"] {
        let path = format!("/usr/share/miniascape/guests/web/{name}");
        let in_rpm = rpm.lines().find(|line| line.starts_with(&path)).unwrap();
        assert!(in_rpm.contains(" 0100600 root root "), "{in_rpm}");
        let in_deb = deb.lines().find(|line| line.ends_with(&path)).unwrap();
        assert!(in_deb.starts_with("-rw------- root/root "), "{in_deb}");
    }
    let tree = bench.output().join("vm-web-repacked-0.1");
    assert_eq!(fs::read(tree.join("nvram.fd")).unwrap(), variables());
    let xml = fs::read_to_string(tree.join("domain.xml")).unwrap();
    assert!(!xml.contains("web_VARS") && !xml.contains("type='dir'"), "{xml}");
}

/// Domain XML may name any file of the host.
#[test]
fn what_is_no_variable_store_is_not_packed() {
    let bench = Bench::new();
    let secret = bench.path("shadow");
    fs::write(&secret, "root:secret\n".repeat(20)).unwrap();
    let request = request(machine(&bench, &secret, &bench.path("tpm")));
    let error = package::prepare(&request).unwrap_err().to_string();
    assert!(
        error.contains("no store of UEFI variables") && error.contains("shadow"),
        "{error}"
    );
    let device = crate::guest::request(machine(&bench, Path::new("/dev/zero"), &bench.path("tpm")));
    assert!(package::prepare(&device).is_err());
}
