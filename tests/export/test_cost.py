import functools
import json
import socket
import time
from datetime import UTC, date, datetime

import numpy as np
import pytest
import torch

from core.domain.compartments import CHANNELS
from core.evaluation import model_selection as results
from export import cost
from export.cost import WARM_UP, Candidate, count_macs, main, measure, prepare, time_rounds
from training.architectures import build, count_parameters
from training.provenance import versions

ENCODER = "tu-tf_efficientnet_lite0"
SIZE = 64


def write_run(folder, *folds):
    """A run of these (architecture, encoder, input_size, status), a fold each."""
    folder.mkdir()
    (folder / "config.toml").write_text("")
    for number, (architecture, encoder, size, status) in enumerate(folds, start=1):
        unit = {"run_id": folder.name, "protocol": "grouped", "k": 5, "fold": number, "architecture": architecture}
        row = {**unit, "encoder": encoder, "input_size": size, "status": status}
        results.add_unit(folder, f"unit-{number}", {"folds": [row], "images": [], "epochs": []})
    return folder


@pytest.fixture(scope="module", autouse=True)
def _prepared_once():
    """The same network is built and exported once: that takes most of ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "prepare", functools.cache(prepare))
        yield


@pytest.fixture(scope="module")
def measured(_prepared_once, tmp_path_factory):
    """The folder of a run whose costs the command line has measured, without a network connection."""
    folder = write_run(
        tmp_path_factory.mktemp("cost") / "run",
        ("linknet", ENCODER, SIZE, "done"),
        ("pspnet", ENCODER, SIZE, "done"),
        ("pspnet", ENCODER, SIZE, "done"),
        ("fpn", ENCODER, SIZE, "diverged"),
    )
    asked = []
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
        assert main([str(folder), "--rounds", "5"]) == 0
    assert not asked
    assert torch.get_num_threads() == threads
    return folder


def test_macs_of_a_tiny_network_are_those_counted_by_hand():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.Conv2d(8, 8, 5, padding=2, groups=8),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(8, 4, 2, stride=2),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 10),
    ).eval()
    strided = (8 * 8 * 8) * (3 * 3 * 3)
    depthwise = (8 * 8 * 8) * (5 * 5)
    transposed = (8 * 8 * 8) * (4 * 2 * 2)
    assert count_macs(network, 16) == strided + depthwise + transposed + 4 * 10


def test_macs_of_unet_are_those_of_its_convolutions():
    network = build("unet", ENCODER, pretrained=False).eval()
    by_layer = {}

    def note(layer, _, output):
        by_layer[layer] = output.numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(note)
    assert count_macs(network, SIZE) == sum(by_layer.values())
    # The image's own convolution: 32 maps of half the side, each number from 3 x 3 pixels of 3 channels.
    assert by_layer[network.encoder.model.conv_stem] == 32 * (SIZE // 2) ** 2 * 27
    assert count_macs(network, 2 * SIZE) == 4 * count_macs(network, SIZE)


def test_each_architecture_with_a_finished_fold_has_one_row(measured):
    costs = results.read_costs(measured)
    assert sorted(costs["architecture"]) == ["linknet", "pspnet"]
    assert set(costs["encoder"]) == {ENCODER}
    assert set(costs["input_size"]) == {SIZE}


def test_row_holds_what_the_network_and_the_machine_give(measured):
    for row in results.read_costs(measured).to_dict("records"):
        network = build(row["architecture"], ENCODER, pretrained=False).eval()
        assert row["parameters"] == count_parameters(network)
        assert row["macs"] == count_macs(network, SIZE)
        # The file is its weights, 4 bytes each, without batch normalisation, which is merged into them, and with a
        # graph of some nodes.
        assert 1e6 * row["onnx_mb"] == pytest.approx(4 * row["parameters"], abs=150_000)
        assert 0 < row["milliseconds_q1"] <= row["milliseconds"] <= row["milliseconds_q3"]
        assert row["torch_milliseconds"] > 0
        assert row["threads"] == 1
        assert row["machine"]
        known = json.loads(row["versions"])
        assert known.pop("onnxruntime")
        assert known == versions()
        assert date.fromisoformat(row["measured"]) <= datetime.now(UTC).date()


def test_more_multiply_adds_take_longer(measured):
    costs = results.read_costs(measured).set_index("architecture")
    assert costs.index.tolist() == ["pspnet", "linknet"], "the fastest comes first"
    # PSPNet leaves out the deeper half of the encoder.
    assert costs["macs"]["linknet"] > 2 * costs["macs"]["pspnet"]
    assert costs["milliseconds"]["linknet"] > costs["milliseconds"]["pspnet"]


def test_both_runtimes_give_the_same_logits_and_onnxruntime_runs_on_one_thread():
    one = cost.prepare("pspnet", ENCODER, SIZE)
    with torch.inference_mode():
        (by_onnx,), by_torch = one.run_onnx(), one.run_torch().numpy()
    assert by_onnx.shape == by_torch.shape == (1, len(CHANNELS), SIZE, SIZE)
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-4)
    assert np.ptp(by_torch) > 0.01, "the image tells nothing"
    time.sleep(0.2)  # torch's threads wait for more work for a moment
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(50):
        one.run_onnx()
    # More threads would use more of the processors than there is time.
    assert time.process_time() - cpu < 1.2 * (time.perf_counter() - wall)


def test_torch_is_timed_on_one_thread_without_gradients():
    seen = []

    def look():
        seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure([Candidate({}, lambda: None, look)], rounds=1)
        assert set(seen) == {(1, True)}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_rounds_take_turns_and_the_first_do_not_count():
    called = []

    def slow_at_first():
        called.append("a")
        time.sleep(0.2 if called.count("a") <= WARM_UP else 0.005)

    took = time_rounds([slow_at_first, lambda: called.append("b")], rounds=4)
    assert called == ["a", "b"] * (WARM_UP + 4)
    assert took.shape == (4, 2)
    assert (took[:, 0] >= 5).all()
    assert np.median(took[:, 0]) < 200
    assert np.median(took[:, 1]) < 5


def test_what_fails_is_named_and_the_others_are_measured(tmp_path, capsys):
    networks = [("gone", ENCODER), ("pspnet", ENCODER), ("unet", ENCODER)]
    folder = write_run(
        tmp_path / "run", *((name, encoder, 50 if name == "unet" else SIZE, "done") for name, encoder in networks)
    )
    assert main([str(folder), "--rounds", "1"]) == 1
    told = capsys.readouterr()
    assert f"failed: gone on {ENCODER} at {SIZE} px: unknown architecture 'gone'; known are unetplusplus," in told.err
    assert (
        f"failed: unet on {ENCODER} at 50 px: Expected shape[2] = 50 of input Tensor to be of the form 32*" in told.err
    )
    assert "pspnet" in told.out
    assert f"written to {folder / 'costs.parquet'}" in told.out
    assert results.read_costs(folder)["architecture"].tolist() == ["pspnet"]


def test_when_everything_fails_earlier_costs_stay(tmp_path, capsys):
    folder = write_run(tmp_path / "run", ("gone", ENCODER, SIZE, "done"))
    results.write_costs(folder, [{"architecture": "gone"}])
    assert main([str(folder)]) == 1
    assert capsys.readouterr().out == ""
    assert results.read_costs(folder)["architecture"].tolist() == ["gone"]


def test_costs_that_cannot_be_written_are_shown_all_the_same(tmp_path, capsys):
    folder = write_run(tmp_path / "run", ("pspnet", ENCODER, SIZE, "done"))
    (folder / "costs.parquet").mkdir()
    assert main([str(folder), "--rounds", "1"]) == 1
    told = capsys.readouterr()
    assert "pspnet" in told.out
    assert "written" not in told.out
    assert "failed: the costs could not be written: " in told.err


def test_folder_without_a_run_is_an_error_in_words(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert (
        f"error: {tmp_path} holds no run of a model selection; make one with `python -m training select"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_run_without_finished_folds_is_an_error_in_words(tmp_path, capsys):
    folder = write_run(tmp_path / "run", ("unet", ENCODER, SIZE, "diverged"))
    assert main([str(folder)]) == 2
    assert (
        f"error: {folder} has no finished fold yet (1 failed); let `python -m training select` finish one"
        in capsys.readouterr().err
    )
    assert not (folder / "costs.parquet").exists()


def test_less_than_one_round_is_wrong_use(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([str(tmp_path), "--rounds", "0"])
    assert exit_.value.code == 2
    assert "--rounds must be 1 or more, but is 0" in capsys.readouterr().err
