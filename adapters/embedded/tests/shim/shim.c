/* Stands between a process and the disk, to lose what was never synced.
 *
 * FOREBAY_SHIM_DIR    the directory that is watched
 * FOREBAY_SHIM_IMAGE  where each file is copied to when it is synced, and only then: what a power
 *                     cut would leave behind
 * FOREBAY_SHIM_LIE    after this many syncs, copy nothing any more: a disk (or a setting) that
 *                     confirms what it does not do. The control: the tests must notice
 * FOREBAY_SHIM_FULL   while this file exists, the disk is full
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long syncs;

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))
typedef int (*sync_fn)(int);
typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);

/* The path of a watched file (or of the directory itself), or 0. */
static int watched(int fd, char *path) {
    const char *dir = getenv("FOREBAY_SHIM_DIR");
    char link[64];
    if (!dir) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, dir, strlen(dir)) == 0;
}

static void copy(const char *from, const char *to) {
    char part[PATH_MAX + 8], buffer[1 << 16];
    snprintf(part, sizeof part, "%s.part", to);
    int in = open(from, O_RDONLY), out = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n;
    while ((n = read(in, buffer, sizeof buffer)) > 0)
        if (REAL("write", write_fn)(out, buffer, n) != n) abort();
    close(in);
    close(out);
    rename(part, to); /* so that a kill leaves the image before, or this one */
}

/* A synced directory: what was unlinked in it stays unlinked. */
static void forget_unlinked(const char *dir, const char *image) {
    DIR *entries = opendir(image);
    struct dirent *entry;
    while (entries && (entry = readdir(entries))) {
        char original[PATH_MAX + NAME_MAX + 2], kept[PATH_MAX + NAME_MAX + 2];
        snprintf(original, sizeof original, "%s/%s", dir, entry->d_name);
        snprintf(kept, sizeof kept, "%s/%s", image, entry->d_name);
        if (entry->d_name[0] != '.' && access(original, F_OK) != 0) unlink(kept);
    }
    if (entries) closedir(entries);
}

static void synced(int fd) {
    const char *image = getenv("FOREBAY_SHIM_IMAGE"), *lie = getenv("FOREBAY_SHIM_LIE");
    char path[PATH_MAX], to[PATH_MAX];
    struct stat status;
    if (!image || !watched(fd, path)) return;
    pthread_mutex_lock(&lock);
    if (!lie || syncs++ < atol(lie)) {
        if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
            forget_unlinked(path, image);
        } else {
            snprintf(to, sizeof to, "%s/%s", image, strrchr(path, '/') + 1);
            copy(path, to);
        }
    }
    pthread_mutex_unlock(&lock);
}

int fsync(int fd) {
    int outcome = REAL("fsync", sync_fn)(fd);
    if (outcome == 0) synced(fd);
    return outcome;
}

int fdatasync(int fd) {
    int outcome = REAL("fdatasync", sync_fn)(fd);
    if (outcome == 0) synced(fd);
    return outcome;
}

static int full(int fd) {
    const char *flag = getenv("FOREBAY_SHIM_FULL");
    char path[PATH_MAX];
    if (!flag || access(flag, F_OK) != 0 || !watched(fd, path)) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
    return full(fd) ? -1 : REAL("write", write_fn)(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return full(fd) ? -1 : REAL("pwrite", pwrite_fn)(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    return full(fd) ? -1 : REAL("pwrite64", pwrite_fn)(fd, data, size, at);
}
