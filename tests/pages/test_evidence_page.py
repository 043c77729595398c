"""Evidence and the trust card: what stands on the screen is what the report and the reader say."""

import json
import re
import shutil
from html import unescape

import numpy as np
import pyarrow as pa
import pytest

from core import service
from core.evaluation.claims import FEWEST
from core.evaluation.explanations import donors, planted, randomisation
from core.evaluation.explanations.runner import Examination
from core.evaluation.schema import EVIDENCE, ExaminedModel, Plan
from core.evaluation.trust import donors as donors_in
from core.evaluation.trust import trust_figures
from core.evaluation.trust_scale import FIGURES, percentile, percentile_words
from core.inference import load_reader
from core.jobs import Job
from core.settings import settings
from core.view.narrative import answer, position_bias_finding
from core.view.report import BEST, NO_BETTER

METHODS = ("gradcam/last", "eigencam/last", "gradcam/6x6")


@pytest.fixture(scope="session")
def report(shipped_reader, tiny_reader, demo, tmp_path_factory):
    """A small examination of a model that costs little, under the shipped model's name."""
    with pytest.MonkeyPatch.context() as few:  # each patch whose coalitions are read costs 512 passes
        few.setattr(donors, "MOST", FEWEST)
        few.setattr(planted, "RANKED", 3)
        few.setattr(randomisation, "SEEDS", FEWEST)
        made = Examination(tiny_reader, demo, Plan(sample=60, methods=METHODS)).run(tmp_path_factory.mktemp("made"))
    model = shipped_reader.model
    return made.model_copy(update={"model": ExaminedModel(name=model.name, identity=model.identity)})


@pytest.fixture
def models(shipped_bundle, tmp_path, monkeypatch):
    """The shipped model in a folder that a test may write to."""
    shutil.copytree(shipped_bundle, tmp_path / "models" / "densenet169", ignore=shutil.ignore_patterns(".engine"))
    monkeypatch.setenv("NODELENS_MODELS", str(tmp_path / "models"))
    settings.cache_clear()
    return tmp_path / "models"


@pytest.fixture
def kept(models, report):
    """The report as the command keeps it with the model."""
    path = models / "densenet169" / EVIDENCE
    path.write_text(report.model_dump_json())
    return path


def rows_of(page):
    """The trust card's cells by figure."""
    found = re.findall(r'<tr data-figure="(\w+)">(.*?)</tr>', page.html)
    return {name: re.findall(r"<td>(.*?)</td>", cells) for name, cells in found}


def test_the_first_visit_invites(screen, started, demo, tmp_path):
    page = screen("evidence").calm()
    assert "Nobody has examined **densenet169** on **demo** yet" in page.markdown
    page.choose("sample", 300).press("Examine").calm()
    ((path, arguments),) = started
    assert path.parent == tmp_path / "cache" / "evidence"
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert arguments[0] == "evidence"
    assert options == {
        "--data": str(demo.folder), "--split": "demo", "--model": "densenet169", "--sample": "300", "--out": str(path),
    }  # fmt: skip


def test_the_kept_report_is_shown_at_once(screen, kept, report):
    page = screen("evidence").calm()
    told = unescape(re.search(r'data-testid="answer">(.*?)</ol>', page.html)[1])
    lines = answer(report)
    assert all(line.text in told for line in lines)
    assert told.count("<li>") == len(lines)
    assert told.count("Undecided: ") == sum(line.verdict == "undecided" for line in lines)


def test_a_report_made_on_other_patches_says_so(screen, kept, report):
    elsewhere = report.data.model_copy(update={"split": "valid", "fingerprint": "0" * 64, "note": ""})
    kept.write_text(report.model_copy(update={"data": elsewhere}).model_dump_json())
    page = screen("evidence").calm()
    assert "made on 'valid'. Nobody has examined the model on 'demo' yet" in page.at.info[0].value
    assert "button" not in page.at.info[0].value  # there is none while an examination runs, and in read-only mode
    assert answer(report)[0].text in unescape(page.html)
    assert "synthetic" not in page.html
    assert "**Mosaics with their maps**" not in page.markdown


def test_a_report_is_told_from_another_without_loading_a_network(screen, kept, models, monkeypatch):
    shutil.copytree(models / "densenet169", models / "other")
    loaded = []
    monkeypatch.setattr(service, "load_reader", lambda name: loaded.append(name) or load_reader(name))
    screen("evidence").calm()
    assert "other" not in loaded


def test_the_table_sorts_by_figures_and_marks_in_symbols(screen, kept, report):
    page = screen("evidence").calm()
    frame = page.at.dataframe[0].value
    row = next(r for r in report.rows if r.measure == "mosaic2" and r.method == "gradcam/last")
    assert frame.loc["Grad-CAM, last layer", "Mosaic 2 x 2"] == pytest.approx(row.value)
    assert "random (baseline)" in frame.index
    assert frame.loc["chance", "Mosaic 2 x 2"] == 0.25
    styler = page.at.dataframe[0].proto.arrow_data.styler
    shown = pa.ipc.open_stream(styler.display_values).read_pandas()
    assert f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]" in shown.to_numpy()[1][0]
    prior = list(frame.index).index("centre prior (baseline)")
    assert shown.to_numpy()[prior][0].endswith(NO_BETTER)
    assert NO_BETTER in page.at.caption[1].value
    assert BEST in page.at.caption[1].value


def test_every_question_has_its_charts(screen, kept):
    expected = {
        "Does it point at the right place?": ["Mosaics with their maps"],
        "Does it matter to the prediction?": ["Deletion", "Insertion"],
        "Does it depend on what was learned?": ["Cascade, rank correlation", "Cascade, SSIM"],
        "Does it hold still?": ["How far the map moves", "How far the probability moves"],
        "Can the prediction be leaned on?": ["ROC", "Reliability", "Risk and coverage", "Accuracy under change"],
    }
    page = screen("evidence").calm()
    for question, charts in expected.items():
        page.at.segmented_control(key="question").set_value(question).run()
        for title in charts:
            assert f"**{title}**" in page.calm().markdown, (question, title)
        assert len(page.at.get("plotly_chart")) > len(charts) - 1


def test_why_the_map_leans_is_told_under_where_it_points(screen, kept, report):
    curve = report.curves.position_bias
    page = screen("evidence").calm()
    assert "**Why the map leans where it leans**" in page.markdown
    told = unescape(re.search(r'data-testid="finding">(.*?)</ul>', page.html)[1])
    lines = position_bias_finding(curve, report.task)
    assert told.count("<li>") == len(lines) == 4
    assert all(line.text in told for line in lines)
    tables = re.findall(r'data-testid="facts">(.*?)</table>', page.html)
    assert len(tables) == 1 + bool(curve.windows.groups)
    fall = curve.fall["surround"]
    assert f"{fall.value:.2f} [{fall.low:.2f}, {fall.high:.2f}] logits" in tables[0]
    drawn = [json.loads(chart.proto.spec)["data"] for chart in page.at.get("plotly_chart")]
    assert [[trace["type"] for trace in traces] for traces in drawn].count(["heatmap"]) == 3
    page.at.segmented_control(key="question").set_value("Does it matter to the prediction?").run()
    said = unescape("".join(re.findall(r'data-testid="finding">(.*?)</ul>', page.calm().html)))
    replaced = report.curves.replaced.ways["blurred"]["tumour"].replaced.value
    assert f"Wholly blurred, patches get a mean logit of {replaced:+.2f}" in said


def test_a_report_from_before_there_were_reasons_is_shown_without(screen, kept, report):
    older = report.curves.model_copy(update={"position_bias": None, "replaced": None, "planted": None})
    kept.write_text(report.model_copy(update={"curves": older}).model_dump_json())
    page = screen("evidence").calm()
    assert "Why the map leans" not in page.markdown
    page.at.segmented_control(key="question").set_value("Does it matter to the prediction?").run()
    assert 'data-testid="finding"' not in page.calm().html


def test_a_call_is_worth_less_where_tumour_is_rare(screen, kept, report):
    page = screen("evidence").calm()
    page.at.segmented_control(key="question").set_value("Can the prediction be leaned on?").run()

    def worth():
        return [float(v) for v in re.findall(r"<dt>PPV at [\d.]+%</dt><dd>([\d.]+)%", page.html)]

    at_five = worth()
    known = report.curves.figures
    hits, clear = known["sensitivity"].value, known["specificity"].value
    by_hand = 100 * hits * 0.05 / (hits * 0.05 + (1 - clear) * 0.95)
    assert at_five[0] == pytest.approx(by_hand, abs=0.06)
    page.at.slider(key="prevalence").set_value(50.0).run()
    assert worth()[0] >= at_five[0]
    page.at.slider(key="sensitivity").set_value(100).run()
    assert "<dt>Sensitivity</dt><dd>1.00</dd>" in page.calm().html


def test_a_report_on_other_weights_is_not_shown(screen, kept, report):
    other = json.loads(kept.read_text())
    other["model"]["identity"] = "densenet169 0.0.1 (deadbeef)"
    kept.write_text(json.dumps(other))
    assert "Nobody has examined" in screen("evidence").calm().markdown


def test_the_newest_report_wins(screen, kept, report, demo, tmp_path):
    newer = report.model_copy(update={"finished": "2999-01-01T00:00:00+00:00"})
    path = tmp_path / "cache" / "evidence" / f"densenet169-demo-{demo.fingerprint()[:8]}-100.json"
    path.parent.mkdir(parents=True)
    path.write_text(newer.model_dump_json())
    assert "finished 2999-01-01" in " ".join(caption.value for caption in screen("evidence").calm().at.caption)


def test_a_running_examination_is_watched(screen, monkeypatch, models):
    monkeypatch.setattr(Job, "running", property(lambda job: job.path.name.endswith("-300.json")))
    page = screen("evidence").calm()
    assert "Examine" not in [button.label for button in page.at.button]
    assert "Stop all the same" in [button.label for button in page.at.button]
    (bar,) = page.at.get("progress")
    assert "on 300 patches of demo" in bar.proto.text


def test_what_it_ended_with_is_told(screen, monkeypatch):
    monkeypatch.setattr(Job, "error_message", property(lambda job: "No room on the disk."))
    assert "No room on the disk." in [error.value for error in screen("evidence").at.error]


def test_the_card_gives_each_figure_with_chance_and_percentile(screen, kept, report, shipped_reader, demo):
    known = report.curves.trust
    page = screen("read", patch=5, trust_card="true").calm()
    rows = rows_of(page)
    assert list(rows) == list(FIGURES)
    given = donors_in(demo, demo.task)
    found = {name: value[0] for name, value in trust_figures(shipped_reader, demo.patches([5]), given).items()}
    assert rows["centre"][1:3] == [f"{found['centre']:.0%}", "11%"]
    assert rows["donor_drop"][1] == f"{found['donor_drop']:+.2f} logits"
    assert rows["probability_turns"][1:3] == [f"{found['probability_turns']:.2f}", "none"]
    readings = shipped_reader.read(demo.patches([5]), views=8)
    called = "tumour" if readings.probability[0] >= readings.point.threshold else "no tumour"
    for name, value in found.items():
        rank = percentile(value, known[called].quantiles, name)
        words = None if rank is None else percentile_words(rank, known[called].patches)
        assert rows[name][3] == (words or "not known")
    assert any(cells[3] != "not known" for cells in rows.values())


def test_without_a_report_no_percentile_is_made_up(screen, models):
    page = screen("read", patch=5, trust_card="true").calm()
    assert {cells[3] for cells in rows_of(page).values()} == {"not known"}
    assert "no evidence report is kept" in "\n".join(caption.value for caption in page.at.caption)


def test_the_card_costs_nothing_until_it_is_opened(screen, inferences):
    page = screen("read", patch=3).calm()
    assert len(inferences) == 1
    assert rows_of(page) == {}
    assert [box.label for box in page.at.expander][:1] == ["Can this reading be leaned on?"]


def test_forgetting_the_head_changes_the_map(screen, shipped_reader, demo, models):
    page = screen("read", patch=5, trust_card="true").calm().press("Forget the head").calm()
    before, after = (np.array(panel["values"]) for panel in page.component("forgotten")["panels"])
    np.testing.assert_allclose(before, shipped_reader.read(demo.patches([5])).attribution[0], atol=1e-4)
    assert np.abs(before - after).max() > 1e-3


def test_what_if(screen, shipped_reader, demo):
    page = screen("read", patch=5, what_if="true", views=1).calm()
    was = f"{shipped_reader.read(demo.patches([5])).probability[0]:.2f}"

    def told():
        return re.search(r'data-testid="what-if">([\d.]+) <small>probability of tumour, was ([\d.]+)', page.html)

    assert told().groups() == (was, was)  # nothing is changed yet
    page.at.segmented_control(key="what_mask").set_value("the surround").run()
    page.at.slider(key="what_stain").set_value(-40).run()
    first, second = page.calm().component("what_if_table")["panels"]
    assert first["tissue"] != second["tissue"]
    assert told()[2] == was
    assert second["caption"].startswith(f"Probability of tumour {told()[1]}, ")
    page.press("Put everything back").calm()
    assert told().groups() == (was, was)
