"""Files as version 0.2.0 wrote them (cut short, figures rounded) are read in the words of today."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from core.evaluation import schema
from core.evaluation.measures import MEASURES
from core.evaluation.schema import EVIDENCE, read_report
from core.models.ood import Detector
from core.models.store import DESCRIPTION, StoredBundle, read_description, write_description
from core.task import PCAM
from core.training.config import TrainConfig
from core.training.launch import chosen_config
from core.training.runs import CHECKPOINT, CONFIG, Run
from core.training.state import State
from core.view.narrative import answer, position_bias_finding
from core.view.report import as_page

KEPT = Path(__file__).parent / "kept_0_2_0"


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "densenet169_local"
    folder.mkdir()
    shutil.copyfile(KEPT / DESCRIPTION, folder / DESCRIPTION)
    return folder


def test_a_bundle_keeps_all_it_said(bundle):
    kept = json.loads((KEPT / DESCRIPTION).read_text())
    assert (kept["format"], kept["classes"], "strangers" in kept) == (1, ["no tumour", "tumour"], True)
    read = read_description(bundle)
    assert (read.format, read.task) == (2, PCAM)
    assert read.ood.model_dump() == kept["strangers"] | {"picture": False}
    same = ("name", "version", "architecture", "weights_sha256", "scales", "libraries")
    assert {name: getattr(read, name) for name in same} == {name: kept[name] for name in same}
    assert [knots for knots, _ in read.point(8).curve] == [knots for knots, _ in kept["points"]["8"]["curve"]]
    write_description(bundle, read)
    written = json.loads((bundle / DESCRIPTION).read_text())
    assert (written["format"], written["task"]["positive"]) == (2, "tumour")
    assert not {"classes", "strangers"} & set(written)
    assert read_description(bundle) == read


def test_a_detector_of_another_name_is_found(shipped_bundle, tmp_path):
    folder = Path(shutil.copytree(shipped_bundle, tmp_path / "densenet169", ignore=shutil.ignore_patterns(".engine")))
    (folder / "ood.safetensors").rename(folder / "strangers.safetensors")
    assert isinstance(StoredBundle.open(folder).ood, Detector)


def test_a_model_is_trained_again_by_the_names_of_today(bundle, tmp_path):
    config = chosen_config(tmp_path / "run", bundle, None, ["cycles.0.epochs=2"])
    (cycle,) = config.cycles
    assert (cycle.epochs, cycle.max_lr, cycle.min_group_lr, cycle.side) == (2, 5e-4, 2.5e-4, None)
    assert (config.centre_cell, config.mosaic_batches, config.background_evidence) == (0.5, True, 1.0)


def test_a_run_goes_on_with_the_configuration_it_began_with(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copyfile(KEPT / CONFIG, folder / CONFIG)
    kept, config = json.loads((KEPT / CONFIG).read_text()), Run.open(folder).config
    assert {"average", "spill", "mosaics", "centre", "prior"} <= kept.keys()
    assert (config.task, config.ema_decay, config.init_bias_prior) == (PCAM, 0.997, 0.2)
    assert config.augmentation.cutmix == kept["augmentation"]["paste"] == 0.5
    assert Run.create(folder, config).config == config  # the same run, and no other of its name
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_checkpoint_goes_on_with_the_projection_it_had(tmp_path):
    def net():
        made = torch.nn.Module()
        made.net, made.feature_projection = torch.nn.Linear(2, 2), torch.nn.Linear(3, 2)
        return made

    old, new = net(), net()
    state = {name.replace("feature_projection.", "translator."): value for name, value in old.state_dict().items()}
    assert any(name.startswith("translator.") for name in state)
    where = {"cycle": 1, "step": 7, "taken": 40, "losses": [0.5], "history": 0, "finished": False}
    torch.save({"net": state, "average": None, **where}, tmp_path / CHECKPOINT)
    group = SimpleNamespace(is_main=True, broadcast=lambda value: value)
    run = SimpleNamespace(folder=tmp_path, name="run", rewind_history=lambda size: None)
    going = State(run, group, new, None, None)
    going.load()
    assert (going.cycle, going.step, going.taken, going.losses) == (1, 7, 40, [0.5])
    for name, value in old.state_dict().items():
        assert torch.equal(new.state_dict()[name], value)


def test_an_evidence_report_says_what_it_said(tmp_path):
    kept = json.loads((KEPT / EVIDENCE).read_text())
    report = read_report(KEPT / EVIDENCE)
    assert (kept["format"], report.format, report.task) == (2, 4, PCAM)
    same = [row for row in kept["rows"] if row["measure"] not in schema._CHANGED_4]
    assert 0 < len(same) < len(kept["rows"])
    assert [row.value for row in report.rows] == [row["value"] for row in same]
    assert {row.measure for row in report.rows} <= MEASURES.keys()
    assert report.speeds.keys() >= {
        "localisation",
        "faithfulness",
        "randomisation",
        "stability",
        "position_bias",
        "ood",
    }
    curves, then = report.curves, kept["curves"]
    assert curves.reliability.positive == then["reliability"]["tumour"]
    assert curves.position_bias.own.value == then["position"]["own"]["value"]
    assert [kind.name for kind in curves.ood.kinds] == [kind["name"] for kind in then["strangers"]["kinds"]]
    assert curves.trust["tumour"].patches == then["trust"]["tumour"]["patches"]
    assert curves.trust["tumour"].quantiles["centre"] == then["trust"]["tumour"]["centre"]
    assert (answer(report), report.confirmation) == ([], None)
    assert position_bias_finding(curves.position_bias, report.task)
    assert "Can you believe the map? densenet169_local" in as_page(report)
    (tmp_path / EVIDENCE).write_text(report.model_dump_json())
    assert read_report(tmp_path / EVIDENCE) == report
