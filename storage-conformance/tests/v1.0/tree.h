/* tree.h - errors, and the two things to do with a whole tree: measure it, and delete it a little at a time. */
#ifndef PLAIN_TREE_H
#define PLAIN_TREE_H
#include <mica_storage.h>

/* Fills `err` with printf's words, followed by those for `os_errno` where that is not 0; returns `kind`. */
int failed(mica_error *err, enum mica_error_kind kind, int os_errno, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* failed() for a system call: the kind is what `os_errno` means for the engine. */
int failed_call(mica_error *err, int os_errno, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Opens a directory below another one to read it; never follows a symbolic link in its place.  -1 and errno. */
int open_dir(int parent, const char *name);

/* Renames `name` below `from` to something unused in the directory `trash`.  0, or -1 and errno. */
int into_trash(int from, const char *name, int trash);

/* Deletes what lies in the directory `trash` for about `budget_ms`; *left is 1 when something remains. */
int empty_trash(int trash, uint64_t budget_ms, uint64_t *left, mica_error *err);

/* The allocated bytes and the inodes of the tree `name` below `parent`, a file with several names once. */
int measure(int parent, const char *name, uint64_t *bytes, uint64_t *inodes, mica_error *err);

#endif
