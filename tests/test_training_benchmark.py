"""The benchmark of the training step: it runs, and its figures are what they say they are."""
import numpy as np
import pytest

from benchmarks import training_step
from tests.test_input_benchmark import rows_of

QUICK = ["--backbones=wide_resnet10_2", "--size=32", "--batch_size=2", "--steps=1", "--repeats=2"]


def spread_of(cell):
    """(median, least, most) of "2.0 (1.0..3.0)"."""
    return [float(x) for x in cell.replace(",", "").replace("(", "").replace(")", "").replace(
        "..", " ").split()]


@pytest.mark.slow
def test_a_network_prints_its_speed_and_its_share_of_the_limits(capsys):
    training_step.main([*QUICK, "--section=peer", "--peers=off"])
    text = capsys.readouterr().out
    assert "wide_resnet10_2, 32 px, batches of 2, float32" in text and "0.43 M parameters" in text
    images, ratio, speed, of_matmul, of_conv = rows_of(text, "")["ours"]
    assert ratio == ""
    # A step of two images: 3 x 0.0892 GFLOPs each, less the gradient of the images.
    assert float(speed) == pytest.approx(spread_of(images)[0] * 0.26678, rel=0.1, abs=0.06)
    for share in (of_matmul, of_conv):
        middle, low, high = spread_of(share)
        assert low <= middle <= high < 2


@pytest.mark.slow
def test_the_loop_takes_the_steps_of_the_bare_step(monkeypatch):
    options = training_step.small(training_step.parse(["--repeats=2", "--steps=1"]))
    built, build = [], training_step.build
    monkeypatch.setattr(training_step, "build", lambda *a: built.append(build(*a)) or built[0])
    name, alone, added, ratio = training_step.overhead(training_step.SMALL, options)
    assert name == "wide_resnet10_2, 4 of 32 px" and options.steps == 10
    assert spread_of(alone)[1] > 0 and spread_of(ratio)[1] > 0
    (model, _), = built
    assert model.optimizer.iterations.numpy() == 3 * 2 * 10, "both are warmed, and take two rounds"


def seconds(step, matmul, conv):
    return {"step": np.array(step), "matmul": np.array(matmul), "conv": np.array(conv)}


def test_ratios_are_of_the_same_round(capsys):
    flops = training_step.LIMIT_FLOPS["matmul"]
    training_step.print_speeds({"ours": seconds([1.0, 4.0], [0.5, 1.0], [1, 1]),
                                "PyTorch": seconds([3.0, 4.0], [3.0, 4.0], [1, 1])}, flops, 12)
    rows = rows_of(capsys.readouterr().out, "")
    assert rows["ours"][:2] == ["7.5 (3.0..12.0)", ""]
    assert rows["PyTorch"][:2] == ["3.5 (3.0..4.0)", "2.00 (1.00..3.00)"]
    assert rows["ours"][3] == "0.38 (0.25..0.50)" and rows["PyTorch"][3] == "1.00 (1.00..1.00)"
    assert float(rows["ours"][2].replace(",", "")) == round(np.median([flops, flops / 4]) / 1e9, 1)


class Told:
    """In a process's place."""
    turns, counts = [], {}

    def __init__(self, library, name, arguments):
        self.library, self.facts = library, [self.counts[library], 1e9]

    def seconds(self, kind, times):
        self.turns.append((self.library, kind, times))
        return 1.0

    def close(self):
        self.turns.append(self.library)


def test_libraries_take_turns(monkeypatch, capsys):
    monkeypatch.setattr(training_step, "Worker", Told)
    monkeypatch.setattr(Told, "counts", {"ours": 7, "PyTorch": 7})
    monkeypatch.setattr(Told, "turns", [])
    options = training_step.parse(["--repeats=2", "--steps=3"])
    training_step.compare("resnet34", ["ours", "PyTorch"], options, [])
    steps = [turn[0] for turn in Told.turns if turn[1:] == ("step", 3)]
    assert steps == ["ours", "PyTorch"] * 2 and Told.turns[-2:] == ["ours", "PyTorch"]
    assert rows_of(capsys.readouterr().out, "")["PyTorch"][0] == "32.0 (32.0..32.0)"


def test_networks_that_differ_are_refused(monkeypatch):
    monkeypatch.setattr(training_step, "Worker", Told)
    monkeypatch.setattr(Told, "counts", {"ours": 7, "PyTorch": 8})
    with pytest.raises(RuntimeError, match="not the same network"):
        training_step.compare("resnet34", ["ours", "PyTorch"], training_step.parse([]), [])


def test_a_process_that_ends_is_an_error():
    with pytest.raises(RuntimeError, match="ended"):
        training_step.Worker("ours", "resnet34", ["--size=none"])


def test_the_peer_is_the_published_resnet50():
    pytest.importorskip("torch")
    from benchmarks.peer_resnet import count_params, resnet
    assert count_params(resnet("resnet50", 1000)) == 25_636_712  # keras.applications says so


def test_the_table_of_overheads_and_the_absent_peer(monkeypatch, capsys):
    monkeypatch.setattr(training_step, "overhead", lambda name, o: [f"{name} {o.size}", "1", "2", "3"])
    monkeypatch.setattr(training_step, "compare", lambda name, libraries, *_: print(libraries))
    monkeypatch.setattr(training_step.importlib.util, "find_spec", lambda name: None)
    training_step.main(["--backbones=resnet34"])
    text = capsys.readouterr().out
    assert "['ours']" in text and "left out: PyTorch is not installed" in text
    assert list(rows_of(text, "")) == ["resnet34 112", "wide_resnet10_2 32"]
