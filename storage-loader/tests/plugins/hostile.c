/* A storage driver that breaks the contract in the one way its FAULT says; without a fault it is a correct, empty driver. */
#define _GNU_SOURCE
#include <mica_storage.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum fault {
  NONE, MAGIC, MAJOR, DECLINES, SHORT_RECORD, SHORT_TABLE, NO_TABLE, NO_OPEN, NO_COMMIT, BAD_NAME, OTHER_NAME,
  UNKNOWN_KIND, NEGATIVE_KIND, LONG_MESSAGE, NULL_DRIVER, BAD_WHITEOUT, LONG_INFO, NULL_STAGE, NO_TARGET, CLOSED_TARGET,
  FILE_TARGET, SAME_FD_TWICE, NO_FD, STDIN_FD, NO_MOUNT, BAD_NAMES, ENDLESS_NAMES, BAD_OBJECT, CHANGE_ABSOLUTE, CHANGE_DOTDOT,
  CHANGE_NO_DIR, CHANGE_SHORT, LATE_HOST
};
#ifndef FAULT
#define FAULT NONE
#endif

struct mica_drv { const mica_host *host; int root; };
struct mica_stage { int fd; };

static const mica_host *kept_host;

static int fail(mica_error *err, int kind, const char *words) {
  err->os_errno = 0;
  err->msg_len = (uint32_t)strlen(words);
  memcpy(err->msg, words, strlen(words));
  return kind;
}

static int drv_open(const mica_host *host, const mica_open_args *args, mica_drv **out, mica_info *info, mica_error *err) {
  static char text[] = "nothing";
  if (FAULT == LATE_HOST && kept_host) { /* the host of a driver that was closed */
    int fd = -1;
    mica_str name = {"late", 4};
    mica_error said = {.size = sizeof said};
    int kind = kept_host->lock(kept_host->ctx, name, 1, &fd, &said);
    if (kind != MICA_INVALID || fd != -1) return fail(err, MICA_OTHER, "a closed driver still has its host");
    return fail(err, MICA_REFUSED_PREREQUISITE, "the host withdrew its services");
  }
  kept_host = host;
  if (FAULT == UNKNOWN_KIND) return fail(err, 999, "what \x1b[31mis this");
  if (FAULT == NEGATIVE_KIND) return fail(err, -5, "negative");
  if (FAULT == LONG_MESSAGE) {
    err->msg_len = 0xffffffff;
    memset(err->msg, 'x', sizeof err->msg);
    return MICA_IO;
  }
  if (FAULT == NONE) {
    mica_str target = {"hostile", 7}, words = {"opened", 6}, debug = {"ignored", 7}, name = {"once", 4};
    int fd = -1, kind;
    host->log(host->ctx, MICA_LOG_WARN, target, words);
    if (host->log_level >= MICA_LOG_DEBUG) host->log(host->ctx, MICA_LOG_DEBUG, target, debug);
    kind = host->lock(host->ctx, name, 1, &fd, err);
    if (kind != MICA_OK) return kind;
    close(fd);
  }
  info->caps = MICA_CAP_PROMOTE | UINT64_C(1) << 63;
  info->whiteout = FAULT == BAD_WHITEOUT ? 77 : MICA_WH_DIRECT;
  info->backing_fs.ptr = info->detail.ptr = text;
  info->backing_fs.len = info->detail.len = FAULT == LONG_INFO ? SIZE_MAX / 2 : strlen(text);
  if (FAULT == NULL_DRIVER) return MICA_OK;
  *out = malloc(sizeof **out);
  (*out)->host = host;
  (*out)->root = dup(args->root_dirfd);
  return MICA_OK;
}

static void drv_close(mica_drv *drv) {
  close(drv->root);
  free(drv);
}

static int stage_begin(mica_drv *drv, const mica_stage_args *args, mica_stage **out, mica_stage_out *where, mica_error *err) {
  (void)args, (void)err;
  where->whiteout = MICA_WH_DIRECT;
  where->target_dirfd = fcntl(drv->root, F_DUPFD_CLOEXEC, 0);
  if (FAULT == NULL_STAGE) return MICA_OK;
  if (FAULT == NO_TARGET) where->target_dirfd = -1;
  if (FAULT == CLOSED_TARGET) { /* a high number, which no other thread is given in the meantime */
    close(where->target_dirfd);
    close(where->target_dirfd = fcntl(drv->root, F_DUPFD_CLOEXEC, 900));
  }
  if (FAULT == FILE_TARGET) where->target_dirfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (FAULT == SAME_FD_TWICE) where->merged_dirfd = where->target_dirfd;
  *out = malloc(sizeof **out);
  (*out)->fd = fcntl(drv->root, F_DUPFD_CLOEXEC, 0);
  return MICA_OK;
}

static void stage_abort(mica_stage *stage) {
  int root = stage->fd;
  close(openat(root, "aborted", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  close(root);
  free(stage);
}

static int stage_commit(mica_stage *stage, mica_str key, uint64_t *bytes, mica_error *err) {
  (void)key, (void)err;
  close(stage->fd);
  free(stage);
  *bytes = 42;
  return MICA_OK;
}

static int drv_mount(mica_drv *drv, const mica_mount_args *args, int *out_mnt_fd, mica_error *err) {
  (void)args, (void)err;
  if (FAULT == STDIN_FD) *out_mnt_fd = 0;
  if (FAULT == NO_MOUNT) *out_mnt_fd = openat(drv->root, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return MICA_OK; /* FAULT == NO_FD leaves -1 */
}

static int drv_changes(mica_drv *drv, mica_str id, mica_strs parents, mica_change_fn fn, void *ctx, mica_error *err) {
  (void)id, (void)parents, (void)err;
  const char *path = FAULT == CHANGE_ABSOLUTE ? "/etc/passwd" : FAULT == CHANGE_DOTDOT ? "../x" : "a/x";
  mica_change change = {.size = FAULT == CHANGE_SHORT ? 8 : sizeof change, .kind = MICA_CHANGE_ADDED};
  change.path.ptr = path;
  change.path.len = strlen(path);
  change.name.ptr = strrchr(path, '/') + 1;
  change.name.len = strlen(change.name.ptr);
  change.dirfd = FAULT == CHANGE_NO_DIR ? -1 : drv->root;
  fn(ctx, &change);
  return MICA_OK;
}

static int drv_remove(mica_drv *drv, uint32_t kind, mica_str id, mica_error *err) {
  (void)drv, (void)kind, (void)id, (void)err;
  return MICA_OK;
}

static int drv_reap(mica_drv *drv, uint64_t budget_ms, uint64_t *left, mica_error *err) {
  (void)drv, (void)budget_ms, (void)left, (void)err;
  return MICA_OK;
}

static int drv_list(mica_drv *drv, mica_name_fn fn, void *ctx, mica_error *err) {
  (void)drv, (void)err;
  mica_str good = {"good", 4}, bad = {"../../etc", 9};
  fn(ctx, FAULT == BAD_OBJECT ? 9 : MICA_OBJECT_LAYER, good);
  if (FAULT == BAD_NAMES) fn(ctx, MICA_OBJECT_LAYER, bad);
  if (FAULT == ENDLESS_NAMES) for (int i = 0; i < 1000; i++) fn(ctx, MICA_OBJECT_RW, good);
  return MICA_OK;
}

static mica_driver_vt table = {
  .size = FAULT == SHORT_TABLE ? sizeof table - 8 : sizeof table,
  .open = FAULT == NO_OPEN ? NULL : drv_open,
  .close = drv_close,
  .stage_begin = stage_begin,
  .stage_commit = FAULT == NO_COMMIT ? NULL : stage_commit,
  .stage_abort = stage_abort,
  .mount = drv_mount,
  .changes = drv_changes,
  .remove = drv_remove,
  .reap = drv_reap,
  .list = drv_list,
};

static mica_plugin plugin = {
  .magic = FAULT == MAGIC ? 0x464c457f : MICA_PLUGIN_MAGIC,
  .size = FAULT == SHORT_RECORD ? 16 : sizeof plugin,
  .abi_major = FAULT == MAJOR ? 2 : MICA_ABI_MAJOR,
  .abi_minor = 7,
  .driver_name = FAULT == BAD_NAME ? "Ho/st\nile" : FAULT == OTHER_NAME ? "other" : "hostile",
  .version = "1.2.3",
  .license = "Apache-2.0",
  .build_id = "b",
  .vt = FAULT == NO_TABLE ? NULL : &table,
};

const mica_plugin *mica_storage_plugin_v1(uint32_t host_major, uint32_t host_minor);
const mica_plugin *mica_storage_plugin_v1(uint32_t host_major, uint32_t host_minor) {
  (void)host_minor;
  return host_major == 1 && FAULT != DECLINES ? &plugin : NULL;
}
