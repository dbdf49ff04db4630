import torch
from diffusers import DDIMScheduler
from training.diffusion import alpha_sigma, ddim, min_snr_weight, stratified_timesteps
from training.unet import Conditions


def test_sampler_is_diffusers_ddim():
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    scheduler.set_timesteps(16)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    z = noise
    for t in scheduler.timesteps:
        z = scheduler.step(torch.tanh(z * (1 + t / 1000)), t, z).prev_sample
    ours = ddim(lambda x, t: torch.tanh(x * (1 + t[0] / 1000)), noise, 16)
    assert torch.allclose(ours, z, atol=1e-4)


def test_schedule_is_variance_preserving():
    alpha, sigma = alpha_sigma(torch.tensor([0, 500, 999]))
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert alpha.flatten().tolist() == sorted(alpha.flatten().tolist(), reverse=True)
    assert torch.allclose(min_snr_weight(alpha, sigma, gamma=1e9), alpha**2)  # snr / (snr + 1)


def test_timesteps_cover_the_schedule():
    t = stratified_timesteps(10, torch.Generator().manual_seed(1))
    assert (t // 100).sort().values.tolist() == list(range(10))


def test_dropped_captions_are_the_empty_one():
    given = Conditions(torch.ones(3, 5, 2), torch.ones(3, 4))
    empty = Conditions(torch.zeros(1, 5, 2), torch.zeros(1, 4))
    dropped = given.drop(torch.tensor([True, False, True]), empty)
    assert dropped.context.mean((1, 2)).tolist() == [0, 1, 0]
    assert dropped.pooled.mean(1).tolist() == [0, 1, 0]
