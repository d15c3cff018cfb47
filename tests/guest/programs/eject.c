/* Opens the tray of a CD-ROM drive: eject DEVICE. */
#include <fcntl.h>
#include <linux/cdrom.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int count, char **arguments)
{
    int drive = count == 2 ? open(arguments[1], O_RDONLY | O_NONBLOCK) : -1;
    if (drive < 0 || ioctl(drive, CDROMEJECT) < 0) {
        perror("eject");
        return 1;
    }
    return 0;
}
