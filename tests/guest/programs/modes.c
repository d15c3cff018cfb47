/*
 * modes preferred        prints the mode that the screen would like best: WIDTHxHEIGHT
 * modes show MODE...     shows a picture in each of these modes; goes on to the next one when a line comes
 * modes cursor MODE      the same in one mode, with a cursor: a square of one colour
 *
 * Linux's interface to graphics cards (Documentation/gpu/drm-uapi.rst), whose headers belong to no package of the tests.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

struct mode {
	uint32_t clock;
	uint16_t width, horizontal[4], height, vertical[4];
	uint32_t refresh, flags, type;
	char name[32];
};
struct resources {
	uint64_t buffers, screens, connectors, encoders;
	uint32_t buffer_count, screen_count, connector_count, encoder_count;
	uint32_t least_width, most_width, least_height, most_height;
};
struct connector {
	uint64_t encoders, modes, properties, values;
	uint32_t mode_count, property_count, encoder_count, encoder, id, type, number, connection, width_mm, height_mm, subpixel, pad;
};
struct screen {
	uint64_t connectors;
	uint32_t connector_count, id, buffer, x, y, gamma, is_set;
	struct mode mode;
};
struct dumb { uint32_t height, width, depth, flags, handle, pitch; uint64_t size; };
struct map { uint32_t handle, pad; uint64_t offset; };
struct buffer { uint32_t id, width, height, pitch, bits, depth, handle; };
struct dirty { uint32_t buffer, flags, color, count; uint64_t rectangles; };
struct cursor { uint32_t flags, screen; int32_t x, y; uint32_t width, height, handle; };

#define DRM(number, type) _IOWR('d', number, type)
#define GET_RESOURCES DRM(0xa0, struct resources)
#define SET_SCREEN DRM(0xa2, struct screen)
#define CURSOR DRM(0xa3, struct cursor)
#define GET_CONNECTOR DRM(0xa7, struct connector)
#define ADD_BUFFER DRM(0xae, struct buffer)
#define SHOW_CHANGES DRM(0xb1, struct dirty)
#define MAKE_DUMB DRM(0xb2, struct dumb)
#define MAP_DUMB DRM(0xb3, struct map)

#define MAX 128
#define CURSOR_SIZE 64

static int card;
static uint32_t screen, connector;
static struct mode modes[MAX];
static unsigned mode_count;

static void call(unsigned long request, void *data, const char *what)
{
	if (ioctl(card, request, data) < 0) {
		perror(what);
		exit(1);
	}
}

static void probe(void)
{
	static uint32_t screens[MAX], connectors[MAX], encoders[MAX], properties[MAX];
	static uint64_t values[MAX];
	struct resources all = {
		.screens = (uintptr_t)screens, .connectors = (uintptr_t)connectors,
		.screen_count = MAX, .connector_count = MAX,
	};

	call(GET_RESOURCES, &all, "resources");
	screen = screens[0];
	connector = connectors[0];
	/* Without room for modes the kernel asks the screen anew. */
	struct connector first = { .id = connector };
	call(GET_CONNECTOR, &first, "connector");
	first = (struct connector) {
		.id = connector, .modes = (uintptr_t)modes, .mode_count = MAX,
		.encoders = (uintptr_t)encoders, .encoder_count = MAX,
		.properties = (uintptr_t)properties, .values = (uintptr_t)values, .property_count = MAX,
	};
	call(GET_CONNECTOR, &first, "connector");
	mode_count = first.mode_count;
}

static const struct mode *find(const char *name)
{
	char found[32];

	for (unsigned at = 0; at < mode_count; at++) {
		snprintf(found, sizeof(found), "%ux%u", modes[at].width, modes[at].height);
		if (!strcmp(found, name))
			return &modes[at];
	}
	fprintf(stderr, "there is no mode %s\n", name);
	exit(1);
}

static uint32_t *make(struct dumb *dumb)
{
	dumb->depth = 32;
	call(MAKE_DUMB, dumb, "make a buffer");
	struct map map = { .handle = dumb->handle };
	call(MAP_DUMB, &map, "map a buffer");
	uint32_t *pixels = mmap(NULL, dumb->size, PROT_READ | PROT_WRITE, MAP_SHARED, card, map.offset);
	if (pixels == MAP_FAILED) {
		perror("map a buffer");
		exit(1);
	}
	return pixels;
}

static void show(const struct mode *mode)
{
	struct dumb dumb = { .width = mode->width, .height = mode->height };
	uint32_t *pixels = make(&dumb);

	for (uint32_t y = 0; y < dumb.height; y++)
		for (uint32_t x = 0; x < dumb.width; x++)
			pixels[y * (dumb.pitch / 4) + x] = (x * 255 / (dumb.width - 1)) << 16 | (y * 255 / (dumb.height - 1)) << 8 | ((x ^ y) & 0xff);
	struct buffer buffer = {
		.width = dumb.width, .height = dumb.height, .pitch = dumb.pitch, .bits = 32, .depth = 24, .handle = dumb.handle,
	};
	call(ADD_BUFFER, &buffer, "add a buffer");
	struct screen shown = {
		.connectors = (uintptr_t)&connector, .connector_count = 1, .id = screen, .buffer = buffer.id, .is_set = 1, .mode = *mode,
	};
	call(SET_SCREEN, &shown, "set a mode");
	struct dirty all = { .buffer = buffer.id };
	/* A card that shows its memory as it is needs not be told. */
	ioctl(card, SHOW_CHANGES, &all);
}

static void show_cursor(void)
{
	struct dumb dumb = { .width = CURSOR_SIZE, .height = CURSOR_SIZE };
	uint32_t *pixels = make(&dumb);

	for (uint32_t at = 0; at < CURSOR_SIZE * CURSOR_SIZE; at++)
		pixels[at] = 0xff123456;
	struct cursor cursor = {
		.flags = 3, .screen = screen, .x = 100, .y = 50, .width = CURSOR_SIZE, .height = CURSOR_SIZE, .handle = dumb.handle,
	};
	call(CURSOR, &cursor, "show a cursor");
}

static void say_and_wait(const char *name)
{
	printf("shows %s\n", name);
	fflush(stdout);
	while (getchar() != '\n')
		;
}

int main(int count, char **arguments)
{
	card = open("/dev/dri/card0", O_RDWR);
	if (card < 0) {
		perror("/dev/dri/card0");
		return 1;
	}
	probe();
	if (count == 2 && !strcmp(arguments[1], "preferred")) {
		printf("%ux%u\n", modes[0].width, modes[0].height);
		return 0;
	}
	for (int at = 2; at < count; at++) {
		show(find(arguments[at]));
		if (!strcmp(arguments[1], "cursor"))
			show_cursor();
		say_and_wait(arguments[at]);
	}
	return 0;
}
