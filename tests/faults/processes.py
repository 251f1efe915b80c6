"""Two processes on one run directory."""

from faults.runs import Case, assert_same, result


def start_a_second(case: Case) -> None:
    """The second process refuses, and leaves a lock that the next can take over from the dead."""
    with case.start() as first:
        first.wait_for(case.run_dir, "flags.cfg")
        with case.start() as second:
            printed = second.ended(2)
        assert "Another process trains in this run directory" in printed
        assert f'"pid": {first.pid}' in printed
        first.kill_now()
    assert f'"pid": {first.pid}' in (case.run_dir / ".lock").read_text()


def start_two_at_once(case: Case) -> None:
    """One of them refuses, the other trains."""
    with case.start() as first, case.start() as second:
        codes = {process.wait(): process for process in (first, second)}
        assert codes.keys() == {0, 2}, first.printed + second.printed
        assert "Another process trains in this run directory" in codes[2].ended(2)
    assert_same(result(case.run_dir), case.undisturbed.result)
