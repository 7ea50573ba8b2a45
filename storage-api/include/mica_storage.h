/* mica_storage.h - the storage driver interface of Mica, ABI major 1.  C99 and C++11, LP64 and ILP32.
 *
 * A driver is a shared library `libmica_storage_<name>.so` that exports one function, mica_storage_plugin_v1.
 * docs/plugin-abi.md explains the life cycle and the meaning of every verb; this file is the layout, and
 * examples/storage-c is a whole driver that was written from these two.
 *
 *  (a) Memory never changes owner: strings and lists go out by callback, errors into the caller's buffer.  Only opaque
 *      pointers and file descriptors cross.  What a pointer argument leads to is lent for the call.
 *  (b) Every struct that crosses by pointer begins with `size`, set by whoever allocated it.  Both sides touch min(size)
 *      bytes.  Fields and functions are only ever appended; zero or NULL means absent.  The sizes of this file (minor 0)
 *      are the least there is, so only fields of a later minor need MICA_HAS.
 *  (c) The major must match; the minor in force is the smaller of the two.
 *  (d) New enum values appear only behind a new capability bit or interface id.
 *  (e) Descriptors passed in are borrowed for the call.  Descriptors passed out belong to the receiver and are O_CLOEXEC;
 *      duplicate what you keep.  -1 means none, in both directions.
 *  (f) Callbacks may be called only during the call that supplied them.
 *  (g) Cancellation is a non-zero return of `progress`; poll it at least every 64 entries.
 *  (h) No pointer argument is NULL, except that a mica_str or mica_strs of length 0 may have any `ptr`.  Out parameters
 *      are read only after MICA_OK; the host has zeroed the structs among them, with -1 for descriptors.
 *  (i) A mica_drv is used by many threads at once, a mica_stage by one thread at a time.
 */
#ifndef MICA_STORAGE_H
#define MICA_STORAGE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define MICA_ABI_MAJOR 1u
#define MICA_ABI_MINOR 0u
#define MICA_PLUGIN_MAGIC 0x3141434du /* the bytes "MCA1", read as a little-endian number */
#define MICA_ENTRY_SYMBOL "mica_storage_plugin_v1"
#define MICA_MESSAGE_MAX 500u

/* Whether the other side's struct is long enough to have a field; needed for fields later than minor 0. */
#define MICA_HAS(ptr, field) ((size_t)((const char *)(&(ptr)->field + 1) - (const char *)(ptr)) <= (size_t)(ptr)->size)

/* Raw bytes, no terminating NUL, borrowed for the call. */
typedef struct mica_str {
  const char *ptr;
  size_t len;
} mica_str;
typedef struct mica_strs {
  const mica_str *ptr;
  size_t len;
} mica_strs;

/* What a fallible function returns. */
enum mica_error_kind {
  MICA_OK = 0,
  MICA_NOT_FOUND = 1,
  MICA_EXISTS = 2,
  MICA_BUSY = 3,
  MICA_IN_USE = 4,
  MICA_INVALID = 5,
  MICA_UNSUPPORTED = 6, /* this driver has no such verb or option */
  MICA_NO_SPACE = 7,    /* ENOSPC or EDQUOT: the engine reaps once and reports */
  MICA_PERMISSION = 8,
  MICA_CORRUPT = 9, /* the object is damaged: the engine rebuilds it from its blob */
  MICA_IO = 10,
  MICA_CANCELLED = 11,
  MICA_TIMEOUT = 12,
  MICA_FALLBACK = 13, /* the engine's generic path does this */
  MICA_PANIC = 14,
  MICA_OTHER = 15,
  /* Refusals: only open() returns these.  The driver is sound, this machine or this root does not suit it. */
  MICA_REFUSED_NOT_SUPPORTED = 16,  /* the kernel lacks what the driver needs */
  MICA_REFUSED_PREREQUISITE = 17,   /* something an administrator can supply is missing */
  MICA_REFUSED_INCOMPATIBLE_FS = 18 /* the file system of the root does not suit */
};

/* Allocated by the caller, who sets `size`; the callee fills it when it returns anything but MICA_OK. */
typedef struct mica_error {
  uint32_t size;
  int32_t os_errno; /* 0: none */
  uint32_t msg_len; /* at most MICA_MESSAGE_MAX */
  char msg[500];    /* UTF-8, no NUL needed */
} mica_error;

/* Bits of mica_info.caps: facts, verified by open() on the real root.  Not to claim one is always safe. */
#define MICA_CAP_INDEPENDENT_LAYERS (UINT64_C(1) << 0) /* a layer is stored without its parents: parallel apply */
#define MICA_CAP_LINEAR_SNAPSHOT (UINT64_C(1) << 1)    /* a snapshot costs O(tree): commit image tops only */
#define MICA_CAP_CHANGES (UINT64_C(1) << 2)            /* changes() is O(changes) */
#define MICA_CAP_PROMOTE (UINT64_C(1) << 3)            /* MICA_STAGE_PROMOTE works */
#define MICA_CAP_DETACHED_MOUNT (UINT64_C(1) << 4)     /* mount() returns a mount that is attached nowhere; needed */
#define MICA_CAP_IDMAP_LOWER (UINT64_C(1) << 5)        /* the parents of a mount can be id-mapped */
#define MICA_CAP_IDMAP_UPPER (UINT64_C(1) << 6)        /* the rw object of a mount can be id-mapped */
#define MICA_CAP_QUOTA_BYTES (UINT64_C(1) << 7)        /* mica_stage_args.quota_bytes is enforced */
#define MICA_CAP_QUOTA_INODES (UINT64_C(1) << 8)       /* mica_stage_args.quota_inodes is enforced */
#define MICA_CAP_USAGE_O1 (UINT64_C(1) << 9)           /* usage() is O(1) */
#define MICA_CAP_REFLINK (UINT64_C(1) << 10)           /* copies below the root share their bytes */
#define MICA_CAP_VOLATILE (UINT64_C(1) << 11)          /* MICA_MOUNT_VOLATILE saves work */
#define MICA_CAP_USERNS (UINT64_C(1) << 12)            /* works without root, inside a user namespace */
#define MICA_CAP_SELF_DURABLE (UINT64_C(1) << 13)      /* stage_commit() is durable: the engine skips its syncfs */
#define MICA_CAP_RW_DURABLE (UINT64_C(1) << 14)        /* a new rw object is on the disk when anything later there is */

/* How a deletion is written into a stage's target. */
enum mica_whiteout {
  MICA_WH_DIRECT = 0,          /* the target shows the parents: delete the file */
  MICA_WH_OVERLAY_TRUSTED = 1, /* char device 0:0; trusted.overlay.opaque */
  MICA_WH_OVERLAY_USER = 2,    /* char device 0:0; user.overlay.opaque */
  MICA_WH_OCI_FILES = 3        /* .wh.<name>; .wh..wh..opq */
};

enum mica_object_kind { MICA_OBJECT_LAYER = 1, MICA_OBJECT_RW = 2, MICA_OBJECT_STAGE = 3 };

enum mica_log_level { MICA_LOG_ERROR = 1, MICA_LOG_WARN = 2, MICA_LOG_INFO = 3, MICA_LOG_DEBUG = 4 };

/* ---- what the host offers; the table stays readable for the life of the process, and refuses after close() ---- */

typedef struct mica_host {
  uint32_t size;
  uint32_t abi_minor;
  void *ctx;
  int32_t log_level; /* the least important mica_log_level that is kept */
  uint32_t flags;    /* 0 */
  void (*log)(void *ctx, int32_t level, mica_str target, mica_str msg);
  /* `total` 0: unknown.  Non-zero: give up now and return MICA_CANCELLED. */
  int (*progress)(void *ctx, uint64_t call_id, uint64_t done, uint64_t total);
  /* An flock on <driver root>/locks/<name>; closing the descriptor unlocks.  Waits. */
  int (*lock)(void *ctx, mica_str name, int exclusive, int *out_fd, mica_error *err);
  /* Copies what is below one directory into another, empty one, and the directory's own metadata. */
  int (*copy_tree)(void *ctx, uint64_t call_id, int src_dirfd, int dst_dirfd, uint32_t flags, mica_error *err);
} mica_host;

/* ---- open ---- */

#define MICA_OPEN_ROOTLESS 1u /* the host lives in a user namespace that is not the initial one */

typedef struct mica_open_args {
  uint32_t size;
  uint32_t flags;
  uint64_t call_id;
  int root_dirfd; /* the driver's own directory, which exists */
  int userns_fd;  /* -1 */
  mica_str root_path;
  mica_strs options; /* "key=value" each; an unknown key is MICA_INVALID */
} mica_open_args;

typedef struct mica_info {
  uint32_t size;
  uint32_t max_parents; /* 0: no limit */
  uint64_t caps;
  uint32_t whiteout;
  uint32_t reserved;
  mica_str backing_fs; /* the file system of the root, as "ext4"; readable until close() */
  mica_str detail;     /* anything else worth a line, or empty; readable until close() */
} mica_info;

/* ---- stage ---- */

enum mica_stage_kind { MICA_STAGE_LAYER = 1, MICA_STAGE_RW = 2 };

#define MICA_STAGE_PROMOTE 1u /* with MICA_STAGE_LAYER: `id` is an rw object, commit turns it into the layer */

typedef struct mica_stage_args {
  uint32_t size;
  uint32_t kind;
  uint64_t call_id;
  mica_str id;       /* a fresh name; with MICA_STAGE_PROMOTE the rw object's */
  mica_strs parents; /* the FULL chain, top first; the engine holds every one in place for the call */
  uint32_t root_mode, root_uid, root_gid; /* of the root directory when there is no parent */
  uint32_t flags;
  uint64_t quota_bytes, quota_inodes; /* 0: none; what the driver cannot enforce is MICA_UNSUPPORTED */
} mica_stage_args;

typedef struct mica_stage_out {
  uint32_t size;
  uint32_t whiteout;
  int target_dirfd; /* where the engine writes: the root of the tree */
  int merged_dirfd; /* a read-only view of the parents, or -1 */
} mica_stage_out;

/* ---- mount ---- */

#define MICA_MOUNT_READONLY 1u
#define MICA_MOUNT_VOLATILE 2u /* the rw object need not survive a crash of the machine */

typedef struct mica_mount_args {
  uint32_t size;
  uint32_t flags;
  uint64_t call_id;
  mica_str rw_id; /* empty: a read-only view of the parents; of none, an empty directory */
  mica_strs parents;
  int idmap_userns_fd; /* -1: no mapping */
  uint32_t reserved;
  mica_str selinux_label; /* empty: none */
  mica_strs options;
} mica_mount_args;

/* ---- changes, list ---- */

enum mica_change_kind { MICA_CHANGE_ADDED = 1, MICA_CHANGE_MODIFIED = 2, MICA_CHANGE_DELETED = 3, MICA_CHANGE_OPAQUE = 4 };

typedef struct mica_change {
  uint32_t size;
  uint32_t kind;
  mica_str path; /* relative to the root of the tree */
  mica_str name; /* its last component, to be read below dirfd; empty for the root itself */
  int dirfd;     /* -1 for MICA_CHANGE_DELETED */
  uint32_t reserved;
} mica_change;

/* Non-zero: stop, and return MICA_OK. */
typedef int (*mica_change_fn)(void *ctx, const mica_change *change);
typedef int (*mica_name_fn)(void *ctx, uint32_t object_kind, mica_str id);

enum mica_check_level { MICA_CHECK_PRESENT = 0, MICA_CHECK_DEEP = 1 };

/* ---- the table ---- */

typedef struct mica_drv mica_drv;     /* opaque, the plugin's */
typedef struct mica_stage mica_stage; /* opaque, the plugin's */

/* NULL is allowed only where a comment says so.  Functions that return int return enum mica_error_kind. */
typedef struct mica_driver_vt {
  uint32_t size;
  uint32_t reserved;
  int (*open)(const mica_host *host, const mica_open_args *args, mica_drv **out, mica_info *info, mica_error *err);
  void (*close)(mica_drv *drv); /* after the last stage has ended */
  int (*stage_begin)(mica_drv *drv, const mica_stage_args *args, mica_stage **out, mica_stage_out *where, mica_error *err);
  int (*stage_sync)(mica_stage *stage, mica_error *err);                                   /* NULL: MICA_FALLBACK */
  int (*stage_commit)(mica_stage *stage, mica_str key, uint64_t *bytes, mica_error *err);  /* ends the stage, whatever it returns */
  void (*stage_abort)(mica_stage *stage);                                                  /* ends the stage */
  int (*mount)(mica_drv *drv, const mica_mount_args *args, int *out_mnt_fd, mica_error *err);
  int (*changes)(mica_drv *drv, mica_str rw_id, mica_strs parents, mica_change_fn fn, void *ctx, mica_error *err); /* NULL: MICA_FALLBACK */
  int (*usage)(mica_drv *drv, uint32_t kind, mica_str id, uint64_t *bytes, uint64_t *inodes, mica_error *err);     /* NULL: MICA_FALLBACK */
  int (*remove)(mica_drv *drv, uint32_t kind, mica_str id, mica_error *err); /* O(1); a missing object is MICA_OK */
  int (*reap)(mica_drv *drv, uint64_t budget_ms, uint64_t *left, mica_error *err); /* left != 0: call again */
  int (*list)(mica_drv *drv, mica_name_fn fn, void *ctx, mica_error *err);
  int (*check)(mica_drv *drv, uint32_t kind, mica_str id, uint32_t level, mica_error *err); /* NULL: MICA_OK */
  const void *(*interface)(mica_drv *drv, mica_str iid);                                    /* NULL: no extensions */
} mica_driver_vt;

typedef struct mica_plugin {
  uint32_t magic; /* MICA_PLUGIN_MAGIC */
  uint32_t size;
  uint16_t abi_major, abi_minor;
  uint32_t flags;                                         /* 0 */
  const char *driver_name, *version, *license, *build_id; /* NUL-terminated; the name is [a-z0-9_-]{1,32} */
  const mica_driver_vt *vt;
  const char *options; /* NUL-terminated: the options of open(), one "key=values  what it does" a line; or NULL */
} mica_plugin;

#if defined(__GNUC__)
#define MICA_EXPORT __attribute__((visibility("default")))
#else
#define MICA_EXPORT
#endif

/* The one symbol of a driver.  NULL when it does not speak `host_major`. */
MICA_EXPORT const mica_plugin *mica_storage_plugin_v1(uint32_t host_major, uint32_t host_minor);
typedef const mica_plugin *(*mica_entry_fn)(uint32_t host_major, uint32_t host_minor);

/* What a file says about itself without being run: an ELF note in a section that begins with ".note".  A driver has
 * `MICA_PLUGIN_NOTE("name", "version");` once, at file scope; a file without one works too, and lists without its version. */
#define MICA_NOTE_OWNER "Mica"
#define MICA_NOTE_TYPE 1u
typedef struct mica_note {
  uint32_t owner_size, content_size, type; /* 5, 88, MICA_NOTE_TYPE */
  char owner[8];                           /* MICA_NOTE_OWNER */
  uint32_t abi_major, abi_minor;
  char driver_name[40], version[40];
} mica_note;
#define MICA_PLUGIN_NOTE(name, version)                                                                          \
  static const mica_note mica_plugin_note                                                                        \
      __attribute__((section(".note.mica.storage"), used, aligned(4))) = {                                       \
          5u, 88u, MICA_NOTE_TYPE, MICA_NOTE_OWNER, MICA_ABI_MAJOR, MICA_ABI_MINOR, name, version}

#ifdef __cplusplus
}
#endif
#endif
