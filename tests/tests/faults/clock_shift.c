/* Preloaded into a process, its wall clock goes so many seconds wrong as CLOCK_SHIFT_SECONDS says. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    const char *shift = getenv("CLOCK_SHIFT_SECONDS");
    if (!failed && id == CLOCK_REALTIME && shift) now->tv_sec += atoll(shift);
    return failed;
}
