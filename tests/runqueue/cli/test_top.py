"""`runqueue top`: one picture, the live one at a real terminal, and what it says of trouble."""

import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest
from rich.console import Console

from lab.valkeys import start_valkey
from runqueue.cli.top import command
from runqueue.cli.top.render import picture
from runqueue.cli.top.snapshot import TopView, rate
from runqueue.records.health import HealthLevel, health_of
from runqueue.records.job import JobState
from runqueue.records.waits import Wait
from runqueue.store.groups import Group
from tests.figures import stats
from tests.runqueue.cli.commanding import Desk, batch_of, line, ready

_SECONDS = 30.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
_ROOT = Path(__file__).parents[3]


class Terminal:
    """A command at a pseudo-terminal of 80 by 24, and what it wrote so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process = process
        self.written = ""
        self._master = master

    def read(self) -> None:
        """Take in what was written since, as far as it is there within a moment."""
        try:
            self.written += os.read(self._master, 65_536).decode(errors="replace")
        except OSError:  # the other end is closed
            return

    def until(self, told: Callable[[str], bool]) -> str:
        """Read on until it has told something; returns that without what steers a terminal."""
        give_up = time.monotonic() + _SECONDS
        while not told(plain := _ESCAPES.sub("", self.written)):
            assert time.monotonic() < give_up, plain
            self.read()
        return plain


@contextmanager
def terminal(url: str, *arguments: str) -> Iterator[Terminal]:
    """Run a command of runqueue at a terminal."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environ = {**os.environ, "RUNQUEUE_REDIS_URL": url, "TERM": "xterm", "PYTHONPATH": str(_ROOT)}
    environ = {name: value for name, value in environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "runqueue.cli", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environ,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for rates that mean something."""
    monkeypatch.setattr(command, "ONCE_SECONDS", 0.1)


def test_rates_are_those_of_some_seconds_not_of_the_last_burst(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts = [0, 0, 0, 40, 40, 40, 80, 80, 80, 120]
    looks = iter(
        TopView(2.0 * n, {"default": stats(totals={"ended:completed": ended})})
        for n, ended in enumerate(bursts)
    )
    monkeypatch.setattr(command, "take_snapshot", lambda _: next(looks))
    monkeypatch.setenv("RUNQUEUE_REDIS_URL", desk.url)
    shown = []
    screen = command.Screen(desk.queue, desk.url)
    console = Console(width=80)
    for _ in bursts:
        screen.poll()
        with console.capture() as capture:
            console.print(screen.shown())
        shown.append(re.findall(r"done (\S+)/s", capture.get())[0])

    # Of all that was seen at first, then of ten seconds: 40 or 80 jobs each.
    assert shown == ["?", "0.0", "0.0", "6.7", "5.0", "4.0", "8.0", "8.0", "4.0", "8.0"]


def test_one_picture_tells_figures_rates_groups_batches_and_workers(desk: Desk) -> None:
    batch = batch_of(desk, line("a", group="shop-a"), line("b", group="shop-b"), line("c"))
    desk.queue.set_group("shop-a", max_concurrent=3)
    desk.claim()
    ready(desk, line("d"))

    said = desk.run("top", "--once").stdout

    assert re.search(r"jobs +scheduled 0  ready 1  submitting 3  running 0", said), said
    assert re.search(r"rates +in \d+\.\d/s  claimed \d+\.\d/s  back", said)
    assert re.search(r"shop-a +default +1 +3", said)
    assert batch in said
    assert re.search(r"test +default +3 +\d+ s", said), said
    assert "account default: submitting" in said


def test_a_batch_of_which_jobs_wait_in_a_paused_group_says_so(desk: Desk) -> None:
    batch_of(desk, line("a", group="shop"))
    desk.queue.set_group("shop", paused=True)

    assert "in_progress, waits for paused group shop" in desk.run("top", "--once").stdout


def test_what_holds_an_account_is_the_line_below_its_name(desk: Desk) -> None:
    desk.claim()
    desk.client.hset(
        "runqueue:{default}:meta",
        mapping={"hold_until": str(2**52), "hold_reason": "the key\x1b[2J is wrong"},
    )

    said = desk.run("top", "--once").stdout

    assert "nothing is submitted until `runqueue resume`: the key�[2J is wrong" in said


def test_a_queue_without_workers_says_so(desk: Desk) -> None:
    ready(desk, line("a"))

    assert "no worker process serves this account: start one" in desk.run("top", "--once").stdout


def test_a_redis_that_is_away_from_the_start_is_an_error(desk: Desk) -> None:
    desk.environ["RUNQUEUE_REDIS_URL"] = "redis://127.0.0.1:1/0"

    result = desk.run("top", "--once")

    assert result.exit_code == 4
    assert "127.0.0.1:1" in result.stderr


def test_the_live_picture_changes_and_ctrl_c_leaves_the_terminal_as_it_was(desk: Desk) -> None:
    with terminal(desk.url, "top", "--every", "0.2") as shown:
        shown.until(lambda plain: "ready 0" in plain)
        ready(desk, line("a"), line("b"))
        shown.until(lambda plain: "ready 2" in plain)

        shown.process.send_signal(signal.SIGINT)
        shown.until(lambda _: shown.process.poll() is not None)
        shown.read()

    assert shown.process.returncode == 0
    assert "Traceback" not in shown.written
    # The other screen is left, and the cursor is there again.
    assert shown.written.rindex("\x1b[?1049l") > shown.written.rindex("\x1b[?1049h")
    assert shown.written.rindex("\x1b[?25h") > shown.written.rindex("\x1b[?25l")


def test_while_redis_is_away_the_figures_stay_and_it_goes_on_by_itself(tmp_path: Path) -> None:
    server = start_valkey(tmp_path)
    url = f"redis://127.0.0.1:{server.port}/0"
    port = server.port
    with terminal(url, "top", "--every", "0.2") as shown:
        shown.until(lambda plain: "ready 0" in plain)
        server.stop()
        shown.until(lambda plain: "figures of" in plain)

        again = start_valkey(tmp_path, port)
        try:
            mark = len(shown.written)
            shown.until(lambda _: "(Ctrl-C ends)" in _ESCAPES.sub("", shown.written[mark:]))
        finally:
            again.stop()
        assert shown.process.poll() is None


_PAUSED = (Wait("group_paused", "a", needs_person=True, words="a is paused"),)


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({}, HealthLevel.GOOD, "submitting: up to 2 a second"),
        ({"hold_reason": "HTTP 401"}, HealthLevel.STOPPED, "UTC: HTTP 401"),
        (
            {"hold_reason": "HTTP 401", "hold_seconds": 1e9},
            HealthLevel.STOPPED,
            "until you resume it",
        ),
        ({"hold_reason": "paused: by", "paused": True}, HealthLevel.STOPPED, "paused: by"),
        ({"processes": 0}, HealthLevel.STOPPED, "no worker process"),
        ({"processes": 0, "states": {}}, HealthLevel.BUSY, "nothing to submit: no worker"),
        ({"states": {}, "live": 0}, HealthLevel.GOOD, "no job is ready"),
        ({"states": {JobState.SCHEDULED: 2}, "live": 0}, HealthLevel.GOOD, "2 are scheduled"),
        ({"states": {JobState.RUNNING: 2}, "live": 2}, HealthLevel.GOOD, "2 are in flight"),
        ({"live": 8, "orphans_live": 2}, HealthLevel.GOOD, "all 10 slots"),
        (
            {"live": 10, "states": {JobState.READY: 1, JobState.UNCONFIRMED: 5}},
            HealthLevel.BUSY,
            "10 slots are taken, 5 by unconfirmed jobs",
        ),
        (
            {"live": 10, "reads_failing_seconds": 40.0, "reads_why": "HTTP 403"},
            HealthLevel.STOPPED,
            "runs are not followed: Skyvern has answered no read for 40 s (HTTP 403)",
        ),
        (
            {"states": {JobState.RUNNING: 2}, "reads_failing_seconds": 40.0, "reads_why": "x"},
            HealthLevel.STOPPED,
            "not followed",
        ),
        (
            {"reads_failing_seconds": 40.0, "reads_why": "no answer"},
            HealthLevel.BUSY,
            "submitting, and runs are not followed",
        ),
        (
            {"reads_failing_seconds": 29.0, "reads_why": "x"},
            HealthLevel.GOOD,
            "submitting: up to 2",
        ),
        ({"in_line": {}}, HealthLevel.BUSY, "wait for their batches or groups"),
        ({"in_line": {}, "waited_for": 1}, HealthLevel.BUSY, "wait for 1 key or budget, or"),
        ({"in_line": {}, "jobs_wait_for": _PAUSED}, HealthLevel.STOPPED, "not submitting: a is"),
        ({"pace": 0.5}, HealthLevel.BUSY, "429: 0.5 submissions"),
        ({"permits": {"submission": 0}}, HealthLevel.GOOD, "at its limit of 2 a second"),
        ({"full_pace": 1.4}, HealthLevel.GOOD, "up to 1.4 a second (70 % of 10 calls)"),
        ({"limits": {}, "full_pace": 0.0}, HealthLevel.GOOD, "without a limit"),
        ({"permits": {"request": 0}}, HealthLevel.BUSY, "calls are at their limit of 10"),
    ],
)
def test_the_health_line_says_whether_it_submits_and_if_not_why(
    changed: dict[str, object], level: HealthLevel, words: str
) -> None:
    found = health_of(stats(**changed))

    assert found.level is level
    assert words in str(found)


@pytest.mark.parametrize(
    ("rate", "silent", "level"),
    [
        (2.0, 44, HealthLevel.GOOD),
        (2.0, 46, HealthLevel.STOPPED),
        (0.0, 46, HealthLevel.STOPPED),
        (1 / 300, 300, HealthLevel.GOOD),
        (1 / 300, 601, HealthLevel.STOPPED),
    ],
)
def test_silence_is_amiss_when_a_limit_would_have_let_two_jobs_go_meanwhile(
    rate: float, silent: float, level: HealthLevel
) -> None:
    assert health_of(stats(full_pace=rate), silent).level is level


@pytest.mark.parametrize(
    ("kind", "seconds", "may_be"),
    [("account", 60.0, True), ("redis", 7.0, False), ("person", 1e9, True)],
)
def test_any_hold_may_be_ended_but_the_one_that_finds_out_what_redis_lost(
    kind: str, seconds: float, may_be: bool
) -> None:
    found = health_of(stats(hold_reason="whatever", hold_kind=kind, hold_seconds=seconds))

    assert found.can_resume is may_be


def shown_of(view: TopView, trouble: str = "") -> str:
    """Return the display at 80 columns."""
    console = Console(width=80, markup=False)
    with console.capture() as capture:
        console.print(picture(None, view, where="redis://x/0", trouble=trouble))
    return capture.get()


def test_accounts_that_stopped_come_first() -> None:
    many = {f"a{n}": stats(account=f"a{n}") for n in range(8)}
    many["a7"] = stats(account="a7", hold_reason="HTTP 401", hold_seconds=60.0)

    assert "account a7: nothing is submitted" in shown_of(TopView(1.0, many)).split("\n")[2]


def test_the_limits_show_the_rate_that_submissions_may_go_at() -> None:
    assert "submissions 1.4/s (1 now)" in shown_of(TopView(1.0, {"default": stats(full_pace=1.4)}))


def test_every_state_and_pace_is_shown_whole_at_80_columns() -> None:
    many = stats(states=dict.fromkeys(JobState, 123_456), pace=1.25, orphans=1234)

    shown = " ".join(shown_of(TopView(1.0, {"default": many})).split())

    for state in JobState:
        assert f"{state.value} 123,456" in shown, state
    assert "pace 1.25/s (429)" in shown


def test_why_nothing_is_submitted_is_shown_whole_and_the_figures_below_it() -> None:
    why = "Redis was restarted, or another server took its place, and may have lost claims"
    held = stats(hold_reason=why, hold_seconds=76.0)
    endless = stats(hold_reason="why " * 2_000, hold_seconds=76.0)

    assert why in " ".join(shown_of(TopView(1.0, {"default": held})).split())
    lines = shown_of(TopView(1.0, {"default": endless})).split("\n")
    assert any(line.startswith("limits") for line in lines[:16])


def test_limits_that_were_set_live_are_shown_with_their_values() -> None:
    changed = stats(overridden={"burst_size": 40.0, "concurrent_runs": 40.0})

    shown = " ".join(shown_of(TopView(1.0, {"default": changed})).split())

    assert "set live: burst_size 40 set live: concurrent_runs 40" in shown


def test_groups_with_the_most_slots_come_first_below_everything_else() -> None:
    groups = [Group(f"group-{n}", "default", None, False, n, 1) for n in range(500)]

    lines = shown_of(TopView(0.0, {"default": stats()}, groups)).rstrip().split("\n")

    assert len(lines) > 500
    assert "group-499" in lines[-500]
    assert max(map(len, lines)) <= 80


def test_what_keeps_it_from_looking_is_shown_whole() -> None:
    trouble = (
        "figures of 12 s ago: the queue at redis://127.0.0.1:6379/0 cannot be reached: refused"
    )

    shown = shown_of(TopView(1.0, {"default": stats()}), trouble)

    assert trouble in " ".join(shown.split())


def test_a_rate_is_what_was_counted_between_two_snapshots_and_none_where_less_was() -> None:
    before = TopView(10.0, {"default": stats(totals={"ended:failed": 1, "ended:dead": 2})})
    now = TopView(12.0, {"default": stats(totals={"ended:failed": 5, "ended:dead": 2})})

    assert rate(before, now, "default", "ended:") == 2.0
    assert rate(before, now, "default", "ended:dead") == 0.0
    assert rate(now, before, "default", "ended:") is None
    assert rate(None, now, "default", "ended:") is None
    assert (
        rate(
            TopView(12.0, {"default": stats(totals={"claims": 9})}),
            TopView(13.0, now.stats),
            "default",
            "claims",
        )
        is None
    )
