/* A disk that fails, put below a process with LD_PRELOAD.
 *
 * FAULTY_FOLDER is the folder whose files are concerned. FAULTY_CONTROL is a file of five 64-bit numbers that the test shares with the
 * process: which kinds of calls are counted (bits, see below), how many were, from which on and up to which they fail, and the errno.
 *
 * A failed fsync does what Linux does: the pages that were not on the disk yet are lost, and called clean. Here their bytes become zero
 * at once, instead of after the next reboot.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { READ = 1, WRITE = 2, SYNC = 4, RENAME = 8, OPEN = 16, CUT = 32, FOLDER = 64, REMOVE = 128 };

struct control {
    _Atomic uint64_t kinds, seen, from, until, error;
};

static struct control *control;
static const char *folder;
static size_t folder_length;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void start(void) {
    folder = getenv("FAULTY_FOLDER");
    const char *path = getenv("FAULTY_CONTROL");
    if (!folder || !path)
        return;
    folder_length = strlen(folder);
    int file = NEXT(open64)(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED)
        control = shared;
}

/* Whether this call fails; errno says how. */
static int fails(enum kind kind) {
    if (!(control->kinds & kind))
        return 0;
    uint64_t nth = atomic_fetch_add(&control->seen, 1) + 1;
    if (nth < control->from || nth >= control->until)
        return 0;
    errno = (int)control->error;
    return 1;
}

static int is_below(const char *path) { return !strncmp(path, folder, folder_length); }

static int fails_at(const char *path, enum kind kind) {
    pthread_once(&once, start);
    if (!control || !(control->kinds & kind))
        return 0;
    char full[4096];
    if (path[0] != '/') {
        if (!getcwd(full, sizeof full))
            return 0;
        size_t length = strlen(full);
        snprintf(full + length, sizeof full - length, "/%s", path);
        path = full;
    }
    return is_below(path) && fails(kind);
}

static int is_ours(int file) {
    pthread_once(&once, start);
    if (!control)
        return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static int fails_on(int file, enum kind kind) { return is_ours(file) && fails(kind); }

/* Bytes that were written and are not on the disk yet. */
#define DIRTY_MAX 4096
static struct dirty { dev_t device; ino_t inode; off_t begin, end; } dirty[DIRTY_MAX];
static pthread_mutex_t dirty_lock = PTHREAD_MUTEX_INITIALIZER;

static struct dirty *dirty_of(int file, int make) {
    struct stat status;
    if (fstat(file, &status) || !S_ISREG(status.st_mode))
        return NULL;
    struct dirty *free = NULL;
    for (struct dirty *one = dirty; one < dirty + DIRTY_MAX; one++) {
        if (one->end && one->device == status.st_dev && one->inode == status.st_ino)
            return one;
        if (!one->end && !free)
            free = one;
    }
    if (!make || !free)
        return NULL;
    *free = (struct dirty){status.st_dev, status.st_ino, INT64_MAX, 0};
    return free;
}

static void wrote(int file, off_t begin, ssize_t bytes) {
    if (bytes <= 0 || !(control->kinds & SYNC))
        return;
    pthread_mutex_lock(&dirty_lock);
    struct dirty *one = dirty_of(file, 1);
    if (one) {
        if (begin < one->begin)
            one->begin = begin;
        if (begin + bytes > one->end)
            one->end = begin + bytes;
    }
    pthread_mutex_unlock(&dirty_lock);
}

static void synced(int file, int is_lost) {
    pthread_mutex_lock(&dirty_lock);
    struct dirty *one = dirty_of(file, 0);
    if (one && is_lost) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        int again = NEXT(open64)(path, O_WRONLY | O_CLOEXEC);
        struct stat status;
        static const char zeros[4096];
        off_t end = fstat(file, &status) ? 0 : (one->end < status.st_size ? one->end : status.st_size);
        for (off_t at = one->begin; again >= 0 && at < end; at += sizeof zeros) {
            size_t rest = (size_t)(end - at);
            if (NEXT(pwrite64)(again, zeros, rest < sizeof zeros ? rest : sizeof zeros, at) < 0)
                break;
        }
        if (again >= 0)
            close(again);
    }
    if (one)
        one->end = 0;
    pthread_mutex_unlock(&dirty_lock);
}

#define READING(result, name, parameters, arguments)                                                                                       \
    result name parameters { return fails_on(file, READ) ? -1 : NEXT(name) arguments; }

READING(ssize_t, read, (int file, void *to, size_t bytes), (file, to, bytes))
READING(ssize_t, readv, (int file, const struct iovec *to, int count), (file, to, count))
READING(ssize_t, pread, (int file, void *to, size_t bytes, off_t at), (file, to, bytes, at))
READING(ssize_t, pread64, (int file, void *to, size_t bytes, off64_t at), (file, to, bytes, at))

#define WRITING(result, name, parameters, arguments, place)                                                                                \
    result name parameters {                                                                                                               \
        if (!is_ours(file))                                                                                                                \
            return NEXT(name) arguments;                                                                                                   \
        if (fails(WRITE))                                                                                                                  \
            return -1;                                                                                                                     \
        off_t begin = place;                                                                                                               \
        result done = NEXT(name) arguments;                                                                                                \
        wrote(file, begin, done);                                                                                                          \
        return done;                                                                                                                       \
    }

WRITING(ssize_t, write, (int file, const void *from, size_t bytes), (file, from, bytes), lseek(file, 0, SEEK_CUR))
WRITING(ssize_t, writev, (int file, const struct iovec *from, int count), (file, from, count), lseek(file, 0, SEEK_CUR))
WRITING(ssize_t, pwrite, (int file, const void *from, size_t bytes, off_t at), (file, from, bytes, at), at)
WRITING(ssize_t, pwrite64, (int file, const void *from, size_t bytes, off64_t at), (file, from, bytes, at), at)

#define SYNCING(name)                                                                                                                      \
    int name(int file) {                                                                                                                   \
        if (!is_ours(file))                                                                                                                \
            return NEXT(name)(file);                                                                                                       \
        int is_lost = fails(SYNC);                                                                                                         \
        int error = errno;                                                                                                                 \
        synced(file, is_lost);                                                                                                             \
        errno = error;                                                                                                                     \
        return is_lost ? -1 : NEXT(name)(file);                                                                                            \
    }

SYNCING(fsync)
SYNCING(fdatasync)

#define AT_PATH(kind, name, parameters, arguments, path)                                                                                   \
    int name parameters { return fails_at(path, kind) ? -1 : NEXT(name) arguments; }

AT_PATH(RENAME, rename, (const char *from, const char *to), (from, to), to)
AT_PATH(RENAME, link, (const char *from, const char *to), (from, to), to)
AT_PATH(RENAME, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), to)
AT_PATH(FOLDER, mkdir, (const char *path, mode_t mode), (path, mode), path)
AT_PATH(REMOVE, unlink, (const char *path), (path), path)
AT_PATH(REMOVE, unlinkat, (int file, const char *path, int flags), (file, path, flags), path)

int ftruncate(int file, off_t length) { return fails_on(file, CUT) ? -1 : NEXT(ftruncate)(file, length); }
int ftruncate64(int file, off64_t length) { return fails_on(file, CUT) ? -1 : NEXT(ftruncate64)(file, length); }

#define OPENING(name)                                                                                                                      \
    int name(const char *path, int flags, ...) {                                                                                           \
        va_list rest;                                                                                                                      \
        va_start(rest, flags);                                                                                                             \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                                            \
        va_end(rest);                                                                                                                      \
        return fails_at(path, OPEN) ? -1 : NEXT(name)(path, flags, mode);                                                                  \
    }

OPENING(open)
OPENING(open64)
