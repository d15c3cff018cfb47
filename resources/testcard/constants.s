# What several files name. A constant has to be known before it is used: what the assembler does not know it takes for an
# address.

.set COM1, 0x3f8

# What the screen shows.
.set CARD_NONE, 0                       # what the screen shows: a plain colour or a storm,
.set CARD_GRAPHICS, 1                   # the card,
.set CARD_TEXT, 2                       # or the card in text mode

# Moving pictures.
.set STORM_NONE, 0
.set STORM_PLASMA, 1                    # every pixel changes, smoothly
.set STORM_NOISE, 2                     # every pixel changes, at random: nothing compresses it
.set STORM_SCROLL, 3                    # lines of text that move up
.set STORM_WINDOW, 4                    # a window that moves over a plain background
.set STORM_SPIN, 5                      # a busy processor and a still screen

# Colours.
.set BLACK, 0x000000
.set WHITE, 0xffffff
.set GREY, 0x9a9996
.set INK, 0x171719                      # almost black: behind text
.set PAPER, 0x2e3047                    # behind the grid
.set LINES, 0x5a5f80                    # the grid
.set ACCENT, 0xffa348
.set TYPED, 0x8ff0a4

# Characters.
.set CARRIAGE_RETURN, 13
.set NEWLINE, 10
.set BACKSPACE, 8
.set DELETE, 127
