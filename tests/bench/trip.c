// Round trips over TCP: trip serve PORT, and elsewhere trip ADDRESS PORT COUNT, which prints the median in microseconds.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *one, const void *other)
{
	double left = *(const double *)one, right = *(const double *)other;
	return (left > right) - (left < right);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void at_once(int stream)
{
	int yes = 1;
	setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static int serve(struct sockaddr_in at)
{
	int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
	at.sin_addr.s_addr = INADDR_ANY;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 1) != 0)
		return 1;
	for (;;) {
		char byte;
		int stream = accept(listener, NULL, NULL);
		at_once(stream);
		while (read(stream, &byte, 1) == 1 && write(stream, &byte, 1) == 1)
			;
		close(stream);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
	if (strcmp(argv[1], "serve") == 0)
		return serve(at);
	int count = argc > 3 ? atoi(argv[3]) : 1, stream = socket(AF_INET, SOCK_STREAM, 0);
	double *times = calloc(count, sizeof *times);
	if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1 || connect(stream, (struct sockaddr *)&at, sizeof at) != 0)
		return 1;
	at_once(stream);
	for (int trip = 0; trip < count; trip++) {
		char byte = 0;
		double begin = now();
		if (write(stream, &byte, 1) != 1 || read(stream, &byte, 1) != 1)
			return 1;
		times[trip] = now() - begin;
	}
	qsort(times, count, sizeof *times, compare);
	printf("median %.1f us\n", times[count / 2]);
}
