/*
 * vsock listen PORT     takes one connection of the host's
 * vsock connect PORT    connects to the host
 * Either way what comes is sent back until the other side has said all.
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int failed(const char *what)
{
	perror(what);
	return 1;
}

int main(int count, char **arguments)
{
	static char data[64 << 10];
	struct sockaddr_vm address = { .svm_family = AF_VSOCK };

	if (count != 3)
		return 2;
	address.svm_port = atoi(arguments[2]);
	int stream, first = socket(AF_VSOCK, SOCK_STREAM, 0);
	if (!strcmp(arguments[1], "listen")) {
		address.svm_cid = VMADDR_CID_ANY;
		if (bind(first, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(first, 1) < 0)
			return failed("listen");
		printf("listening on port %s\n", arguments[2]);
		fflush(stdout);
		stream = accept(first, NULL, NULL);
	} else {
		address.svm_cid = VMADDR_CID_HOST;
		stream = connect(first, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : first;
	}
	if (stream < 0)
		return failed(arguments[1]);

	long all = 0;
	for (ssize_t length; (length = read(stream, data, sizeof(data))) != 0; all += length) {
		if (length < 0)
			return failed("read");
		for (ssize_t sent = 0, part; sent < length; sent += part)
			if ((part = write(stream, data + sent, length - sent)) < 0)
				return failed("write");
	}
	printf("%s: sent %ld bytes back\n", arguments[1], all);
	return 0;
}
