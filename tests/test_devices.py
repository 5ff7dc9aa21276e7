"""Choice of devices. No TPU is at hand: fakes, local servers and loopback addresses stand in."""
import contextlib
import functools
import http.server
import pathlib
import socket
import subprocess
import sys
import textwrap
import threading
import time
import types
import urllib.error

import pytest
import tensorflow as tf

from training import devices, precision, tpu_node
from training.devices import TPUNotReachable, choose_strategy, device_kind

LONGEST_SECONDS = 15  # an answer about a TPU that is not there, in this process; usually 1 or 2


@contextlib.contextmanager
def server_that_says(words):
    """(host, port) of a server that greets every connection with `words` and then is silent."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def accept():
        with contextlib.suppress(OSError):  # the end of the test closes the listener
            while True:
                accepted.append(listener.accept()[0])
                accepted[-1].sendall(words)
    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    for connection in [listener, *accepted]:
        connection.close()


@pytest.fixture
def silent_server():
    """(host, port) of a server that accepts connections and never says a word."""
    with server_that_says(b"") as address:
        yield address


@pytest.fixture
def closed_port():
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return port


@pytest.fixture
def no_tpu(monkeypatch):
    """This machine seen without a TPU, whatever it has."""
    monkeypatch.setattr(tpu_node, "find_tpu", lambda: None)


def assert_not_reachable(tpu, *words, **options):
    """choose_strategy(tpu) must raise soon, naming the TPU and the remedy. Returns the error."""
    begun = time.monotonic()
    with pytest.raises(TPUNotReachable) as caught:
        choose_strategy(tpu, **options)
    assert time.monotonic() - begun < LONGEST_SECONDS
    for word in (repr(tpu), "--tpu_ip_or_name=None", *words):
        assert word in str(caught.value)
    return caught.value


# --- without a TPU

@pytest.mark.parametrize("asked", [None, "auto"])
def test_none_and_auto(asked, no_tpu, capsys):
    strategy = choose_strategy(asked)
    gpus = len(tf.config.list_physical_devices("GPU"))
    assert strategy.num_replicas_in_sync == max(gpus, 1)
    assert device_kind(strategy) == ("GPU" if gpus else "CPU")
    printed = capsys.readouterr().out
    assert printed.startswith("device: ") and printed.count("\n") == 1
    if not gpus:
        assert printed == "device: CPU\n"


def test_one_gpu_is_named(no_tpu, monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details",
                        lambda gpu: {"device_name": "Tesla V100", "compute_capability": (7, 0)})
    strategy = choose_strategy(None)
    assert strategy is tf.distribute.get_strategy()
    assert capsys.readouterr().out == "device: 1 GPU (Tesla V100)\n"
    assert device_kind(strategy) == "GPU"


@pytest.mark.parametrize("options, words", [
    ({"tpu_ip_or_name": "node-1", "cpu_replicas": 2}, "exclude each other"),
    ({"tpu_ip_or_name": None, "cpu_replicas": 0}, "1 or more"),
    ({"tpu_ip_or_name": ""}, "is empty"),
    ({"tpu_ip_or_name": "http://127.0.0.1"}, "is not an address"),
    ({"tpu_ip_or_name": "grpc://127.0.0.1:port"}, "is not an address")])
def test_arguments_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=words):
        choose_strategy(**options)


def test_splitting_the_cpu_too_late():
    tf.constant(1.0)  # sets up the devices
    with pytest.raises(RuntimeError, match="before anything else"):
        choose_strategy(None, cpu_replicas=7)


# --- finding and naming a TPU

def test_find_tpu(tmp_path):
    find = functools.partial(tpu_node.find_tpu, root=tmp_path)
    assert find({}) is None
    assert find({"TPU_NAME": "node-1"}) == "node-1"
    (tmp_path / "dev/accel").mkdir(parents=True)
    (tmp_path / "dev/accel/accel0").touch()  # another maker's accelerator
    for name, device in [("0000:00:04.0", "0x0042"), ("0000:00:05.0", "0x0063")]:
        assert find({}) is None  # 0x0042 is Google's network card
        folder = tmp_path / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text("0x1ae0\n")
        (folder / "device").write_text(device + "\n")
    assert find({"TPU_NAME": "node-1"}) == "local"


def test_find_tpu_by_its_device_file(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/accel0").touch()
    assert tpu_node.find_tpu({}, tmp_path) == "local"


def test_parse_addresses():
    assert tpu_node.parse_addresses("node-1") is None
    assert tpu_node.parse_addresses("grpc://10.0.0.2:8470") == [("10.0.0.2", 8470)]
    assert tpu_node.parse_addresses("10.0.0.2") == [("10.0.0.2", 8470)]
    assert tpu_node.parse_addresses("grpc://10.0.0.2:1,grpc://10.0.0.3:2") == [
        ("10.0.0.2", 1), ("10.0.0.3", 2)]


def test_auto_takes_the_tpu_or_fails(monkeypatch):
    """A TPU that `auto` found and that does not work is an error, not a reason for the CPU."""
    monkeypatch.setattr(tpu_node, "find_tpu", lambda: "local")
    with pytest.raises(TPUNotReachable, match="'local'.*requirements-tpu.txt"):
        choose_strategy("auto")


# --- addresses that do not answer

def test_local_without_chips():
    error = assert_not_reachable("local", "requirements-tpu.txt")
    assert isinstance(error.__cause__, tf.errors.OpError)


def test_closed_port(closed_port):
    error = assert_not_reachable(f"grpc://127.0.0.1:{closed_port}", "Connection refused")
    assert isinstance(error.__cause__, ConnectionRefusedError)


def test_black_hole():
    """A host that drops packets, played by a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        queued = [socket.socket() for _ in range(3)]
        for connection in queued:
            connection.setblocking(False)
            connection.connect_ex(address)
        error = assert_not_reachable("127.0.0.1:%d" % address[1], deadline_seconds=1)
        assert isinstance(error.__cause__, TimeoutError)
        for connection in queued:
            connection.close()


def test_silent_server(silent_server):
    tf.constant(1.0)  # TensorFlow in use: past this point it would wait with the lock held
    error = assert_not_reachable("grpc://%s:%d" % silent_server, deadline_seconds=1)
    assert isinstance(error.__cause__, TimeoutError)


def test_a_server_of_another_kind():
    with server_that_says(b"SSH-2.0-OpenSSH_9.2p1\r\n") as address:
        assert_not_reachable("grpc://%s:%d" % address, "is not a gRPC server")


def test_silence_after_the_greeting_ends_the_process():
    """The attempt left behind inside TensorFlow must not keep the process alive."""
    begun = time.monotonic()
    with server_that_says(tpu_node.EMPTY_SETTINGS_FRAME) as address:
        tpu = "grpc://%s:%d" % address
        done = run_python(f"""
            import time
            from training.devices import choose_strategy
            begun = time.monotonic()
            try:
                choose_strategy({tpu!r}, deadline_seconds=2)
            finally:
                print("waited", time.monotonic() - begun)
            """)
    assert done.returncode == 1
    assert f"TPUNotReachable: TPU '{tpu}' cannot be reached: no answer within 2 s" in done.stderr
    assert 2 <= float(done.stdout.split()[-1]) < 4
    assert time.monotonic() - begun < 50  # with TensorFlow's import, on a busy machine


def test_a_tensorflow_server_without_tpu():
    """Connecting works (a real server of TensorFlow answers), and what it lacks is said."""
    done = run_python("""
        import tensorflow as tf
        from training import tpu_node
        server = tf.distribute.Server({"worker": ["127.0.0.1:0"]}, job_name="worker", task_index=0)
        port = int(server.target.rsplit(":", 1)[1])
        resolver = tpu_node.connect("x", [("127.0.0.1", port)], deadline_seconds=20)
        print((tf.constant(1) + 1).device)
        tpu_node.initialise("grpc://somewhere", resolver)
        """)
    assert "/job:worker/replica:0/task:0" in done.stdout
    assert "TPU 'grpc://somewhere' cannot be reached: TPUs not found" in done.stderr
    assert done.returncode == 1


def run_python(code):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], text=True, timeout=60,
                          cwd=pathlib.Path(__file__).parents[1], capture_output=True)


# --- nodes known by name

class FakeClient:
    """Stands in for cloud_tpu_client.Client; writes its calls down."""

    def __init__(self, name, project=None, zone=None, state="CREATING", fail=None, port=1):
        self.calls = [("client", name, project, zone)]
        self._state, self._fail, self._port = state, fail, port

    def _call(self, *call):
        self.calls.append(call)
        if call[0] == self._fail:
            raise Exception(f"{self._fail} went wrong")

    def state(self):
        self._call("state")
        return self._state

    def wait_for_healthy(self, timeout_s, interval):
        self._call("wait_for_healthy")

    def configure_tpu_version(self, version, restart_type):
        self._call("configure_tpu_version", version, restart_type)

    def network_endpoints(self):
        self._call("network_endpoints")
        return [{"ipAddress": "127.0.0.1", "port": str(self._port)}]

    def accelerator_type(self):
        return "v3-8"


def factory(made, **settings):
    def make(name, project, zone):
        made.append(FakeClient(name, project, zone, **settings))
        return made[-1]
    return make


def test_named_node_is_waited_for_configured_and_waited_for(monkeypatch, capsys):
    connected, made = [], []
    monkeypatch.setattr(tpu_node, "connect", lambda *arguments, **more: connected.append(
        (*arguments, more["patient"])))
    monkeypatch.setattr(tpu_node, "initialise", lambda tpu, resolver: types.SimpleNamespace(
        num_replicas_in_sync=8, extended=types.SimpleNamespace(num_hosts=1)))
    choose_strategy("node-1", tpu_project="p", tpu_zone="z", client_factory=factory(made))
    assert made[0].calls == [
        ("client", "node-1", "p", "z"), ("state",), ("wait_for_healthy",),
        ("configure_tpu_version", tf.__version__, "ifNeeded"), ("wait_for_healthy",),
        ("network_endpoints",)]
    assert connected == [("node-1", [("127.0.0.1", 1)], True)]
    assert capsys.readouterr().out == "device: TPU v3-8 (node-1), 8 replicas on 1 host(s)\n"


def test_version_can_be_given():
    made = []
    tpu_node.prepare_node("node-1", version="2.20.0", client_factory=factory(made))
    assert ("configure_tpu_version", "2.20.0", "ifNeeded") in made[0].calls


@pytest.mark.parametrize("fail", ["state", "wait_for_healthy", "configure_tpu_version",
                                  "network_endpoints"])
def test_plain_exceptions_of_the_client_are_converted(fail):
    error = assert_not_reachable("node-1", f"{fail} went wrong", "--tpu_zone (given: z)",
                                 tpu_zone="z", client_factory=factory([], fail=fail))
    assert type(error.__cause__) is Exception


def test_a_node_that_will_not_get_ready_is_not_waited_for():
    made = []
    assert_not_reachable("node-1", "PREEMPTED", client_factory=factory(made, state="PREEMPTED"))
    assert made[0].calls[-1] == ("state",)


def test_named_node_whose_server_is_down(closed_port):
    assert_not_reachable("node-1", "Connection refused", deadline_seconds=1.5,
                         client_factory=factory([], port=closed_port))


def test_unknown_name_off_google_cloud(closed_port, monkeypatch):
    monkeypatch.setattr("cloud_tpu_client.client._GCE_METADATA_ENDPOINT",
                        f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("no_proxy", "*")
    error = assert_not_reachable("no-such-tpu", "project and zone can be left out only")
    assert isinstance(error.__cause__, urllib.error.URLError)


def test_metadata_server_that_never_answers(silent_server, monkeypatch):
    monkeypatch.setattr("cloud_tpu_client.client._GCE_METADATA_ENDPOINT",
                        "http://%s:%d" % silent_server)
    monkeypatch.setenv("no_proxy", "*")
    assert_not_reachable("no-such-tpu", "no answer within 1 s", deadline_seconds=1)


class FakeService:
    """The Cloud TPU API as the real client calls it; the node gets ready at the third look."""

    def __init__(self, ip):
        self.ip, self.looks = ip, 0

    def projects(self):
        return self

    locations = nodes = projects

    def get(self, name):
        assert name == "projects/p/locations/z/nodes/node-1"
        return self

    def execute(self):
        self.looks += 1
        ready = {"state": "READY", "health": "HEALTHY", "acceleratorType": "v2-8",
                 "networkEndpoints": [{"ipAddress": self.ip, "port": 8470}]}
        return ready if self.looks > 2 else {"state": "CREATING"}


def prepare_with_real_client(ip, monkeypatch, **options):
    from cloud_tpu_client import Client
    monkeypatch.setattr(tpu_node, "HEALTH_POLL_SECONDS", 0.05)
    monkeypatch.setenv("no_proxy", "*")
    return tpu_node.prepare_node("node-1", project="p", zone="z", **options,
                                 client_factory=functools.partial(Client, service=FakeService(ip)))


@pytest.mark.parametrize("status", [200, 404])
def test_real_client_asks_the_node_for_the_version(status, monkeypatch):
    """The client's port is fixed, so each test takes a loopback address of its own."""
    ip, asked = f"127.84.75.{status % 100 + 1}", []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer((ip, 8475), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            if status == 200:
                assert prepare_with_real_client(ip, monkeypatch, version="2.20.0") == (
                    [(ip, 8470)], "v2-8")
            else:
                with pytest.raises(TPUNotReachable, match="2.20.0 is not available"):
                    prepare_with_real_client(ip, monkeypatch, version="2.20.0")
        finally:
            server.shutdown()
    assert asked == ["/requestversion/2.20.0?restartType=ifNeeded"]


def test_node_that_never_answers_about_its_version(monkeypatch):
    ip = "127.84.75.9"
    begun = time.monotonic()
    with socket.create_server((ip, 8475)):
        with pytest.raises(TPUNotReachable, match="timed out"):
            prepare_with_real_client(ip, monkeypatch, deadline_seconds=0.5)
    assert time.monotonic() - begun < LONGEST_SECONDS
    assert socket.getdefaulttimeout() is None


# --- precision

@pytest.mark.parametrize("name, kind, capabilities, policy", [
    ("auto", "TPU", [], "mixed_bfloat16"),
    ("auto", "CPU", [], "float32"),
    ("auto", "GPU", [(7, 0), (9, 0)], "mixed_float16"),
    ("auto", "GPU", [(7, 0), (6, 1)], "float32"),
    ("auto", "GPU", [None], "float32"),
    (None, "GPU", [(7, 0)], "float32"),
    (None, "TPU", [], "float32"),
    ("mixed_bfloat16", "CPU", [], "mixed_bfloat16"),
    ("mixed_float16", "GPU", [(6, 0)], "mixed_float16")])
def test_choose_policy(name, kind, capabilities, policy):
    assert precision.choose_policy(name, kind, capabilities) == policy


def test_precision_refuses():
    with pytest.raises(ValueError, match="mixed_bfloat16 or auto"):
        precision.choose_policy("mixed_float16", "TPU")
    with pytest.raises(ValueError, match="mixed_float32 is unknown; give one of auto, mixed_"):
        precision.choose_policy("mixed_float32", "CPU")


def test_set_mixed_precision():
    try:
        assert precision.set_mixed_precision("mixed_bfloat16",
                                             tf.distribute.get_strategy()) == "mixed_bfloat16"
        assert tf.keras.layers.Dense(1).compute_dtype == "bfloat16"
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert devices.device_kind(tf.distribute.get_strategy()) in ("CPU", "GPU")
