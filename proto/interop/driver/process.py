"""A child process with a log file, that ends when it is told to, and always before the driver does."""
import atexit
import os
import signal
import subprocess
import sys
import time

_RUNNING = set()


class Child:
    """One server or client process, leader of a process group of its own."""

    def __init__(self, name, command, log_path, env=None, cwd=None, pipes=False):
        self.name = name
        self.command = [str(part) for part in command]
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        pipe = subprocess.PIPE if pipes else None
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=pipe or subprocess.DEVNULL, stdout=pipe or log, stderr=log,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True, text=pipes or None)
        _RUNNING.add(self)

    def is_running(self):
        return self.process.poll() is None

    def tail(self, lines=15):
        """The last lines of its log, for a failure's report."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def end(self, how=signal.SIGTERM, patience_s=15.0):
        """Ends it, by `how` first and by SIGKILL when that is not heard."""
        for signal_number, patience in ((how, patience_s), (signal.SIGKILL, 5.0)):
            if not self.is_running():
                break
            self._signal(signal_number)
            self._wait(patience)
        _RUNNING.discard(self)

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def _wait(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass


class Hopeless(Exception):
    """Waiting longer will not help."""


def wait_until(what, condition, seconds, step_s=0.1):
    """Asks `condition` again and again; what it raises counts as "not yet"."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
        except Hopeless:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told when time is up
            last = error
        time.sleep(step_s)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s" + (f" (last: {last})" if last else ""))


def end_with_signals():
    """A driver that is told to stop ends its processes too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@atexit.register
def end_all():
    """No process outlives the driver."""
    for child in list(_RUNNING):
        child.end(signal.SIGKILL, 1.0)
