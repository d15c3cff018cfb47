/*
 * card INTERFACE queues NUMBER         has the driver use so many pairs of queues
 * card INTERFACE FEATURE on|off        switches a feature by its name in ethtool (Linux, Documentation/networking/netdev-features.rst)
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FEATURES 128

static struct ifreq request;
static int descriptor;
static int feature_words;

static void call(void *data)
{
	request.ifr_data = data;
	if (ioctl(descriptor, SIOCETHTOOL, &request) < 0) {
		perror(request.ifr_name);
		exit(1);
	}
}

static void use_queues(unsigned number)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };

	call(&channels);
	channels.cmd = ETHTOOL_SCHANNELS;
	channels.combined_count = number;
	call(&channels);
}

static int feature_number(const char *name)
{
	static struct { struct ethtool_sset_info info; __u32 count; } known;
	static struct { struct ethtool_gstrings strings; char names[MAX_FEATURES][ETH_GSTRING_LEN]; } all;

	known.info.cmd = ETHTOOL_GSSET_INFO;
	known.info.sset_mask = 1ULL << ETH_SS_FEATURES;
	call(&known);
	all.strings.cmd = ETHTOOL_GSTRINGS;
	all.strings.string_set = ETH_SS_FEATURES;
	all.strings.len = known.count;
	if (known.count > MAX_FEATURES)
		return -1;
	feature_words = (known.count + 31) / 32;
	call(&all);
	for (unsigned number = 0; number < known.count; number++)
		if (!strcmp(all.names[number], name))
			return number;
	return -1;
}

static int is_on(int number)
{
	static struct {
		struct ethtool_gfeatures head;
		struct ethtool_get_features_block blocks[MAX_FEATURES / 32];
	} get;

	get.head.cmd = ETHTOOL_GFEATURES;
	get.head.size = feature_words;
	call(&get);
	return get.blocks[number / 32].active >> number % 32 & 1;
}

static void set_feature(int number, int on)
{
	static struct {
		struct ethtool_sfeatures head;
		struct ethtool_set_features_block blocks[MAX_FEATURES / 32];
	} set;

	set.head.cmd = ETHTOOL_SFEATURES;
	set.head.size = feature_words;
	set.blocks[number / 32].valid = 1U << number % 32;
	set.blocks[number / 32].requested = on ? 1U << number % 32 : 0;
	call(&set);
}

int main(int count, char **arguments)
{
	if (count != 4)
		return 2;
	strncpy(request.ifr_name, arguments[1], IFNAMSIZ - 1);
	descriptor = socket(AF_INET, SOCK_DGRAM, 0);
	if (!strcmp(arguments[2], "queues")) {
		use_queues(atoi(arguments[3]));
		return 0;
	}
	int number = feature_number(arguments[2]), on = !strcmp(arguments[3], "on");
	if (number < 0) {
		fprintf(stderr, "there is no feature %s\n", arguments[2]);
		return 1;
	}
	set_feature(number, on);
	if (is_on(number) != on) {
		fprintf(stderr, "%s cannot be switched %s\n", arguments[2], arguments[3]);
		return 1;
	}
	return 0;
}
