//! What is said when a program is not installed: its name, and the command that installs it on this distribution.

use std::process::Command;

/// Runs the program where `hidden` are not installed and the system is another: in a mount namespace of its own.
fn lacking(hidden: &[&str], os_release: &str, arguments: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let system = directory.path().join("os-release");
    fs_err::write(&system, os_release).unwrap();
    let script = "mount --bind \"$0\" \"$(readlink -f /etc/os-release)\"
        for program in $HIDDEN; do [ ! -e /usr/bin/$program ] || mount --bind /dev/null /usr/bin/$program; done
        exec \"$@\"";
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let output = command
        .args(["--mount", "sh", "-ec", script])
        .arg(&system)
        .arg(env!("CARGO_BIN_EXE_miniascape"))
        .args(arguments)
        .env("HIDDEN", hidden.join(" "))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn with_libvirts_library_damaged_only_what_needs_it_fails() {
    let library = "/usr/lib/x86_64-linux-gnu/libvirt.so.0";
    assert!(std::path::Path::new(library).exists());
    let hidden = ["../lib/x86_64-linux-gnu/libvirt.so.0"];
    let list = ["--connect", "test:///default", "net", "list"];
    let (status, said) = lacking(&hidden, "ID=fedora\n", &list);
    assert_eq!(status, 4, "{said}");
    assert!(
        said.contains("libvirt.so.0") && said.contains("`dnf reinstall libvirt-libs`"),
        "{said}"
    );
    let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/networks/net-1.yaml");
    let (status, said) = lacking(&hidden, "ID=fedora\n", &["net", "validate", definition]);
    assert_eq!(status, 0, "{said}");
}

#[test]
fn a_program_that_is_needed_is_named_with_the_command_that_installs_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (vmdk, raw, xml) = (path("disk.vmdk"), path("disk.raw"), path("guest.xml"));
    // Enough for the format to be known.
    fs_err::write(
        &vmdk,
        b"KDMV\x01\0\0\0"
            .iter()
            .chain([0; 4088].iter())
            .copied()
            .collect::<Vec<u8>>(),
    )
    .unwrap();
    fs_err::write(&raw, vec![0; 65536]).unwrap();
    fs_err::write(
        &xml,
        format!(
            "<domain type='qemu'><name>g</name><memory>65536</memory><os><type arch='x86_64'>hvm</type></os><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{raw}'/><target dev='vda'/></disk>\
             </devices></domain>"
        ),
    )
    .unwrap();
    let (out, packages) = (path("out.qcow2"), path("packages"));
    let convert = ["image", "convert", "--trust-source", &vmdk, &out];
    let seal = ["repack", &xml, "--seal", "--to", "tar", "--output", &packages];
    for (system, arguments, program, command) in [
        (
            "ID=debian\n",
            &convert[..],
            "qemu-img",
            "apt-get install qemu-utils",
        ),
        ("ID=fedora\n", &convert, "qemu-img", "dnf install qemu-img"),
        (
            "ID=opensuse-leap\nID_LIKE=\"suse\"\n",
            &seal,
            "virt-sysprep",
            "zypper install guestfs-tools",
        ),
        ("ID=arch\n", &seal, "virt-sysprep", "pacman -S guestfs-tools"),
    ] {
        let (status, said) = lacking(&["qemu-img", "virt-sysprep"], system, arguments);
        assert_eq!(status, 4, "{said}");
        assert!(
            said.contains(program) && said.contains(&format!("`{command}`")),
            "{said}"
        );
    }
    assert!(!std::path::Path::new(&out).exists() && !std::path::Path::new(&packages).exists());
}
