/* plain.c - a storage driver for Mica that keeps every layer and every writable tree as a plain directory.
 *
 *   <root>/layers/<key>   committed, never changed again        <root>/trash/<any>  out of sight, waiting for reap()
 *          rw/<id>        the tree of a container               <root>/empty        what a view of no layers shows
 *          stage/<id>     being written
 *
 * A tree holds everything that is visible in it, so a stage on parents begins as a copy of the topmost one, a deletion is
 * a deletion, and the chain of parents below the top is never looked at.  Every change of state is one rename, so whoever
 * dies when, an object is there whole or not at all.  Nothing is kept in memory but open directories. */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { KEY_MAX = 128 };

/* A key as a C string.  The host has checked it: [A-Za-z0-9_.-]{1,128} without a leading dot, so it is a file name. */
typedef struct name {
  char text[KEY_MAX + 1];
} name;

static name name_of(mica_str key) {
  name copy;
  snprintf(copy.text, sizeof copy.text, "%.*s", (int)key.len, key.ptr);
  return copy;
}

struct mica_drv {
  const mica_host *host;
  int dirs[4]; /* by enum mica_object_kind; [0] is the trash */
  int empty;
  char backing_fs[24];
};

enum { TRASH = 0 };
static const char *const dir_names[] = {"trash", "layers", "rw", "stage"};

/* The object that a stage works on, and what it becomes. */
struct mica_stage {
  mica_drv *drv;
  enum mica_object_kind now, then;
  name id;
};

/* ---- open, close ---- */

static void drv_close(mica_drv *drv) {
  size_t i;
  for (i = 0; i < 4; i++)
    if (drv->dirs[i] >= 0) close(drv->dirs[i]);
  if (drv->empty >= 0) close(drv->empty);
  free(drv);
}

static int make_dir(int root, const char *name, mode_t mode) {
  return mkdirat(root, name, mode) != 0 && errno != EEXIST ? -1 : open_dir(root, name);
}

static void name_file_system(int dir, char *text, size_t room) {
  struct statfs fs;
  if (fstatfs(dir, &fs) != 0) fs.f_type = 0;
  switch ((unsigned long)fs.f_type) {
  case EXT4_SUPER_MAGIC: snprintf(text, room, "ext4"); break;
  case XFS_SUPER_MAGIC: snprintf(text, room, "xfs"); break;
  case BTRFS_SUPER_MAGIC: snprintf(text, room, "btrfs"); break;
  case TMPFS_MAGIC: snprintf(text, room, "tmpfs"); break;
  case OVERLAYFS_SUPER_MAGIC: snprintf(text, room, "overlay"); break;
  default: snprintf(text, room, "%#lx", (unsigned long)fs.f_type);
  }
}

/* A mount of the directory `dir` that is attached nowhere, with `attributes`.  Private, because the clone of a shared mount
 * is its peer, and what a container mounts later would appear on the host.  -1 and errno. */
static int clone_mount(int dir, uint64_t attributes) {
  struct mount_attr attr = {0};
  int mount = (int)syscall(SYS_open_tree, dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (mount < 0) return -1;
  attr.attr_set = attributes;
  attr.propagation = 1u << 18; /* MS_PRIVATE; <sys/mount.h> and <linux/mount.h> do not go together everywhere */
  if (syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
    int saved = errno;
    close(mount);
    errno = saved;
    return -1;
  }
  return mount;
}

static int drv_open(const mica_host *host, const mica_open_args *args, mica_drv **out, mica_info *info, mica_error *err) {
  static const char detail[] = "every snapshot is a full copy";
  mica_drv *drv;
  size_t i;
  int mount;
  if (args->options.len > 0)
    return failed(err, MICA_INVALID, 0, "plain has no option `%.*s`; it has none at all",
                  (int)args->options.ptr[0].len, args->options.ptr[0].ptr);
  if (args->flags & MICA_OPEN_ROOTLESS)
    return failed(err, MICA_REFUSED_NOT_SUPPORTED, 0, "plain needs root: it does not work in a user namespace");
  mount = clone_mount(args->root_dirfd, MOUNT_ATTR_RDONLY);
  if (mount < 0 && errno == EPERM)
    return failed(err, MICA_REFUSED_PREREQUISITE, errno, "plain needs CAP_SYS_ADMIN to make mounts");
  if (mount < 0)
    return failed(err, MICA_REFUSED_NOT_SUPPORTED, errno, "plain needs detached mounts, as Linux 5.12 and later have them");
  close(mount);

  drv = malloc(sizeof *drv);
  if (drv == NULL) return failed_call(err, ENOMEM, "open the driver");
  drv->host = host;
  drv->empty = -1;
  for (i = 0; i < 4; i++) drv->dirs[i] = -1;
  for (i = 0; i < 4; i++) {
    /* 0700: layers hold set-user-ID files, which no other user of the machine may reach. */
    drv->dirs[i] = make_dir(args->root_dirfd, dir_names[i], 0700);
    if (drv->dirs[i] < 0) goto no_directory;
  }
  drv->empty = make_dir(args->root_dirfd, "empty", 0755);
  if (drv->empty < 0) goto no_directory;

  name_file_system(args->root_dirfd, drv->backing_fs, sizeof drv->backing_fs);
  info->caps = MICA_CAP_DETACHED_MOUNT | MICA_CAP_PROMOTE | MICA_CAP_LINEAR_SNAPSHOT;
  info->max_parents = 0;
  info->whiteout = MICA_WH_DIRECT;
  info->backing_fs.ptr = drv->backing_fs;
  info->backing_fs.len = strlen(drv->backing_fs);
  info->detail.ptr = detail;
  info->detail.len = sizeof detail - 1;
  *out = drv;
  return MICA_OK;

no_directory: {
  int kind = failed_call(err, errno, "make `%s` in the driver root", i < 4 ? dir_names[i] : "empty");
  drv_close(drv);
  return kind;
}
}

/* ---- stages ---- */

/* Fills a new directory with what the stage begins with: the top parent's tree, or a root directory with nothing in it. */
static int fill(mica_drv *drv, const mica_stage_args *args, int dir, mica_error *err) {
  if (args->parents.len > 0) {
    name top = name_of(args->parents.ptr[0]);
    int from = open_dir(drv->dirs[MICA_OBJECT_LAYER], top.text), kind;
    if (from < 0) return failed_call(err, errno, "open the parent `layers/%s`", top.text);
    kind = drv->host->copy_tree(drv->host->ctx, args->call_id, from, dir, 0, err);
    close(from);
    return kind;
  }
  if (fchown(dir, args->root_uid, args->root_gid) != 0 || fchmod(dir, args->root_mode & 07777) != 0)
    return failed_call(err, errno, "set owner and mode of a root directory");
  return MICA_OK;
}

static int stage_begin(mica_drv *drv, const mica_stage_args *args, mica_stage **out, mica_stage_out *where, mica_error *err) {
  int promote = args->kind == MICA_STAGE_LAYER && args->flags == MICA_STAGE_PROMOTE;
  mica_stage *stage;
  int dir, kind = MICA_OK;
  if (!promote && (args->flags != 0 || (args->kind != MICA_STAGE_LAYER && args->kind != MICA_STAGE_RW)))
    return failed(err, MICA_UNSUPPORTED, 0, "plain has no stage of kind %u with flags %#x", args->kind, args->flags);
  if (args->quota_bytes != 0 || args->quota_inodes != 0)
    return failed(err, MICA_UNSUPPORTED, 0, "plain cannot limit what an object takes");
  stage = malloc(sizeof *stage);
  if (stage == NULL) return failed_call(err, ENOMEM, "begin a stage");
  stage->drv = drv;
  stage->id = name_of(args->id);
  stage->now = promote ? MICA_OBJECT_RW : MICA_OBJECT_STAGE;
  stage->then = args->kind == MICA_STAGE_RW ? MICA_OBJECT_RW : MICA_OBJECT_LAYER;

  /* mkdir decides who has the name: a stage that exists is somebody else's, and EEXIST leaves it unharmed. */
  if (!promote && mkdirat(drv->dirs[MICA_OBJECT_STAGE], stage->id.text, 0700) != 0) {
    kind = failed_call(err, errno, "make `stage/%s`", stage->id.text);
    free(stage);
    return kind;
  }
  dir = open_dir(drv->dirs[stage->now], stage->id.text);
  if (dir < 0) kind = failed_call(err, errno, "open `%s/%s`", dir_names[stage->now], stage->id.text);
  else if (!promote) kind = fill(drv, args, dir, err);
  if (kind != MICA_OK) {
    if (dir >= 0) close(dir);
    if (!promote) into_trash(drv->dirs[MICA_OBJECT_STAGE], stage->id.text, drv->dirs[TRASH]);
    free(stage);
    return kind;
  }
  where->whiteout = MICA_WH_DIRECT;
  where->target_dirfd = dir; /* the host's now */
  where->merged_dirfd = -1;  /* the target shows the parents */
  *out = stage;
  return MICA_OK;
}

/* An rw object that was to be promoted stays what it was. */
static void stage_abort(mica_stage *stage) {
  mica_drv *drv = stage->drv;
  if (stage->now == MICA_OBJECT_STAGE) into_trash(drv->dirs[MICA_OBJECT_STAGE], stage->id.text, drv->dirs[TRASH]);
  free(stage);
}

static int stage_commit(mica_stage *stage, mica_str key, uint64_t *bytes, mica_error *err) {
  const int *dirs = stage->drv->dirs;
  name to = name_of(key);
  int kind;
  if (renameat2(dirs[stage->now], stage->id.text, dirs[stage->then], to.text, RENAME_NOREPLACE) != 0) {
    kind = failed_call(err, errno, "publish `%s/%s` as `%s/%s`", dir_names[stage->now], stage->id.text,
                       dir_names[stage->then], to.text);
    stage_abort(stage);
    return kind;
  }
  free(stage);
  *bytes = 0; /* would take a walk */
  return MICA_OK;
}

/* ---- mount ---- */

static int drv_mount(mica_drv *drv, const mica_mount_args *args, int *out_mnt_fd, mica_error *err) {
  int view = args->rw_id.len == 0, dir, mount;
  enum mica_object_kind kind = view ? MICA_OBJECT_LAYER : MICA_OBJECT_RW;
  uint64_t attributes = view || (args->flags & MICA_MOUNT_READONLY) ? MOUNT_ATTR_RDONLY : 0;
  if (args->flags & ~(MICA_MOUNT_READONLY | MICA_MOUNT_VOLATILE)) /* volatile changes nothing here, which is allowed */
    return failed(err, MICA_UNSUPPORTED, 0, "plain does not know a mount flag among %#x", args->flags);
  if (args->options.len > 0)
    return failed(err, MICA_INVALID, 0, "plain has no mount option `%.*s`", (int)args->options.ptr[0].len,
                  args->options.ptr[0].ptr);
  if (args->selinux_label.len > 0) return failed(err, MICA_UNSUPPORTED, 0, "plain cannot label a whole mount");
  if (args->idmap_userns_fd >= 0) return failed(err, MICA_UNSUPPORTED, 0, "plain has no id-mapped mounts");

  if (view && args->parents.len == 0) {
    mount = clone_mount(drv->empty, attributes);
  } else {
    name id = name_of(view ? args->parents.ptr[0] : args->rw_id);
    dir = open_dir(drv->dirs[kind], id.text);
    if (dir < 0) return failed_call(err, errno, "open `%s/%s`", dir_names[kind], id.text);
    mount = clone_mount(dir, attributes);
    close(dir);
  }
  if (mount < 0) return failed_call(err, errno, "make a detached mount");
  *out_mnt_fd = mount;
  return MICA_OK;
}

/* ---- objects ---- */

static int known(uint32_t kind) { return kind >= MICA_OBJECT_LAYER && kind <= MICA_OBJECT_STAGE; }

static int unknown(mica_error *err, uint32_t kind) {
  return failed(err, MICA_INVALID, 0, "plain does not know the object kind %u", kind);
}

static int drv_usage(mica_drv *drv, uint32_t kind, mica_str id, uint64_t *bytes, uint64_t *inodes, mica_error *err) {
  if (!known(kind)) return unknown(err, kind);
  return measure(drv->dirs[kind], name_of(id).text, bytes, inodes, err);
}

static int drv_remove(mica_drv *drv, uint32_t kind, mica_str id, mica_error *err) {
  name gone = name_of(id);
  if (!known(kind)) return unknown(err, kind);
  if (into_trash(drv->dirs[kind], gone.text, drv->dirs[TRASH]) != 0 && errno != ENOENT)
    return failed_call(err, errno, "remove `%s/%s`", dir_names[kind], gone.text);
  return MICA_OK;
}

static int drv_reap(mica_drv *drv, uint64_t budget_ms, uint64_t *left, mica_error *err) {
  return empty_trash(drv->dirs[TRASH], budget_ms, left, err);
}

/* Stages first: what is committed meanwhile then shows twice, and not never. */
static int drv_list(mica_drv *drv, mica_name_fn fn, void *ctx, mica_error *err) {
  static const enum mica_object_kind order[] = {MICA_OBJECT_STAGE, MICA_OBJECT_RW, MICA_OBJECT_LAYER};
  int i, stop = 0;
  for (i = 0; i < 3 && !stop; i++) {
    struct dirent *entry;
    int fd = open_dir(drv->dirs[order[i]], "."); /* not dup(): threads would share the position */
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
      if (fd >= 0) close(fd);
      return failed_call(err, errno, "list `%s`", dir_names[order[i]]);
    }
    while (!stop && (entry = readdir(stream)) != NULL) {
      mica_str id;
      id.ptr = entry->d_name;
      id.len = strlen(entry->d_name);
      if (entry->d_name[0] != '.' && id.len <= KEY_MAX) stop = fn(ctx, order[i], id);
    }
    closedir(stream);
  }
  return MICA_OK;
}

/* There is nothing to verify beyond presence: damage inside a tree is found by the host, which knows the digests. */
static int drv_check(mica_drv *drv, uint32_t kind, mica_str id, uint32_t level, mica_error *err) {
  name object = name_of(id);
  int dir;
  (void)level;
  if (!known(kind)) return unknown(err, kind);
  dir = open_dir(drv->dirs[kind], object.text);
  if (dir < 0) return failed_call(err, errno, "open `%s/%s`", dir_names[kind], object.text);
  close(dir);
  return MICA_OK;
}

/* ---- the table ---- */

/* Absent verbs: stage_sync and changes are left to the host, and there are no extensions. */
static const mica_driver_vt table = {
    .size = sizeof table,
    .open = drv_open,
    .close = drv_close,
    .stage_begin = stage_begin,
    .stage_commit = stage_commit,
    .stage_abort = stage_abort,
    .mount = drv_mount,
    .usage = drv_usage,
    .remove = drv_remove,
    .reap = drv_reap,
    .list = drv_list,
    .check = drv_check,
};

MICA_PLUGIN_NOTE("plain", "1.0.0");

const mica_plugin *mica_storage_plugin_v1(uint32_t host_major, uint32_t host_minor) {
  static const mica_plugin plugin = {
      .magic = MICA_PLUGIN_MAGIC,
      .size = sizeof plugin,
      .abi_major = MICA_ABI_MAJOR,
      .abi_minor = MICA_ABI_MINOR,
      .driver_name = "plain",
      .version = "1.0.0",
      .license = "Apache-2.0",
      .build_id = "plain-1.0.0",
      .vt = &table,
  };
  (void)host_minor; /* this driver needs nothing that a host of minor 0 lacks */
  return host_major == MICA_ABI_MAJOR ? &plugin : NULL;
}
