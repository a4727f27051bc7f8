// SPDX-License-Identifier: GPL-2.0-only
/* The two ends of a socket workload, for the benchmark: one process sends or asks, the other receives or answers. Written in C
 * because an interpreter's own time per message would hide what is measured.
 *
 *     endpoint ROLE CPU ADDRESS PORT SIZE FLOWS
 *
 * ROLE: stream-send, ask-tcp, ask-udp, blast; and their takers stream-take or stream-spin, answer-tcp, answer-udp, sink. A taker
 * says "ready".
 * A sender runs one block for each line with a number of seconds on its standard input, and prints a JSON object for it; so do
 * the takers of streams and sink, for which a block is over when nothing came for SILENCE. Connections and sockets last over all blocks.
 * Senders end with their input; takers are ended.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FLOWS = 16, BATCH = 32, STREAM_BYTES = 128 * 1024, MAX_SAMPLES = 1 << 21, SILENCE_MS = 5 };

static char buffer[STREAM_BYTES];
static unsigned samples[MAX_SAMPLES];

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "endpoint: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address_of(const char *text, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };

	inet_pton(AF_INET, text, &address.sin_addr);
	return address;
}

static int open_socket(int kind)
{
	int one = 1, megabytes = 4 << 20;
	int fd = socket(AF_INET, kind, 0);

	check(fd, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (kind == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &megabytes, sizeof(megabytes));
	return fd;
}

static int connect_to(const struct sockaddr_in *address, int kind)
{
	int one = 1, fd = open_socket(kind);

	check(connect(fd, (const struct sockaddr *)address, sizeof(*address)), "connect");
	if (kind == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int listen_at(const struct sockaddr_in *address, int kind)
{
	int fd = open_socket(kind);

	check(bind(fd, (const struct sockaddr *)address, sizeof(*address)), "bind");
	if (kind == SOCK_STREAM)
		check(listen(fd, MAX_FLOWS), "listen");
	puts("ready");
	fflush(stdout);
	return fd;
}

static int accept_one(int listener)
{
	int one = 1, fd = accept(listener, NULL, NULL);

	check(fd, "accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* The next block's length, or 0 at the end of the input. */
static double next_block(void)
{
	char line[64];

	return fgets(line, sizeof(line), stdin) ? atof(line) : 0;
}

static void stream_send(const struct sockaddr_in *address, int flows)
{
	struct pollfd fds[MAX_FLOWS];
	double seconds, end;
	int i;

	for (i = 0; i < flows; i++)
		fds[i] = (struct pollfd){ .fd = connect_to(address, SOCK_STREAM), .events = POLLOUT };
	while ((seconds = next_block()) > 0) {
		end = now() + seconds;
		while (now() < end) {
			poll(fds, (nfds_t)flows, 100);
			for (i = 0; i < flows; i++)
				if (fds[i].revents & POLLOUT)
					send(fds[i].fd, buffer, sizeof(buffer), flows > 1 ? MSG_DONTWAIT : 0);
		}
		puts("{}");
		fflush(stdout);
	}
}

/* Bytes that came on any of the flows, 0 when none did for the time, -1 when the sender is gone. */
static double take_some(struct pollfd *fds, int flows, int patience_ms)
{
	double bytes = 0;
	int i;

	if (poll(fds, (nfds_t)flows, patience_ms) <= 0)
		return 0;
	for (i = 0; i < flows; i++) {
		ssize_t got;

		if (!fds[i].revents)
			continue;
		got = recv(fds[i].fd, buffer, sizeof(buffer), 0);
		if (got <= 0)
			return -1;
		bytes += (double)got;
	}
	return bytes;
}

/* The same without sleeping. What a wake-up from CPU to CPU costs differs from block to block by more than the arms do, and a
 * receiver sleeps the more often the faster the way to it is. */
static double take_spinning(struct pollfd *fds, int flows, int patience_ms)
{
	double end = now() + patience_ms / 1e3, got;

	do {
		got = take_some(fds, flows, 0);
	} while (got == 0 && now() < end);
	return got;
}

static void stream_take(const struct sockaddr_in *address, int flows, int is_spinning)
{
	struct pollfd fds[MAX_FLOWS];
	int listener = listen_at(address, SOCK_STREAM), i;

	for (i = 0; i < flows; i++)
		fds[i] = (struct pollfd){ .fd = accept_one(listener), .events = POLLIN };
	for (;;) {
		double bytes = 0, got = take_some(fds, flows, -1), first = now(), last = first;

		while (got > 0) {
			got = is_spinning ? take_spinning(fds, flows, SILENCE_MS) : take_some(fds, flows, SILENCE_MS);
			if (got > 0) {
				bytes += got;
				last = now();
			}
		}
		if (got < 0)
			return;
		printf("{\"bits_per_second\": %.0f}\n", bytes * 8 / (last > first ? last - first : 1));
		fflush(stdout);
	}
}

static int compare(const void *one, const void *two)
{
	unsigned first = *(const unsigned *)one, second = *(const unsigned *)two;

	return (first > second) - (first < second);
}

static void ask(const struct sockaddr_in *address, int kind, size_t size)
{
	int fd = connect_to(address, kind);
	double seconds;

	while ((seconds = next_block()) > 0) {
		double end = now() + seconds;
		size_t count = 0;

		while (now() < end && count < MAX_SAMPLES) {
			double start = now();

			check((int)send(fd, buffer, size, 0), "send");
			check((int)recv(fd, buffer, sizeof(buffer), 0), "recv");
			samples[count++] = (unsigned)((now() - start) * 1e9);
		}
		qsort(samples, count, sizeof(samples[0]), compare);
		printf("{\"p50_ns\": %u, \"p99_ns\": %u, \"count\": %zu}\n", samples[count / 2],
		       samples[count * 99 / 100], count);
		fflush(stdout);
	}
}

static void answer(const struct sockaddr_in *address, int kind)
{
	int listener = listen_at(address, kind);
	int fd = kind == SOCK_STREAM ? accept_one(listener) : listener;
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);

	for (;;) {
		ssize_t got = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&peer, &length);

		if (got <= 0)
			return;
		sendto(fd, buffer, (size_t)got, 0, kind == SOCK_DGRAM ? (struct sockaddr *)&peer : NULL,
		       kind == SOCK_DGRAM ? length : 0);
	}
}

static void blast(const struct sockaddr_in *address, size_t size)
{
	struct iovec vector = { .iov_base = buffer, .iov_len = size };
	struct mmsghdr batch[BATCH] = { 0 };
	int fd = connect_to(address, SOCK_DGRAM), i;
	double seconds;

	for (i = 0; i < BATCH; i++)
		batch[i].msg_hdr = (struct msghdr){ .msg_iov = &vector, .msg_iovlen = 1 };
	while ((seconds = next_block()) > 0) {
		double start = now(), sent = 0;

		while (now() < start + seconds) {
			int done = sendmmsg(fd, batch, BATCH, 0);

			sent += done > 0 ? done : 0;
		}
		printf("{\"sent\": %.0f, \"seconds\": %.6f}\n", sent, now() - start);
		fflush(stdout);
	}
}

/* Spins while a block runs: a receiver that sleeps between datagrams makes the sender pay for waking it, the more the faster
 * the way between them is, which hides the difference that is looked for. */
static void sink(const struct sockaddr_in *address)
{
	static char space[BATCH][2048];
	struct iovec vectors[BATCH];
	struct mmsghdr batch[BATCH] = { 0 };
	int fd = listen_at(address, SOCK_DGRAM), i;
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	for (i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ .iov_base = space[i], .iov_len = sizeof(space[i]) };
		batch[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
	for (;;) {
		double arrived = 0, last;

		poll(&wait, 1, -1);
		last = now();
		for (;;) {
			int got = recvmmsg(fd, batch, BATCH, MSG_DONTWAIT, NULL);

			if (got > 0) {
				arrived += got;
				last = now();
			} else if (now() > last + SILENCE_MS / 1e3) {
				break;
			}
		}
		printf("{\"arrived\": %.0f}\n", arrived);
		fflush(stdout);
	}
}

int main(int count, char **words)
{
	struct sockaddr_in address;
	const char *role;
	cpu_set_t cpus;
	size_t size;
	int flows;

	if (count != 7) {
		fputs("endpoint ROLE CPU ADDRESS PORT SIZE FLOWS\n", stderr);
		return 2;
	}
	role = words[1];
	CPU_ZERO(&cpus);
	CPU_SET((size_t)atoi(words[2]), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	address = address_of(words[3], atoi(words[4]));
	size = (size_t)atoi(words[5]);
	flows = atoi(words[6]);
	if (!strcmp(role, "stream-send"))
		stream_send(&address, flows);
	else if (!strcmp(role, "stream-take"))
		stream_take(&address, flows, 0);
	else if (!strcmp(role, "stream-spin"))
		stream_take(&address, flows, 1);
	else if (!strcmp(role, "ask-tcp"))
		ask(&address, SOCK_STREAM, size);
	else if (!strcmp(role, "answer-tcp"))
		answer(&address, SOCK_STREAM);
	else if (!strcmp(role, "ask-udp"))
		ask(&address, SOCK_DGRAM, size);
	else if (!strcmp(role, "answer-udp"))
		answer(&address, SOCK_DGRAM);
	else if (!strcmp(role, "blast"))
		blast(&address, size);
	else if (!strcmp(role, "sink"))
		sink(&address);
	else
		return 2;
	return 0;
}
