//! Every behaviour of overlayfs that can be chosen, what Mica chooses, and why. The one place that says so.
//!
//! Each option is stated in every mount, because distributions and module parameters change the defaults. The measure is
//! always the same: **an upper directory must mean the same when it is a layer of its own**, since that is what a promotion
//! makes of it, and a layer must mean the same on every chain, since chains share it.
//!
//! | option | choice | why |
//! |---|---|---|
//! | `redirect_dir` | `nofollow` | A redirect is a path into *these* lower layers. In a promoted layer it would lead into others, and in a layer that somebody else wrote it would be obeyed (CVE-2023-2640's kind). A rename of a lower directory fails with EXDEV, for which `mv` and every package tool has a copy. |
//! | `metacopy` | `off` | A copy of the attributes alone is no layer: its data are in the layer below, found through a redirect. Costs a data copy on `chown` of a large file; `chown -R` of an image's tree belongs into its build. |
//! | `index` | `off` | Keeps the names of a lower hard-linked file together over a copy-up, by a file handle of the lower file in `work/index`. That ties the upper directory to the inodes of these lower directories: mounting it after a layer was unpacked again is ESTALE. Docker and containerd do the same. |
//! | `nfs_export` | `off` | Needs `index`, and nobody exports a container's root. |
//! | `xino` | `off` | Makes inode numbers constant over a copy-up on file systems of 32-bit numbers. All layers lie on one file system, where they are constant anyway. |
//! | `uuid` | not stated | Only tells `index` and `nfs_export` apart from copies of the same file system. Kernels before 5.9 refuse the name. |
//! | `verity` | not stated | Needs `metacopy`. |
//! | `userxattr` | without root | A user namespace may not write `trusted.`, so the marks are `user.overlay.`. The kernel takes it as "no redirects, no metacopy" and refuses both options beside it. |
//! | `volatile` | when asked for | See [`crate::volatile`]. |
//! | `xwhiteouts` | never written | Whiteouts as attributes exist for nesting an overlay's layers in an overlay. Ours are 0:0 devices, which a user namespace may make too. |
//!
//! The whole comparison of an upper directory with its parents ([`crate::changes`]) rests on these: an entry of the upper
//! directory is a whole entry, found under its own name, and hides what is below it unless both are directories and the
//! upper one is not marked opaque.

/// The options of a mount, as `key=value` or as a flag.
pub(crate) fn options(userxattr: bool, volatile: bool) -> Vec<&'static str> {
    let mut options = vec!["index=off", "nfs_export=off", "xino=off"];
    if userxattr {
        options.push("userxattr");
    } else {
        options.extend(["redirect_dir=nofollow", "metacopy=off"]);
    }
    if volatile {
        options.push("volatile");
    }
    options
}
