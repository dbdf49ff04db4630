import argparse

import pytest
import torch
from torch import nn
from training.optim import NEWTON_SCHULZ, Average, Mixed, orthogonalise
from training.runs import Stage, cosine, load_part, stage_arguments, start_stage, steps_done, train


def newton_schulz(x):
    """The published iteration, in float64."""
    a, b, c = NEWTON_SCHULZ
    x = x.double() / x.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(8, 8), (12, 40), (40, 12)])
def test_orthogonalise_is_the_published_iteration(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = newton_schulz(matrix) if shape[0] <= shape[1] else newton_schulz(matrix.T).T
    assert torch.allclose(orthogonalise(matrix).double(), expected, atol=1e-4)
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.max() < 1.3


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))


def run(folder, steps, resume=True):
    model = small()
    optimizer = Mixed([model], muon=0.02, adam=0.01)
    average = Average(model, 0.9)
    stage = Stage("toy", steps, folder, resume=resume)

    def step(n):
        x = torch.randn(4, 3, 4, 4, generator=stage.generator(n))
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step(1.0)
        average.update(model, n)
        return {"loss": loss.item()}

    train(stage, {"model": model, "optimizer": optimizer, "average": average}, step)
    return model.state_dict(), average.state_dict()


def test_a_resumed_run_takes_the_same_steps(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    whole, whole_average = run(tmp_path / "a", 12)
    run(tmp_path / "b", 5)
    parts, parts_average = run(tmp_path / "b", 12)
    assert steps_done(tmp_path / "b", "toy") == 12
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name])
        assert torch.equal(whole_average[name], parts_average[name])
    assert torch.equal(load_part(tmp_path / "b", "toy", "model")["0.weight"], whole["0.weight"])


def test_a_stage_that_was_not_run_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"training\.unet"):
        load_part(tmp_path, "unet-a", "model")


def test_schedule():
    assert cosine(0, 100, warmup=10) == pytest.approx(0.1)
    assert cosine(40, 100, warmup=10, flat=0.5) == 1
    assert cosine(75, 100, warmup=10, flat=0.5) == pytest.approx(0.5)
    assert cosine(100, 100, warmup=10, flat=0.5) == pytest.approx(0, abs=1e-12)


def test_arguments(tmp_path):
    options = stage_arguments("toy", 30, None).parse_args(["--state", str(tmp_path / "new"), "--no-resume"])
    assert isinstance(options, argparse.Namespace)
    stage = start_stage("toy", options)
    assert (stage.steps, stage.resume, stage.folder.is_dir()) == (30, False, True)
