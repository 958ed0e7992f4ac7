//! Work that could not be done and is taken up again.

use super::*;

#[test]
fn pending_work_is_done_only_where_it_belongs() {
    let bench = Bench::new("elsewhere");
    bench.install("0.1", 2);
    let kind = bench.kind();
    kind.note(&bench.layout, SYSTEM, "libvirt is down").unwrap();
    assert!(bench.finish().is_empty());
    assert!(bench.libvirt.domain("elsewhere").unwrap().is_none());
    assert_eq!(pending(&bench.layout).unwrap().len(), 1);

    kind.note(&bench.layout, bench.libvirt.uri(), "libvirt is down")
        .unwrap();
    // What runs guests is not known: no guess, the work stays.
    let unknown = || Err(std::io::Error::other("no answer").into());
    let failed = finish(&bench.layout, &bench.libvirt, unknown).unwrap();
    assert!(matches!(failed[0].result, Err(InstallError::Kvm(_))));
    assert_eq!(bench.finish(), [true]);
    assert!(bench.libvirt.domain("elsewhere").unwrap().is_some());
    assert_eq!(pending(&bench.layout).unwrap(), []);
}

#[test]
fn a_refusal_is_tried_again_when_something_has_changed() {
    let bench = Bench::new("refused");
    let layers = bench.install("0.1", 2);
    let delta = bench.layout.packaged_image(&layers[1]).on_disk().to_owned();
    let good = fs::read(&delta).unwrap();
    fs::write(&delta, "damaged").unwrap();
    let kind = bench.kind();
    kind.note(&bench.layout, bench.libvirt.uri(), "r").unwrap();
    assert_eq!(bench.finish(), [false]);
    let noted = pending(&bench.layout).unwrap();
    assert!(noted[0].reason.contains("is damaged"), "{noted:?}");
    assert!(bench.finish().is_empty());
    // A reinstallation puts another file there.
    fs::remove_file(&delta).unwrap();
    fs::write(&delta, good).unwrap();
    assert_eq!(bench.finish(), [true]);
}

#[test]
fn a_name_that_becomes_free_is_taken() {
    let bench = Bench::new("name-taken");
    bench.install("0.1", 2);
    let other =
        "<domain type='test'><name>name-taken</name><memory>65536</memory><os><type>hvm</type></os></domain>";
    bench.libvirt.define_domain("name-taken", other).unwrap();
    let refused = bench.register().unwrap_err();
    assert!(matches!(refused, InstallError::NameTaken { .. }), "{refused}");
    let kind = bench.kind();
    kind.note(&bench.layout, bench.libvirt.uri(), "r").unwrap();
    note_failure(&bench.layout, &bench.libvirt, &kind, &refused).unwrap();
    let noted = pending(&bench.layout).unwrap();
    assert!(
        noted[0]
            .reason
            .ends_with("; miniascape guest register vm-name-taken --as name-taken-2"),
        "{noted:?}"
    );
    assert!(bench.finish().is_empty());
    bench.libvirt.undefine_domain("name-taken").unwrap();
    assert_eq!(bench.finish(), [true]);
}

#[test]
fn what_no_scriptlet_has_told_is_found() {
    let bench = Bench::new("untold");
    let noted = || {
        note_overlooked(&bench.layout).unwrap();
        let mut all = pending(&bench.layout).unwrap();
        assert!(all.len() <= 1 && all.iter().all(|pending| pending.uri == SYSTEM));
        let kind = all.pop().map(|pending| pending.kind);
        kind.inspect(|kind| assert!(kind.forget(&bench.layout).unwrap()))
    };
    assert_eq!(noted(), None);
    bench.install("0.1", 2);
    assert_eq!(noted(), Some(bench.kind()));
    bench.register().unwrap();
    bench.register_as(Some("untold-b"), false).unwrap();
    assert_eq!(noted(), None);
    bench.install("0.2", 3);
    assert_eq!(noted(), Some(bench.kind()));
    bench.register().unwrap();
    bench.uninstall();
    let package = bench.package.clone();
    assert_eq!(noted(), Some(PendingKind::UnregisterGuest { package }));
    unregister(&bench.layout, &bench.libvirt, &bench.package, false).unwrap();
    assert_eq!(noted(), None);
    // What waits for something else already is left to that.
    bench.install("0.2", 3);
    let waits = PendingKind::RegisterGuest {
        package: bench.package.clone(),
        name: None,
        trust: true,
    };
    waits.note(&bench.layout, "test:///default", "x").unwrap();
    note_overlooked(&bench.layout).unwrap();
    assert_eq!(pending(&bench.layout).unwrap()[0].kind, waits);
}
