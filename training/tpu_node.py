"""Reaching a TPU: by name through the Cloud TPU API, by gRPC address, or on this very machine.

Whatever cannot be reached raises TPUNotReachable within a deadline. TensorFlow itself waits for
minutes on an address that nobody answers, so a server has to greet first, and the waits without a
time limit of their own are done in a daemon thread, which can be left behind: the process still
ends at once.
"""
import contextlib
import glob
import os
import pathlib
import re
import socket
import threading
import time

import tensorflow as tf

DEFAULT_PORT = 8470  # of a TPU node's gRPC server
EMPTY_SETTINGS_FRAME = b"\0\0\0\x04\0\0\0\0\0"  # of HTTP/2
GREETING_SECONDS = 10  # within one cloud zone it takes milliseconds
HEALTH_POLL_SECONDS = 10

# States of the Cloud TPU API (v1, enum State) from which a node gets ready by itself.
STATES_ON_THE_WAY = {"READY", "CREATING", "STARTING", "RESTARTING", "REIMAGING", "REPAIRING",
                     "UNHIDING"}

# PCI identity of TPU chips, v2 to 7x, as listed in JAX's hardware_utils.py.
GOOGLE_PCI_VENDOR = "0x1ae0"
TPU_PCI_DEVICES = {"0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076"}


class TPUNotReachable(RuntimeError):
    """The TPU that was asked for cannot be used; the message names it, the cause and the remedy."""


def not_reachable(tpu, cause, remedy):
    """The TPUNotReachable for `tpu`, as the user named it, because of the exception `cause`."""
    first_line = str(cause).partition("\n")[0]  # TensorFlow's go on for many
    return TPUNotReachable(f"TPU {tpu!r} cannot be reached: {first_line}. {remedy}, or pass "
                           "--tpu_ip_or_name=None to train on this machine's GPUs (or CPU).")


def find_tpu(environment=os.environ, root="/"):
    """What `auto` means on this machine: 'local', a name, an address, or None where no TPU is.

    Chips of this machine come before the environment: on a TPU VM, people set TPU_NAME to the name
    of that very machine, for gcloud's sake.

    environment: mapping of environment variables; root: where /dev and /sys are found.
    """
    # Other makers' accelerators are /dev/accel/accelN; a TPU's are /dev/accelN.
    if glob.glob(os.path.join(root, "dev/accel[0-9]*")):
        return "local"
    for vendor in pathlib.Path(root, "sys/bus/pci/devices").glob("*/vendor"):
        if (vendor.read_text().strip() == GOOGLE_PCI_VENDOR
                and vendor.with_name("device").read_text().strip() in TPU_PCI_DEVICES):
            return "local"
    return environment.get("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS") or environment.get("TPU_NAME") or None


def parse_addresses(text):
    """[(host, port), ...] of 'grpc://ip:port', 'ip:port' or 'ip', several joined by commas.

    None when `text` is a TPU's name, which has neither dot nor colon.

    Raises ValueError for a port that is not a number, or another protocol than grpc.
    """
    if not re.search(r"[.:,/]", text):
        return None
    addresses = []
    for part in text.split(","):
        match = re.fullmatch(r"(?:grpc://)?([^:/]+)(?::(\d{1,5}))?", part.strip())
        if not match:
            raise ValueError(f"--tpu_ip_or_name: {text!r} is not an address; give grpc://IP:PORT "
                             f"(port {DEFAULT_PORT} when left out), or a TPU's name.")
        addresses.append((match[1], int(match[2] or DEFAULT_PORT)))
    return addresses


def within_deadline(function, seconds):
    """Returns function(), or raises TimeoutError after `seconds`, leaving its thread behind."""
    outcome = {}

    def run():
        try:
            outcome["value"] = function()
        except Exception as error:  # handed to the caller below
            outcome["error"] = error

    # A daemon thread, not an executor's: the interpreter joins those before it exits.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in outcome:
        raise outcome["error"]
    if "value" not in outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return outcome["value"]


@contextlib.contextmanager
def _socket_timeout(seconds):
    """Gives the sockets that the Cloud TPU client opens without a timeout one of `seconds`."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def prepare_node(name, *, version=None, project=None, zone=None, deadline_seconds=40,
                 healthy_seconds=1200, client_factory=None):
    """Waits until the TPU node `name` is healthy and runs TensorFlow `version`.

    A node on its way (being created, restarting) is waited for; then its version is set, which
    restarts its server if that ran another; then it is waited for again.

    version: defaults to this TensorFlow's own, since the two must agree.
    project, zone: None asks the metadata server, which only machines of Google Cloud have.
    deadline_seconds: of looking the name up, and of any single request.
    healthy_seconds: of each wait for a node that is on its way.
    client_factory: stands in for cloud_tpu_client.Client.

    Returns ([(host, port), ...], accelerator type, such as 'v3-8').
    Raises TPUNotReachable, with the client's exception as its cause.
    """
    if client_factory is None:
        from cloud_tpu_client import Client as client_factory  # its import defines absl flags

    def look_up():
        client = client_factory(name, project=project, zone=zone)
        return client, client.state()

    try:
        client, state = within_deadline(look_up, deadline_seconds)
        if state not in STATES_ON_THE_WAY:
            raise RuntimeError(f"its state is {state}")
        # A timeout also ends the client's thread pool, which Python joins before it exits.
        with _socket_timeout(deadline_seconds):
            client.wait_for_healthy(timeout_s=healthy_seconds, interval=HEALTH_POLL_SECONDS)
            client.configure_tpu_version(version or tf.__version__, restart_type="ifNeeded")
            client.wait_for_healthy(timeout_s=healthy_seconds, interval=HEALTH_POLL_SECONDS)
            addresses = [(endpoint["ipAddress"], int(endpoint["port"]))
                         for endpoint in client.network_endpoints()]
            return addresses, client.accelerator_type()
    except Exception as error:  # the client raises plain Exception
        raise not_reachable(
            name, error, f"Check the name, --tpu_project (given: {project}), --tpu_zone (given: "
            f"{zone}) and --tpu_version (given: {version}); project and zone can be left out only "
            "on a machine of Google Cloud") from error


def _greet(host, port, seconds):
    """Returns when a gRPC server at host:port says hello; raises OSError if it does not in time.

    gRPC speaks HTTP/2, in which each side opens with a SETTINGS frame (RFC 9113, 3.4 and 4.1).
    """
    with socket.create_connection((host, port), timeout=seconds) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EMPTY_SETTINGS_FRAME)
        header = connection.recv(len(EMPTY_SETTINGS_FRAME))
    if header[3:4] != EMPTY_SETTINGS_FRAME[3:4]:  # the byte that tells the kind of frame
        raise ConnectionError(f"what listens at {host}:{port} is not a gRPC server")


def _wait_for_server(host, port, seconds, patient):
    """As _greet; patient: a server that turns the call down is called again while time is left."""
    end = time.monotonic() + seconds
    while True:
        try:
            return _greet(host, port, min(GREETING_SECONDS, seconds))
        except ConnectionError:
            if not patient or time.monotonic() + 1 > end:
                raise
            time.sleep(1)


def connect(tpu, addresses, *, deadline_seconds=40, patient=False):
    """Connects TensorFlow to the TPU hosts at [(host, port), ...]; returns the cluster resolver.

    tpu: as the user named it, for the error. patient: the servers may still be starting.

    Raises TPUNotReachable within deadline_seconds, and the process should end then: an attempt
    that was left behind goes on inside TensorFlow. The deadline holds for a server that greets and
    then falls silent only if TensorFlow has not used its devices before: later, it connects with
    Python's interpreter lock held, and no thread gets to look at the clock.
    """
    def open_connection():
        for host, port in addresses:
            _wait_for_server(host, port, deadline_seconds, patient)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            ",".join(f"grpc://{host}:{port}" for host, port in addresses))
        tf.config.experimental_connect_to_cluster(resolver, make_master_device_default=False)
        tf.config.list_logical_devices()  # a first use of TensorFlow connects only here
        return resolver

    try:
        resolver = within_deadline(open_connection, deadline_seconds)
    except (OSError, tf.errors.OpError) as error:
        raise not_reachable(tpu, error, "Check the address, and that the TPU runs and lets this "
                                        "machine in") from error
    # The default device is a property of the thread, so it is set here and not in the one above.
    tf.device("/job:worker/replica:0/task:0").__enter__()
    return resolver


def initialise(tpu, resolver):
    """The TPUStrategy over all cores of the resolver's TPU; TPUNotReachable if there is none."""
    try:
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise not_reachable(
            tpu, error, "Check that it is a TPU, that no other process holds it, and that this "
            "machine's TensorFlow has TPU support (requirements-tpu.txt)") from error
