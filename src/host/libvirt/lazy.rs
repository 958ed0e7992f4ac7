//! libvirt's client library, loaded with the first connection instead of with the program: more than fifty libraries come
//! with it, and loading them takes longer than most of what needs no libvirt (`--version`, completion, a definition's check).
//!
//! The functions that are called are defined here, each as a jump through a slot that [`load`] fills. So the linker finds
//! nothing that it would want of libvirt.so. One that is not in the list below it still finds there: the program is right
//! then, too, but slow to start, and `packaging/check-program` says so of a program that is to be shipped.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// The library, by the name of its binary interface.
const LIBRARY: &CStr = c"libvirt.so.0";

macro_rules! functions {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(concat!(stringify!($name), "\0")),*];

        // A slot for each function, one after the other, and a function that jumps where its slot says.
        std::arch::global_asm!(
            ".pushsection .data.rel.libvirt, \"aw\", @progbits",
            ".balign 8",
            ".globl miniascape_libvirt_slots",
            ".hidden miniascape_libvirt_slots",
            "miniascape_libvirt_slots:",
            ".popsection",
            $(
                ".pushsection .data.rel.libvirt, \"aw\", @progbits",
                "1: .quad {not_loaded}",
                ".popsection",
                ".pushsection .text.libvirt, \"ax\", @progbits",
                concat!(".globl ", stringify!($name)),
                concat!(".hidden ", stringify!($name)),
                concat!(".type ", stringify!($name), ", @function"),
                concat!(stringify!($name), ": jmpq *1b(%rip)"),
                concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
                ".popsection",
            )*
            not_loaded = sym not_loaded,
            options(att_syntax)
        );
    };
}

functions! {
    virConnectClose
    virConnectGetCapabilities
    virConnectGetDomainCapabilities
    virConnectGetURI
    virConnectIsAlive
    virConnectListAllDomains
    virConnectListAllNetworks
    virConnectListAllStoragePools
    virConnectOpen
    virConnectOpenReadOnly
    virConnectRef
    virDomainAbortJob
    virDomainAgentSetResponseTimeout
    virDomainBackupBegin
    virDomainBackupGetXMLDesc
    virDomainCheckpointCreateXML
    virDomainCheckpointDelete
    virDomainCheckpointFree
    virDomainCheckpointGetName
    virDomainCheckpointGetXMLDesc
    virDomainCheckpointLookupByName
    virDomainCreate
    virDomainDefineXMLFlags
    virDomainDestroy
    virDomainFSFreeze
    virDomainFSThaw
    virDomainFree
    virDomainGetBlockInfo
    virDomainGetBlockJobInfo
    virDomainGetJobInfo
    virDomainGetName
    virDomainGetState
    virDomainGetTime
    virDomainGetUUID
    virDomainGetXMLDesc
    virDomainHasManagedSaveImage
    virDomainIsPersistent
    virDomainListAllCheckpoints
    virDomainListAllSnapshots
    virDomainLookupByName
    virDomainLookupByUUID
    virDomainManagedSaveRemove
    virDomainResume
    virDomainShutdown
    virDomainSnapshotCreateXML
    virDomainSnapshotDelete
    virDomainSnapshotFree
    virDomainSnapshotGetName
    virDomainSnapshotGetXMLDesc
    virDomainSnapshotIsCurrent
    virDomainSnapshotNum
    virDomainUndefineFlags
    virDomainUpdateDeviceFlags
    virGetLastError
    virNetworkCreate
    virNetworkDHCPLeaseFree
    virNetworkDefineXML
    virNetworkDestroy
    virNetworkFree
    virNetworkGetAutostart
    virNetworkGetDHCPLeases
    virNetworkGetName
    virNetworkGetUUID
    virNetworkGetXMLDesc
    virNetworkIsActive
    virNetworkIsPersistent
    virNetworkLookupByName
    virNetworkSetAutostart
    virNetworkUndefine
    virNetworkUpdate
    virSetErrorFunc
    virStoragePoolFree
    virStoragePoolGetName
    virStoragePoolGetXMLDesc
    virStoragePoolIsActive
    virStorageVolFree
    virStorageVolGetPath
    virStorageVolLookupByName
}

unsafe extern "C" {
    static mut miniascape_libvirt_slots: [*mut c_void; NAMES.len()];

    // dlopen(3); in glibc's libc.so since 2.34, and in its libdl, which std links, before.
    fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// dlopen(3): functions that the library calls itself are looked for when they are called.
const RTLD_LAZY: c_int = 1;

/// What a slot holds before [`load`]. Every call needs a connection, and none is opened without the library.
extern "C" fn not_loaded() -> ! {
    unreachable!("a function of libvirt was called before there was a connection")
}

/// Loads the library, once; the message says why it cannot be. It may come later: the daemon tries again.
pub(super) fn load() -> Result<(), String> {
    static LOADED: Mutex<bool> = Mutex::new(false);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*loaded {
        fill()?;
        *loaded = true;
    }
    Ok(())
}

fn fill() -> Result<(), String> {
    // SAFETY: a string that ends with a zero byte, and a mode from dlopen(3). The library is never unloaded.
    let library = unsafe { dlopen(LIBRARY.as_ptr(), RTLD_LAZY) };
    if library.is_null() {
        return Err(last_error());
    }
    let slots = &raw mut miniascape_libvirt_slots;
    for (index, name) in NAMES.iter().enumerate() {
        // SAFETY: the library is loaded, and every name ends with a zero byte.
        let function = unsafe { dlsym(library, name.as_ptr().cast()) };
        if function.is_null() {
            return Err(last_error());
        }
        // SAFETY: there are as many slots as names. Only this writes them, one caller at a time, before anyone can have a
        // connection to call a function with.
        unsafe { (&raw mut (*slots)[index]).write_volatile(function) };
    }
    Ok(())
}

/// The dynamic loader's words for what has just failed.
fn last_error() -> String {
    // SAFETY: the answer is null, or text that stays until this thread's next call of the loader.
    let text = unsafe {
        let text = dlerror();
        if text.is_null() {
            c"no reason given"
        } else {
            CStr::from_ptr(text)
        }
    };
    crate::name::printable(&text.to_string_lossy(), 400)
}
