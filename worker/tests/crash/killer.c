/* Ends a process by SIGKILL just before the n-th time that it touches the disk under a path: at each
 * stage of each transaction, without a line of test code in the program.
 *
 * KILLER_PATH  the files that count: those whose path begins with this
 * KILLER_AT    n, counting from 1
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long touched;

static void touch(int fd) {
    const char *prefix = getenv("KILLER_PATH"), *at = getenv("KILLER_AT");
    char link[64], path[PATH_MAX];
    if (!prefix || !at) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    if (strncmp(path, prefix, strlen(prefix)) == 0 && ++touched == atol(at)) raise(SIGKILL);
}

#define BEFORE(name, result, parameters, arguments)                    \
    result name parameters {                                           \
        touch(fd);                                                     \
        return ((result(*) parameters)dlsym(RTLD_NEXT, #name)) arguments; \
    }

BEFORE(fsync, int, (int fd), (fd))
BEFORE(fdatasync, int, (int fd), (fd))
BEFORE(pwrite, ssize_t, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
BEFORE(pwrite64, ssize_t, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
