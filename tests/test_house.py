"""The layout: imports go one way, the fixed files are there, help answers at once, recipes parse."""
import ast
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

import create_tfrecords
from arguments import number, on_off, or_none, output_name, values
from jobs.option_groups import JOBS
from jobs.options import parse

MAY_IMPORT = {
    "records": set(), "models": set(), "pipeline": {"records"}, "training": {"records", "pipeline", "models"},
    "inference": {"records", "models"}, "reports": {"records", "inference"},
    "jobs": {"records", "models", "pipeline", "training", "inference", "reports"}}
SHARED = {"arguments", "keras2"}  # of no room


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room):
    ours = set(MAY_IMPORT) | {"run", "create_tfrecords", "benchmarks", "tests"}
    for path in pathlib.Path(room).glob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            assert top not in ours or top in MAY_IMPORT[room] | {room}, f"{path} imports {name}"


def test_fixed_files_and_rooms_are_in_the_readme():
    readme = pathlib.Path("README.md").read_text()
    table = readme[readme.index("## Where things live"):]
    for name in ["run.py", "create_tfrecords.py", "run_training.sh", "run_inference.sh",
                 "run_tests.sh", "requirements.txt", "recipes", "scripts", "benchmarks", "tests",
                 *SHARED, *MAY_IMPORT]:
        assert re.search(rf"`{re.escape(name)}(/|\.py)?`", table), name
        assert list(pathlib.Path().glob(f"{name}*")), name


@pytest.mark.parametrize("program", ["run.py", "create_tfrecords.py"])
def test_help_answers_at_once_without_tensorflow(program):
    used = lambda: sum(os.times()[2:4])  # of processes that ended, so that others do not count
    before = used()
    done = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and used() - before < 0.5
    loaded = subprocess.run([sys.executable, "-X", "importtime", program, "--help"],
                            capture_output=True, text=True).stderr
    assert "tensorflow" not in loaded and "numpy" not in loaded


@pytest.mark.parametrize("program", ["run.py", "create_tfrecords.py"])
def test_every_option_says_its_default(program):
    text = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True).stdout
    options = re.split(r"\n  (?=--)", text)[1:]
    plain = {"--overwrite", "--skip_bad", "--data_dir", "--out_dir", "--val_split", "--group_regex",
             "--data_tfrec_dir", "--pack", "--split", "--val_fold", "--undersample_to", "--truth_csv", "--unread_csv",
             "--dim_pre", "--milestones_epochs", "--cpu_replicas", "--stem_stride", "--dry_run", "--lrs",
             "--losses_after_epochs", "--teacher", "--init_from", "--checkpoint_every_steps",
             "--images", "--new_tfrec_dir", "--pseudo", "--pseudo_tfrec_dir", "--members", "--rescorer",
             "--score_csv", "--tta_number"}  # no default
    for option in options:
        name = option.split()[0]
        assert name in plain or "default" in " ".join(option.split()), option


@pytest.mark.parametrize("recipe", sorted(map(str, pathlib.Path("recipes").rglob("*.args"))))
def test_recipes_parse_and_name_what_packs_them(recipe):
    text = pathlib.Path(recipe).read_text()
    assert text.startswith("# "), "the first lines say what it is"
    if pathlib.Path(recipe).name.startswith("pack"):
        create_tfrecords.parse([f"@{recipe}", "--data_dir=x", "--out_dir=y",
                                *(["--json=z"] if "--format=coco" in text else [])])
    else:
        options = parse([f"@{recipe}", "--data_tfrec_dir=x", "--job=train"])
        # Systems B, C and E say in their heads what store they expect.
        assert options.pack is None or options.pack.is_file()


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        parse(["--data_tfrec_dir=x", "--split=a", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("arguments, says", [
    (["--batchsize=4"], "unknown option --batchsize (did you mean --batch_size"),
    (["--batch=4"], "unknown option --batch"),  # no abbreviations
    (["--job=tran"], "'tran' is not one of preview, train, val, test, text_features, predict, grad_cam, "
                      "reidentify, detect, ensemble, "
                      "stack, products, fit_rescorer, pseudo, distribution, submit, score (did you mean train?)"),
    (["--head=softmaks"], "'softmaks' is not one of l2_softmax, softmax, arcface, cosface, sphereface, adacos (did you mean softmax?)"),
    (["--lr=-1"], "-1 must be above 0"), (["--batch_size=1.5"], "'1.5' is not a whole number"),
    (["--rotate=190"], "at most 180"), (["--nesterov=yes"], "'yes' is neither on nor off"),
    (["--schedule=multistep"], "needs --milestones_epochs"),
    (["--job=score"], "--job=score needs --truth_csv"),
    (["--val_fold=1"], "--split and --val_fold both"),
    (["--job=train,test", "--split=a"], "call run.py twice"),
    (["--split=None", "--job=val"], "--job=val needs --split"),
    (["--split=None", "--job=train", "--monitor=val_loss"], "needs --split"),
    (["--rrc_scale=0.9"], "'0.9' is not of the form LOW,HIGH"), (["--rrc_scale=0.9,0.5"], "LOW <="),
    (["--warmup_epochs=9", "--n_epochs=3"], "more than --n_epochs=3"),
    (["--milestones_epochs=9,3"], "must rise"), (["--std=0"], "--std must be above 0"),
    (["--min_lr=1"], "is more than --lr"), (["--decay_epochs=30"], "--decay_epochs=30 is more"),
    (["--warmup_epochs=20"], "leaves nothing"),
    (["--mixed_precision=float16"], "it is auto, mixed_float16"),
    (["--xla=on", "--cpu_replicas=2"], "does not work with several"),
    (["--unread_csv=x"], "--unread_csv is for --job=score"),
    (["--crops_per_page=2"], "--crops_per_page goes with --task=detect, not classify"),
    (["--job=detect"], "--job=detect does not go with --task=classify"),
    (["--monitor=val_f1"], "here it is one of val_accuracy"),
    (["--task=detect", "--mixup=0.2"], "--mixup goes with --task=classify or multilabel, not detect"),
    (["--icap_p=0.5"], "--icap_p needs --icap"),
    (["--icap=1", "--icap_p=0.8", "--mixup=1", "--mixup_p=0.3"], "add up to 1.1: at most 1"),
    (["--icap=1", "--icap_p=1", "--mixup=1"], "leaves nothing for --mixup"),
    (["--job=preview,val"], "--job=preview goes alone or with train"),
    (["--task=detect", "--hflip=0.5"], "--hflip goes with --task=classify or multilabel, not detect"),
    (["--task=detect", "--dim=100"], "multiple of 32"),
    (["--task=detect", "--classes=none", "--job=submit"], "--classes is none"),
    (["--task=detect", "--classes=none", "--class_weight=1"], "is of --classes=branch, not none"),
    (["--task=detect", "--gaussian_overlap=0.2"], "is of --centre_kernel=gaussian"),
    (["--task=detect", "--architecture=hourglass104", "--dim=160"], "a multiple of 128"),
    (["--task=detect", "--architecture=hourglass104", "--backbone=resnet50"], "is of --architecture="),
    (["--task=detect", "--scales=1,1"], "several different ones"),
    (["--job=train,score", "--truth_csv=x"], "call run.py twice"),
    (["--optimizer=adm"], "'adm' is not one of sgd, adam"), (["--optimizer=tfa:LAMP"], "did you mean LAMB"),
    (["--loss=bse"], "did you mean bce"), (["--loss=bce:0"], "weight"),
    (["--loss=lovasz_hinge", "--class_weights=inverse"], "lovasz_hinge"),
    (["--schedule=steps", "--milestones_epochs=2,3", "--lrs=0.1"], "1 for 2"), (["--lrs=0.1"], "is of --schedule=steps"),
    (["--schedule=multistep", "--milestones_epochs=2,3", "--lr_factor=1,2,3"], "3 numbers for 2"),
    (["--restart_mult=2"], "needs --restart_epochs"), (["--schedule=linear", "--restart_epochs=2"], "is of --schedule=cosine"),
    (["--batch_size=64", "--accumulate=5"], "not a multiple of --accumulate=5"), (["--ema=1"], "at most 0.999999"),
    (["--margin=0.3"], "--margin is of --head=arcface"), (["--head=adacos", "--temperature=0.1"], "not an option of --head=adacos"),
    (["--neck_width=3"], "needs --neck"), (["--drop_worst=0.1"], "need --losses_after_epochs"),
    (["--losses_after_epochs=1", "--drop_worst=0.1", "--undersample_to=9"], "do not go with --undersample_to"),
    (["--attention_weight=1"], "needs --teacher"), (["--resume=on", "--overwrite"], "exclude each other"),
    (["--job=val", "--dry_run"], "--dry_run is for --job=train"),
    (["--task=detect", "--teacher=x"], "--teacher goes with --task=classify, not detect")])
def test_impossible_options_are_refused(capsys, arguments, says):
    assert says in refusal(capsys, *arguments)


def test_recipe_is_overridden_by_what_follows(tmp_path):
    recipe = tmp_path / "r.args"
    recipe.write_text("# what it is\n--batch_size=32  # why\n--lr=0.5\n\n--weights=None\n")
    options = parse([f"@{recipe}", "--data_tfrec_dir=x", "--split=a", "--lr", "0.25"])
    assert (options.batch_size, options.lr, options.weights) == (32, 0.25, None)
    assert options.tpu_ip_or_name == "auto" and options.job == ["train", "val"]
    options = parse(["--data_tfrec_dir=x", "--split=a", "--tpu_ip_or_name=None", "--dim=None",
                     "--mixed_precision=None", "--n_channels=None", "--truth_csv=None"])
    assert {options.tpu_ip_or_name, options.dim, options.mixed_precision, options.n_channels,
            options.truth_csv} == {None}


def test_jobs_run_in_their_order():
    assert parse(["--data_tfrec_dir=x", "--split=a", "--dry_run"]).job == ["train"]
    options = parse(["--data_tfrec_dir=x", "--job=score,submit,test", "--truth_csv=t"])
    assert options.job == ["test", "submit", "score"] == [j for j in JOBS if j in options.job]


def test_argument_types():
    assert or_none(int)("None") is None and or_none(int)("3") == 3
    assert values(float)("1,2.5") == [1, 2.5] and values(float)("None") == []
    assert number(int, 1, 3)("3") == 3 and on_off("On") is True
    with pytest.raises(Exception, match="letters, digits"):
        output_name("../x")
