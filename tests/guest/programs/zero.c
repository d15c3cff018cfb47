/* zero DEVICE OFFSET LENGTH: has the kernel write zeroes to a block device, in bytes, as mkfs and ext4 do. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int count, char **arguments)
{
	if (count != 4)
		return 2;
	uint64_t range[2] = { strtoull(arguments[2], NULL, 0), strtoull(arguments[3], NULL, 0) };
	int device = open(arguments[1], O_RDWR);
	if (device < 0 || ioctl(device, BLKZEROOUT, range) < 0) {
		perror(arguments[1]);
		return 1;
	}
	return 0;
}
