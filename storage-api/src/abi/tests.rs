//! The header and the Rust table say the same: every size, offset and number, by the word of a C compiler.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::args::{ChangeKind, CheckLevel, MountFlags, ObjectKind};
use crate::{Caps, ErrorKind, LogLevel, Whiteout};

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// What C is to print for each name, beside what Rust says.
#[derive(Default)]
struct Facts {
    c: String,
    rust: String,
}

impl Facts {
    fn number(&mut self, c: &str, rust: u64) {
        let _ = writeln!(self.c, r#"  printf("{c} %llu\n", (unsigned long long)({c}));"#);
        let _ = writeln!(self.rust, "{c} {rust}");
    }
}

macro_rules! layouts {
    ($facts:ident; $($c:ident = $rust:ident { $($c_field:ident $(= $field:ident)?),* $(,)? })*) => {$(
        $facts.number(concat!("sizeof(", stringify!($c), ")"), size_of::<$rust>() as u64);
        $(layouts!(@field $facts, $c, $rust, $c_field $(, $field)?);)*
    )*};
    (@field $facts:ident, $c:ident, $rust:ident, $name:ident) => { layouts!(@field $facts, $c, $rust, $name, $name) };
    (@field $facts:ident, $c:ident, $rust:ident, $name:ident, $field:ident) => {
        $facts.number(concat!("offsetof(", stringify!($c), ", ", stringify!($name), ")"), offset_of!($rust, $field) as u64);
    };
}

fn facts() -> Facts {
    let mut facts = Facts::default();
    layouts! { facts;
        mica_str = Str { ptr, len }
        mica_strs = Strs { ptr, len }
        mica_error = ErrorBuf { size, os_errno, msg_len, msg }
        mica_host = HostTable { size, abi_minor, ctx, log_level, flags, log, progress, lock, copy_tree }
        mica_open_args = OpenArgs { size, flags, call_id, root_dirfd, userns_fd, root_path, options }
        mica_info = Info { size, max_parents, caps, whiteout, reserved, backing_fs, detail }
        mica_stage_args = StageArgs {
            size, kind, call_id, id, parents, root_mode, root_uid, root_gid, flags, quota_bytes, quota_inodes,
        }
        mica_stage_out = StageOut { size, whiteout, target_dirfd, merged_dirfd }
        mica_mount_args = MountArgs {
            size, flags, call_id, rw_id, parents, idmap_userns_fd, reserved, selinux_label, options,
        }
        mica_change = Change { size, kind, path, name, dirfd, reserved }
        mica_driver_vt = DriverVt {
            size, reserved, open, close, stage_begin, stage_sync, stage_commit,
            stage_abort, mount, changes, usage, remove, reap, list, check, interface,
        }
        mica_plugin = Plugin {
            magic, size, abi_major, abi_minor, flags, driver_name, version, license, build_id, vt, options,
        }
        mica_note = Note {
            owner_size, content_size, type = kind, owner, abi_major, abi_minor, driver_name, version,
        }
    }
    facts.number("MICA_ABI_MAJOR", ABI_MAJOR.into());
    facts.number("MICA_ABI_MINOR", ABI_MINOR.into());
    facts.number("MICA_PLUGIN_MAGIC", MAGIC.into());
    facts.number("MICA_NOTE_TYPE", NOTE_TYPE.into());
    facts.number("MICA_MESSAGE_MAX", MESSAGE_MAX as u64);
    facts.number("MICA_OPEN_ROOTLESS", OPEN_ROOTLESS.into());
    facts.number("MICA_STAGE_LAYER", STAGE_LAYER.into());
    facts.number("MICA_STAGE_RW", STAGE_RW.into());
    facts.number("MICA_STAGE_PROMOTE", STAGE_PROMOTE.into());
    facts.number("MICA_MOUNT_READONLY", MountFlags::READONLY.bits().into());
    facts.number("MICA_MOUNT_VOLATILE", MountFlags::VOLATILE.bits().into());
    facts.number("MICA_OK", 0);
    for kind in ErrorKind::ALL {
        let refused = if kind.is_refusal() { "REFUSED_" } else { "" };
        facts.number(&format!("MICA_{refused}{}", upper(kind)), kind as u64);
    }
    for (name, bit) in Caps::all().iter_names() {
        facts.number(&format!("MICA_CAP_{name}"), bit.bits());
    }
    for style in [Whiteout::Direct, Whiteout::OverlayTrusted, Whiteout::OverlayUser, Whiteout::OciFiles] {
        facts.number(&format!("MICA_WH_{}", upper(style)), style as u64);
    }
    for kind in [ObjectKind::Layer, ObjectKind::Rw, ObjectKind::Stage] {
        facts.number(&format!("MICA_OBJECT_{}", upper(kind)), kind as u64);
    }
    for kind in [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted, ChangeKind::Opaque] {
        facts.number(&format!("MICA_CHANGE_{}", upper(kind)), kind as u64);
    }
    for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug] {
        facts.number(&format!("MICA_LOG_{}", upper(level)), level as u64);
    }
    for level in [CheckLevel::Present, CheckLevel::Deep] {
        facts.number(&format!("MICA_CHECK_{}", upper(level)), level as u64);
    }
    facts
}

/// `OverlayTrusted` as `OVERLAY_TRUSTED`.
fn upper(name: impl std::fmt::Debug) -> String {
    let mut upper = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_uppercase() && !upper.is_empty() {
            upper.push('_');
        }
        upper.push(letter.to_ascii_uppercase());
    }
    upper
}

fn compile(compiler: &str, standard: &str, source: &Path, program: &Path) {
    let output = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-pedantic", "-Werror", "-I"])
        .arg(include())
        .arg(source)
        .arg("-o")
        .arg(program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{compiler} {standard}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_header_and_the_table_agree() {
    let facts = facts();
    let dir = tempfile::tempdir().unwrap();
    let body = format!("#include <mica_storage.h>\n#include <stdio.h>\nint main(void) {{\n{}}}\n", facts.c);
    for (file, compiler, standard) in [("f.c", "cc", "-std=c99"), ("f.cc", "c++", "-std=c++11")] {
        let (source, program) = (dir.path().join(file), dir.path().join("f"));
        fs_err::write(&source, &body).unwrap();
        compile(compiler, standard, &source, &program);
        let output = Command::new(&program).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        for (c, rust) in said.lines().zip(facts.rust.lines()) {
            assert_eq!(c, rust, "{compiler}");
        }
        assert_eq!(said.lines().count(), facts.rust.lines().count());
    }
}

#[test]
fn every_name_of_the_header_is_compared() {
    let header = fs_err::read_to_string(include().join("mica_storage.h")).unwrap();
    let facts = facts().rust;
    let names = header.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| {
        word.starts_with("MICA_")
            && !matches!(
                *word,
                "MICA_STORAGE_H"
                    | "MICA_ENTRY_SYMBOL"
                    | "MICA_EXPORT"
                    | "MICA_HAS"
                    | "MICA_NOTE_OWNER"
                    | "MICA_PLUGIN_NOTE"
            )
            && word.len() > "MICA_".len()
    });
    for name in names.filter(|name| !name.ends_with('_')) {
        assert!(facts.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is not compared");
    }
    for text in [ENTRY_SYMBOL, NOTE_OWNER] {
        assert!(header.contains(&format!("\"{}\"", text.to_str().unwrap())));
    }
    let fields = header.lines().filter(|line| line.contains("(*") && !line.contains("typedef")).count();
    let functions = facts.lines().filter(|line| line.starts_with("offsetof(mica_driver_vt,")).count() - 2
        + facts.lines().filter(|line| line.starts_with("offsetof(mica_host,")).count()
        - 5;
    assert_eq!(fields, functions, "a function of the header is not compared");
}
