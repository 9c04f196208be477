import pytest
import torch

from core.domain.errors import UsageError
from tests.training.tiny import tiny_config
from training.trainer import OBJECT_NAMES, DivergedError, Trainer, find_device, read_checkpoint, write_checkpoint

CPU = torch.device("cpu")


class Biased(torch.nn.Module):
    """A network of one number per channel: its logits are known, and so are its Dice."""

    def __init__(self, bias):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor(bias))

    def forward(self, images):
        return self.bias[None, :, None, None].expand(len(images), -1, *images.shape[2:])


def batch(size=2):
    """Environment in the first row of four, cytoplasm in the second, nucleus in the third."""
    target = torch.zeros(size, 3, 4, 4)
    for channel in range(3):
        target[:, channel, channel] = 1
    return torch.zeros(size, 3, 4, 4), target


def test_dice_are_given_per_image_and_by_name():
    trainer = Trainer(Biased([-1.0, -1.0, 1.0]), tiny_config(), total_steps=1, device=CPU)
    _, dice = trainer.validate([batch(2), batch(1)])
    # Nucleus is found everywhere: 2 * 4 / (16 + 4); cytoplasm nowhere.
    assert dice.shape == (3, 2)
    assert dict(zip(OBJECT_NAMES, dice[0].tolist(), strict=True)) == {"nucleus": pytest.approx(0.4), "cytoplasm": 0}


def test_loss_is_the_mean_over_images_not_over_batches():
    trainer = Trainer(Biased([0.0, 0.0, 0.0]), tiny_config(), total_steps=1, device=CPU)
    hard = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    (easy, _), (difficult, _), (both, _) = (
        trainer.validate(batches) for batches in ([batch(3)], [hard], [batch(3), hard])
    )
    assert easy != pytest.approx(difficult)
    assert both == pytest.approx((3 * easy + difficult) / 4)


def test_a_step_moves_the_network_and_its_average_follows():
    trainer = Trainer(Biased([0.0, 0.0, 0.0]), tiny_config(ema_decay=0.5), total_steps=10, device=CPU)
    losses = [trainer.train_epoch([batch()], seed=epoch) for epoch in range(3)]
    assert losses == sorted(losses, reverse=True)
    assert trainer.network.bias.abs().gt(trainer.averaged.bias.abs()).all()
    assert trainer.averaged.bias.abs().gt(0).all()


def test_loss_that_is_no_number_ends_the_epoch():
    trainer = Trainer(Biased([0.0, 0.0, float("nan")]), tiny_config(), total_steps=1, device=CPU)
    with pytest.raises(DivergedError, match="the training loss is nan"):
        trainer.train_epoch([batch()], seed=0)
    with pytest.raises(DivergedError, match="the validation loss is nan"):
        trainer.validate([batch()])


def test_restored_trainer_goes_on_as_the_first(tmp_path):
    first, second = (Trainer(Biased([0.0, 0.0, 0.0]), tiny_config(), total_steps=4, device=CPU) for _ in range(2))
    first.train_epoch([batch()], seed=0)
    write_checkpoint(tmp_path / "state.pt", first.state())
    second.restore(read_checkpoint(tmp_path / "state.pt"))
    for trainer in (first, second):
        trainer.train_epoch([batch()], seed=1)
    assert torch.equal(first.network.bias, second.network.bias)
    assert torch.equal(first.averaged.bias, second.averaged.bias)
    assert first.learning_rate == second.learning_rate
    assert read_checkpoint(tmp_path / "none.pt") is None


def test_device_that_is_not_there_is_refused_in_words():
    assert find_device("cpu") == CPU
    with pytest.raises(UsageError, match=r"cuda:99 was asked for, but torch sees \d+ CUDA devices"):
        find_device("cuda:99")
    with pytest.raises(UsageError, match="device must be auto, cpu, cuda"):
        find_device("gpu")


def test_a_trainer_minimises_the_loss_it_was_given_and_states_the_thesiss():
    def towards(logits, _targets):
        return (logits - 2).square().mean()

    trainer = Trainer(
        Biased([0.0, 0.0, 0.0]), tiny_config(learning_rate=0.1), total_steps=200, device=CPU, loss=towards
    )
    for epoch in range(4):
        trainer.train_epoch([batch()] * 50, seed=epoch)
    assert trainer.network.bias.tolist() == pytest.approx([2, 2, 2], abs=0.3)
    plain = Trainer(Biased(trainer.averaged.bias.tolist()), tiny_config(), total_steps=1, device=CPU)
    assert trainer.validate([batch()])[0] == pytest.approx(plain.validate([batch()])[0])
