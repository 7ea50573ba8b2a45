/* tree.c - errors, and the two things to do with a whole tree: measure it, and delete it a little at a time. */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- errors ---- */

static int vfailed(mica_error *err, enum mica_error_kind kind, int os_errno, const char *format, va_list words) {
  size_t room = sizeof err->msg, used;
  int wanted = vsnprintf(err->msg, room, format, words);
  used = wanted < 0 ? 0 : (size_t)wanted < room ? (size_t)wanted : room - 1;
  if (os_errno != 0) {
    char text[128]; /* the GNU strerror_r, since strerror shares one buffer between threads */
    wanted = snprintf(err->msg + used, room - used, ": %s", strerror_r(os_errno, text, sizeof text));
    if (wanted > 0) used += (size_t)wanted < room - used ? (size_t)wanted : room - used - 1;
  }
  err->msg_len = (uint32_t)used;
  err->os_errno = os_errno;
  return (int)kind;
}

int failed(mica_error *err, enum mica_error_kind kind, int os_errno, const char *format, ...) {
  va_list words;
  va_start(words, format);
  kind = (enum mica_error_kind)vfailed(err, kind, os_errno, format, words);
  va_end(words);
  return (int)kind;
}

static enum mica_error_kind meaning(int os_errno) {
  switch (os_errno) {
  case ENOENT: return MICA_NOT_FOUND;
  case EEXIST: return MICA_EXISTS;
  case EBUSY: return MICA_BUSY;
  case ENOSPC: case EDQUOT: return MICA_NO_SPACE;
  case EACCES: case EPERM: case EROFS: return MICA_PERMISSION;
  case ENOTDIR: case ELOOP:      /* an object of ours is a directory, or somebody has tampered with it */
  case EBADMSG: case EUCLEAN:    /* a file system found damage */
    return MICA_CORRUPT;
  case EIO: case ESTALE: return MICA_IO;
  case ENOSYS: case EOPNOTSUPP: return MICA_UNSUPPORTED;
  default: return MICA_OTHER;
  }
}

int failed_call(mica_error *err, int os_errno, const char *format, ...) {
  va_list words;
  int kind;
  va_start(words, format);
  kind = vfailed(err, meaning(os_errno), os_errno, format, words);
  va_end(words);
  return kind;
}

/* ---- directories ---- */

int open_dir(int parent, const char *name) {
  return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A stream of its own: dup() would share the position with every other thread that reads the same directory. */
static DIR *read_dir(int parent, const char *name) {
  int fd = open_dir(parent, name);
  DIR *stream = fd < 0 ? NULL : fdopendir(fd);
  if (stream == NULL && fd >= 0) close(fd);
  return stream;
}

static struct dirent *next_entry(DIR *stream) {
  struct dirent *entry;
  do {
    errno = 0;
    entry = readdir(stream);
  } while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
  return entry;
}

/* ---- deleting ---- */

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int into_trash(int from, const char *name, int trash) {
  char unused[64];
  unsigned attempt = 0;
  /* The name is a guess and the kernel is the judge, so no counter has to be shared by threads or processes. */
  for (;;) {
    snprintf(unused, sizeof unused, "%lx-%llx-%x", (long)getpid(), (unsigned long long)now_ns(), attempt++);
    if (renameat2(from, name, trash, unused, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EEXIST) return -1;
  }
}

/* Deletes one thing in the trash.  The directories in it become things in the trash themselves, so nothing recurses,
 * however deep an image nests, and two processes that reap at once help each other.  Always removes or moves something
 * before it looks at the clock.  0, or -1 and errno. */
static int delete_one(int trash, const char *name, uint64_t deadline, int *late) {
  struct dirent *entry;
  DIR *stream;
  int saved = 0;
  if (unlinkat(trash, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR) return -1;
  stream = read_dir(trash, name);
  if (stream == NULL) return errno == ENOENT ? 0 : -1;
  while (saved == 0 && !*late && (entry = next_entry(stream)) != NULL) {
    int gone = unlinkat(dirfd(stream), entry->d_name, 0) == 0;
    if (!gone && errno == EISDIR) gone = into_trash(dirfd(stream), entry->d_name, trash) == 0;
    if (!gone && errno != ENOENT) saved = errno;
    *late = now_ns() >= deadline;
  }
  closedir(stream);
  if (saved == 0 && !*late && unlinkat(trash, name, AT_REMOVEDIR) != 0 && errno != ENOENT && errno != ENOTEMPTY)
    saved = errno;
  errno = saved;
  return saved == 0 ? 0 : -1;
}

int empty_trash(int trash, uint64_t budget_ms, uint64_t *left, mica_error *err) {
  uint64_t start = now_ns();
  uint64_t deadline = budget_ms < (UINT64_MAX - start) / 1000000u ? start + budget_ms * 1000000u : UINT64_MAX;
  int found, late = 0;
  do {
    struct dirent *entry;
    DIR *stream = read_dir(trash, ".");
    if (stream == NULL) return failed_call(err, errno, "read the trash");
    found = 0;
    while (!late && (entry = next_entry(stream)) != NULL) {
      found = 1;
      if (delete_one(trash, entry->d_name, deadline, &late) != 0) {
        int kind = failed_call(err, errno, "delete `trash/%s`", entry->d_name);
        closedir(stream);
        return kind;
      }
      late = late || now_ns() >= deadline;
    }
    closedir(stream);
  } while (found && !late);
  *left = (uint64_t)late;
  return MICA_OK;
}

/* ---- measuring ---- */

/* A descriptor is open for each level of a walk, so a tree that nests deeper is left to the host. */
enum { DEEPEST = 200 };

struct sum {
  uint64_t bytes, inodes;
  void *seen; /* tsearch()'s tree of inodes with several names */
};

static int compare_inodes(const void *left, const void *right) {
  ino_t a = *(const ino_t *)left, b = *(const ino_t *)right;
  return a < b ? -1 : a > b;
}

/* 0, or an errno. */
static int add(struct sum *sum, const struct stat *stat) {
  if (!S_ISDIR(stat->st_mode) && stat->st_nlink > 1) {
    ino_t *inode = malloc(sizeof *inode), **kept;
    if (inode == NULL) return ENOMEM;
    *inode = stat->st_ino;
    kept = tsearch(inode, &sum->seen, compare_inodes);
    if (kept == NULL || *kept != inode) {
      free(inode);
      return kept == NULL ? ENOMEM : 0;
    }
  }
  sum->bytes += (uint64_t)stat->st_blocks * 512u;
  sum->inodes += 1;
  return 0;
}

/* 0, or an errno; E2BIG when the tree is too deep. */
static int add_below(struct sum *sum, int parent, const char *name, int depth) {
  struct dirent *entry;
  int outcome = 0;
  DIR *stream;
  if (depth > DEEPEST) return E2BIG;
  stream = read_dir(parent, name);
  if (stream == NULL) return errno;
  while (outcome == 0 && (entry = next_entry(stream)) != NULL) {
    struct stat stat;
    if (fstatat(dirfd(stream), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0) outcome = errno;
    else outcome = add(sum, &stat);
    if (outcome == 0 && S_ISDIR(stat.st_mode)) outcome = add_below(sum, dirfd(stream), entry->d_name, depth + 1);
    /* A running container changes its tree under the walk. */
    if (outcome == ENOENT || outcome == ENOTDIR || outcome == ELOOP) outcome = 0;
  }
  closedir(stream);
  return outcome;
}

int measure(int parent, const char *name, uint64_t *bytes, uint64_t *inodes, mica_error *err) {
  struct sum sum = {0, 0, NULL};
  struct stat stat;
  int outcome = fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) != 0 ? errno : add(&sum, &stat);
  if (outcome == 0) outcome = add_below(&sum, parent, name, 0);
  tdestroy(sum.seen, free);
  if (outcome == E2BIG) return failed(err, MICA_FALLBACK, 0, "`%s` is nested deeper than %d directories", name, DEEPEST);
  if (outcome != 0) return failed_call(err, outcome, "measure `%s`", name);
  *bytes = sum.bytes;
  *inodes = sum.inodes;
  return MICA_OK;
}
