import pytest
import torch

from core.domain.compartments import CHANNELS
from training.architectures import build, u2net
from training.losses import segmentation_loss


@pytest.mark.parametrize(("make", "parameters"), [(u2net.full, 44_009_869), (u2net.small, 1_131_181)])
def test_one_class_form_has_the_parameters_of_the_authors_network(make, parameters):
    assert sum(parameter.numel() for parameter in make(classes=1).parameters()) == parameters


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build("u2net-small", "none")


def test_training_gives_the_fused_and_six_side_outputs_evaluation_the_fused_one(network):
    images = torch.randn(2, 3, 64, 96)
    outputs = network.train()(images)
    assert [tuple(output.shape) for output in outputs] == [(2, len(CHANNELS), 64, 96)] * 7
    with torch.no_grad():
        assert network.eval()(images).shape == (2, len(CHANNELS), 64, 96)


def test_fused_output_is_the_weighted_sum_of_the_side_outputs(network):
    fused, *sides = network.train()(torch.randn(2, 3, 64, 64))
    weights = network.fuse.weight[:, :, 0, 0]
    expected = torch.einsum("kc,nchw->nkhw", weights, torch.cat(sides, dim=1)) + network.fuse.bias[:, None, None]
    assert torch.allclose(fused, expected, atol=1e-5)


def test_every_side_output_teaches(network):
    """Deep supervision.

    The coarsest side output's own loss reaches the last encoder stage, and nothing of the decoder.
    """
    outputs = network.train()(torch.randn(2, 3, 64, 64))
    targets = (torch.rand(2, len(CHANNELS), 64, 64) > 0.5).float()
    segmentation_loss(outputs[6], targets).backward()
    assert all(parameter.grad is not None for parameter in network.encoder[5].parameters())
    assert all(parameter.grad is None for parameter in network.decoder.parameters())


def test_side_outputs_come_from_the_finest_to_the_coarsest_map(network):
    # An enlarged coarse map is smooth: neighbouring pixels differ less, the coarser the less.
    outputs = network.train()(torch.randn(2, 3, 128, 128))
    roughness = [(side.diff(dim=3).abs().mean() / side.std()).item() for side in outputs[1:]]
    assert roughness == sorted(roughness, reverse=True)


def test_block_without_its_small_u_is_the_entry_layer(network):
    block = network.encoder[0].eval()
    with torch.no_grad():
        # The last layer of the way up, silenced: only the residual is left.
        block.up[0][1].weight.zero_()
        block.up[0][1].bias.zero_()
        images = torch.randn(1, 3, 64, 64)
        assert torch.equal(block(images), block.entry(images))


def test_dilated_block_keeps_its_map_while_others_halve_it(network):
    sizes = []
    for block in (network.encoder[3], network.encoder[4]):
        hooks = [
            layer.register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-1])) for layer in block.down
        ]
        with torch.no_grad():
            block(torch.randn(1, 64, 16, 16))
        for hook in hooks:
            hook.remove()
    assert sizes == [16, 8, 4, 4, 16, 16, 16, 16]
    assert [layer[0].dilation[0] for layer in network.encoder[4].down] == [1, 2, 4, 8]
    assert [layer[0].dilation[0] for layer in network.encoder[4].up] == [1, 2, 4]
