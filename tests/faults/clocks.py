"""A time of day that jumps by hours, there and back, all along.

Intervals are measured by another clock, which never jumps.
"""

from faults.runs import Case

_JUMPING_CLOCK = """
import time
real, calls = time.time, [0]
def jumping():
    calls[0] += 1
    print("the clock jumps", flush=True) if calls[0] == 50 else None
    return real() + (-7200 if calls[0] // 50 % 2 else 86400)
time.time = jumping
"""


def jump(case: Case) -> None:
    """The clock that Python reads jumps at every fiftieth look at it."""
    (case.folder / "sitecustomize.py").write_text(_JUMPING_CLOCK)
    environment = {"PYTHONPATH": str(case.folder)}
    with case.start("--checkpoint_every_minutes=0.05", environment=environment) as process:
        assert "the clock jumps" in process.ended(0)
    case.assert_goes_on()
