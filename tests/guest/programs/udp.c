// Sends every datagram that comes to a port back: udp PORT.

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	if (bind(socket_fd, (struct sockaddr *)&at, sizeof at) != 0) {
		perror("udp");
		return 1;
	}
	for (;;) {
		static char bytes[65536];
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		ssize_t size = recvfrom(socket_fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length);
		if (size >= 0)
		    sendto(socket_fd, bytes, size, 0, (struct sockaddr *)&from, length);
	}
}
