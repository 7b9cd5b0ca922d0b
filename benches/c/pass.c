/* What a pass of a thread costs here that sends, or hears, one datagram and sleeps: what the sync threads cannot do without.
 *
 *   cc -O2 -o /tmp/pass benches/c/pass.c
 *   /tmp/pass nap S            sleeps for 100 us again and again, for S seconds
 *   /tmp/pass hear S           poll, then all that is in the socket
 *   /tmp/pass say S ADDRESS    sleeps for 100 us, then sends 1,400 bytes to where the other one hears
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const struct timespec nap = {0, 100000};
    int hear = argc == 3 && !strcmp(argv[1], "hear"), say = argc == 4 && !strcmp(argv[1], "say");
    if (!hear && !say && !(argc == 3 && !strcmp(argv[1], "nap"))) {
        fprintf(stderr, "usage: pass nap S | hear S | say S ADDRESS\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1000);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(7799)};
    if (say && inet_pton(AF_INET, argv[3], &at.sin_addr) != 1) {
        fprintf(stderr, "pass: %s is no IPv4 address\n", argv[3]);
        return 2;
    }
    if (hear && bind(fd, (struct sockaddr *)&at, sizeof at)) {
        perror("pass: bind");
        return 1;
    }
    char bytes[1400] = {0};
    struct pollfd ready = {fd, POLLIN, 0};
    long passes = 0;
    double until = seconds(CLOCK_MONOTONIC) + atof(argv[2]), used = seconds(CLOCK_THREAD_CPUTIME_ID);
    while (seconds(CLOCK_MONOTONIC) < until) {
        if (hear) {
            if (poll(&ready, 1, 100) < 1)
                continue;
            while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
                ;
        } else {
            nanosleep(&nap, NULL);
            if (say)
                sendto(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&at, sizeof at);
        }
        passes++;
    }
    used = seconds(CLOCK_THREAD_CPUTIME_ID) - used;
    printf("%s: %ld passes, %.2f us of processor time each\n", argv[1], passes, passes ? used / passes * 1e6 : 0.0);
}
