// The measuring end of the benchmarks: does one thing to a path as fast as the system calls allow and prints how long it
// took, so that no interpreter stands between the clock and the drive. Compiled by bench/probe.ts.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t state = 88172645463325252ULL;
static uint64_t random64(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

// first FILE SIZE: open and read the first SIZE bytes.
static void first(const char *path, size_t size) {
  char *buffer = malloc(size);
  double start = now();
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  for (size_t done = 0; done < size;) {
    ssize_t n = read(fd, buffer + done, size - done);
    if (n <= 0) fail("read");
    done += n;
  }
  printf("%.6f %zu\n", now() - start, size);
}

// read FILE: from one end to the other, 1 MiB a call.
static void sequential(const char *path) {
  static char buffer[1 << 20];
  double start = now();
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  uint64_t total = 0;
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0; total += n)
    if (n < 0) fail("read");
  printf("%.6f %lu\n", now() - start, total);
}

// random FILE SECONDS: reads of 4 KiB at random places.
static void random_reads(const char *path, double seconds) {
  char buffer[4096];
  int fd = open(path, O_RDONLY);
  if (fd < 0) fail(path);
  uint64_t blocks = lseek(fd, 0, SEEK_END) / 4096, count = 0;
  double start = now(), end = start;
  while (end - start < seconds) {
    for (int i = 0; i < 64; i++, count++)
      if (pread(fd, buffer, 4096, (random64() % blocks) * 4096) != 4096) fail("pread");
    end = now();
  }
  printf("%.6f %lu\n", end - start, count);
}

// write FILE BYTES: in calls of 1 MiB, then close. Incompressible and never the same twice.
static void write_file(const char *path, uint64_t size) {
  static uint64_t buffer[1 << 17];
  state ^= (uint64_t)time(NULL) << 20 ^ getpid();
  for (size_t i = 0; i < sizeof buffer / 8; i++) buffer[i] = random64();
  double start = now();
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) fail(path);
  for (uint64_t done = 0; done < size;) {
    buffer[0] = done + state;
    size_t want = size - done < sizeof buffer ? size - done : sizeof buffer;
    ssize_t n = write(fd, buffer, want);
    if (n < 0) fail("write");
    done += n;
  }
  if (close(fd) != 0) fail("close");
  printf("%.6f %lu\n", now() - start, size);
}

// files DIR COUNT BYTES: many small files, one after the other.
static void make_files(const char *dir, int count, size_t size) {
  char path[4096];
  char *data = malloc(size);
  for (size_t i = 0; i < size; i++) data[i] = random64();
  double start = now();
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/f%06d", dir, i);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0) fail(path);
    if (write(fd, data, size) != (ssize_t)size) fail("write");
    if (close(fd) != 0) fail("close");
  }
  printf("%.6f %d\n", now() - start, count);
}

// missing DIR COUNT VARIETY: stat of names that are not there, VARIETY different ones over and over; others in each run,
// because the kernel remembers those of the last one.
static void missing(const char *dir, int count, int variety) {
  char path[4096];
  struct stat s;
  double start = now();
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/missing-%d-%d", dir, getpid(), i % variety);
    if (stat(path, &s) == 0 || errno != ENOENT) fail(path);
  }
  printf("%.6f %d\n", now() - start, count);
}

int main(int argc, char **argv) {
  const char *what = argc > 2 ? argv[1] : "";
  if (!strcmp(what, "first") && argc == 4) first(argv[2], strtoull(argv[3], NULL, 10));
  else if (!strcmp(what, "read") && argc == 3) sequential(argv[2]);
  else if (!strcmp(what, "random") && argc == 4) random_reads(argv[2], atof(argv[3]));
  else if (!strcmp(what, "write") && argc == 4) write_file(argv[2], strtoull(argv[3], NULL, 10));
  else if (!strcmp(what, "files") && argc == 5) make_files(argv[2], atoi(argv[3]), strtoull(argv[4], NULL, 10));
  else if (!strcmp(what, "missing") && argc == 5) missing(argv[2], atoi(argv[3]), atoi(argv[4]));
  else {
    fprintf(stderr, "usage: probe first|read|random|write|files|missing ...\n");
    return 2;
  }
  return 0;
}
