/* Makes writes and syncs of some files fail, as a disk does that is full or broken.
 *
 * Preloaded into a program. IOFAULT_PATH: files whose path holds this. IOFAULT_CTL: a file that
 * says what fails from now on: "none", "write ERRNO", "sync ERRNO", or "nth N ERRNO", which
 * fails the N-th of both alone, counted from when that is said. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long count;

/* The error that this operation is to end with; 0 for none. */
static int fault(int fd, const char *what) {
    const char *part = getenv("IOFAULT_PATH"), *control = getenv("IOFAULT_CTL");
    char link[64], path[4096], said[64], operation[16];
    if (!part || !control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (!strstr(path, part)) return 0;
    long nth = 0;
    int error = 0, ctl = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY, 0);
    if (ctl < 0) return 0;
    length = syscall(SYS_read, ctl, said, sizeof said - 1);
    syscall(SYS_close, ctl);
    if (length <= 0) return 0;
    said[length] = 0;
    if (sscanf(said, "nth %ld %d", &nth, &error) == 2)
        return atomic_fetch_add(&count, 1) + 1 == nth ? error : 0;
    if (sscanf(said, "%15s %d", operation, &error) == 2 && !strcmp(operation, what)) return error;
    return 0;
}

#define FAIL(fd, what) do { int error = fault(fd, what); if (error) { errno = error; return -1; } } while (0)
#define NEXT(name, ...) static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name); return next(__VA_ARGS__)

ssize_t write(int fd, const void *bytes, size_t length) { FAIL(fd, "write"); NEXT(write, fd, bytes, length); }
ssize_t writev(int fd, const struct iovec *parts, int n) { FAIL(fd, "write"); NEXT(writev, fd, parts, n); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { FAIL(fd, "write"); NEXT(pwrite, fd, bytes, length, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) { FAIL(fd, "write"); NEXT(pwrite64, fd, bytes, length, at); }
int fsync(int fd) { FAIL(fd, "sync"); NEXT(fsync, fd); }
int fdatasync(int fd) { FAIL(fd, "sync"); NEXT(fdatasync, fd); }
