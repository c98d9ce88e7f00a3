import numpy as np
import pytest
import torch

from lineside_plugins.learning.network import Mlp, Schedule, load_tensors, to_tensors, train


def fitted(seed: int) -> tuple[Mlp, torch.Tensor, torch.Tensor, float]:
    torch.manual_seed(seed)
    x = torch.rand(600, 2) * 2 - 1
    y = (x[:, 0] * x[:, 1])[:, None]
    model = Mlp(2, (16, 16), 1)
    loss = train(
        model,
        (x[:400], y[:400]),
        (x[400:], y[400:]),
        lambda out, rest: ((out - rest[0]) ** 2).mean(),
        seed=seed,
        schedule=Schedule(epochs=30, batch=64, learning_rate=1e-2),
    )
    return model, x, y, loss


def test_network_learns_what_no_single_input_shows() -> None:
    """Training leaves the network at its best held-out epoch, far better than the mean on a pure interaction."""
    model, x, y, loss = fitted(0)
    with torch.inference_mode():
        held_out = float(((model(x[400:]) - y[400:]) ** 2).mean())
    assert held_out == pytest.approx(loss, rel=1e-4)
    assert loss < 0.2 * float(y.var())


def test_same_seed_gives_the_same_weights_and_they_survive_storing() -> None:
    """Two trainings from one seed agree to the bit, and stored weights give the same outputs."""
    model, x, _, _ = fitted(1)
    again, _, _, _ = fitted(1)
    loaded = Mlp(2, (16, 16), 1)
    load_tensors(loaded, to_tensors(again, "net."), "net.", "cpu")
    with torch.inference_mode():
        np.testing.assert_array_equal(model(x).numpy(), loaded(x).numpy())


def test_weights_of_another_architecture_are_refused() -> None:
    """Weights of another width do not load silently."""
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_tensors(Mlp(2, (8,), 1), to_tensors(Mlp(2, (16,), 1), "net."), "net.", "cpu")


def test_an_answer_does_not_depend_on_its_company() -> None:
    """A row's output is the same to the bit in batches of every size, so that who shares a batch changes nothing."""
    torch.manual_seed(3)
    network, x = Mlp(30, (64, 64), 2).eval(), torch.randn(64, 30)
    with torch.inference_mode():
        whole = network(x)
        for size in (1, 2, 3, 5, 8, 13, 40):
            parts = torch.cat([network(x[at : at + size]) for at in range(0, len(x), size)])
            np.testing.assert_array_equal(parts.numpy(), whole.numpy())
