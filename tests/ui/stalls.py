"""What the benchmark `stalls` measures: the application beside workers that misbehave in every way."""

from misbehaving import run_beside

run_beside("hangs", "slow", "floods", "babbles")
