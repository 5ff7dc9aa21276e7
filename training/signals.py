"""SIGTERM and SIGINT: finish the step, keep the place, then end."""
import contextlib
import signal
import threading


class Interrupted(RuntimeError):
    """The training was asked to end, and its place is kept. `signal_number` says by what."""

    def __init__(self, text, signal_number):
        super().__init__(text)
        self.signal_number = signal_number


@contextlib.contextmanager
def noticed_signals():
    """Yields a list that gets the number of the first SIGTERM or SIGINT; a second SIGINT acts as ever.

    Signals come to the main thread alone: elsewhere they are left as they are.
    """
    noticed = []
    if threading.current_thread() is not threading.main_thread():
        yield noticed
        return

    def handler(number, frame):
        noticed.append(number)
        signal.signal(number, before[number])
        print(f"\n{signal.Signals(number).name}: keeping the place after this step", flush=True)

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield noticed
    finally:
        for number, old in before.items():
            signal.signal(number, old)
