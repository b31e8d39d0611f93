// SPDX-License-Identifier: GPL-2.0-only
/*
 * A producer with the memory layout of a BPF ring buffer (kernel/bpf/ringbuf.c) in a shared file:
 * consumer page, producer page, data, and the data again. Where the kernel maps the data twice, this
 * writes each record twice.
 *
 * ring_producer FILE RING_BYTES ROWS_FILE ROW_BYTES EVENTS RATE [TS_STEP PACKET_STEP STATE_STEP]
 *
 * Sends EVENTS rows at RATE a second (0: as fast as it can), drops a row when the ring is full as
 * bpf_ringbuf_reserve does, and prints "sent N lost N seconds S". The second 8 bytes of each row are the
 * sequence number, which counts lost rows too. With the steps, each time the rows begin again their times,
 * packets and states (trace/layout.py: bytes 0, 44 and 16 of a row) are higher by as much; they also have
 * the producer sleep where it is early, as a kernel does between packets.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 10)
        return 2;
    uint64_t size = strtoull(argv[2], 0, 10), row = strtoull(argv[4], 0, 10), total = strtoull(argv[5], 0, 10);
    double rate = atof(argv[6]);
    uint64_t steps[3] = {0, 0, 0};
    for (int i = 7; i < argc; i++)
        steps[i - 7] = strtoull(argv[i], 0, 10);
    uint64_t stride = 8 + ((row + 7) & ~7ull), page = sysconf(_SC_PAGESIZE);
    int fd = open(argv[1], O_RDWR), rows_fd = open(argv[3], O_RDONLY);
    struct stat st;
    if (fd < 0 || rows_fd < 0 || fstat(rows_fd, &st))
        return 1;
    uint8_t *map = mmap(0, 2 * page + 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uint8_t *rows = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, rows_fd, 0);
    if (map == MAP_FAILED || rows == MAP_FAILED)
        return 1;
    volatile uint64_t *consumer = (void *)map, *producer = (void *)(map + page);
    uint8_t *data = map + 2 * page;
    uint64_t count = st.st_size / row, position = 0, lost = 0;
    double start = now();

    for (uint64_t i = 0; i < total; i++) {
        if (rate > 0 && i % 256 == 0)
            while ((now() - start) * rate < i)
                if (argc == 10)
                    usleep(500);
        uint64_t used = position - __atomic_load_n(consumer, __ATOMIC_ACQUIRE);
        if (used + stride > size - 8) {
            lost++;
            continue;
        }
        uint64_t at = position % size, seq = i + 1, round = i / count;
        uint8_t one[8192];
        memcpy(one, rows + (i % count) * row, row);
        memcpy(one + 8, &seq, 8);
        if (argc == 10) {
            *(uint64_t *)one += round * steps[0];
            *(uint32_t *)(one + 44) += (uint32_t)(round * steps[1]);
            if (*(uint64_t *)(one + 16))
                *(uint64_t *)(one + 16) += round * steps[2];
        }
        for (int copy = 0; copy < 2; copy++) {
            /* The second mapping: the same bytes one ring size further on, or back where they wrap. */
            uint64_t base = copy ? at + size : at;
            uint32_t header[2] = {(uint32_t)row, 0};
            if (base + stride > 2 * size) {
                /* The record runs over the end of the second copy: its tail is the ring's beginning. */
                uint8_t whole[8192];
                memcpy(whole, header, 8);
                memcpy(whole + 8, one, row);
                uint64_t fits = 2 * size - base;
                memcpy(data + base, whole, fits);
                memcpy(data, whole + fits, stride - fits);
                continue;
            }
            memcpy(data + base, header, 8);
            memcpy(data + base + 8, one, row);
        }
        position += stride;
        __atomic_store_n(producer, position, __ATOMIC_RELEASE);
    }
    printf("sent %llu lost %llu seconds %.6f\n", (unsigned long long)total, (unsigned long long)lost, now() - start);
    return 0;
}
