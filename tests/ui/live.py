"""Workers that hang, answer slowly, tell without end, and die: whatever they do, every page can be turned to, and the list says what
has become of them."""

from misbehaving import run_beside

run_beside("hangs", "slow", "tells")
