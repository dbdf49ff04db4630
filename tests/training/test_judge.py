import random

import torch
from torch import nn
from training.attributes import CAPTIONED, JUDGED
from training.judge import Judge, accuracy, answers, degrade
from training.lora import SUBJECTS, sample_subject, subject_caption
from training.pool import open_pool
from training.text import Reader, TextEncoders, right, said_labels, sample_captions
from training.vae import FACE, FACE_WEIGHT, pixel_loss, psnr


class Oracle(nn.Module):
    """Knows the labels, except for one question that it always answers with 0."""

    def __init__(self, labels, blind):
        super().__init__()
        self.labels, self.blind, self.seen = labels, blind, 0

    def forward(self, images):
        part = self.labels[self.seen : self.seen + len(images)]
        self.seen += len(images)
        return {
            name: 9.0 * nn.functional.one_hot(part[:, i] * (name != self.blind), len(values))
            for i, (name, values) in enumerate(JUDGED.items())
        }


def test_accuracy_counts_right_answers(tmp_path):
    pool = open_pool(tmp_path, 0, 70, ("cel", "sketch"), extras=True)
    rows = list(range(70))
    labels = pool.labels(rows)
    found = accuracy(Oracle(labels, "hair"), pool.images(rows), labels)
    assert found.pop("hair") == (labels[:, 0] == 0).float().mean().item()
    assert set(found.values()) == {1.0}
    assert labels[:, list(JUDGED).index("drawing")].tolist() == [0, 1] * 35, "styles take turns"


def test_a_pool_is_drawn_once_and_styles_share_their_people(tmp_path):
    first = open_pool(tmp_path, 3, 4, ("cel",), extras=False)
    again = open_pool(tmp_path, 3, 4, ("cel",), extras=False)
    sketches = open_pool(tmp_path, 3, 2, ("sketch",), extras=False)
    assert (first.pixels == again.pixels).all()
    assert first.images([1]).abs().max() <= 1
    for cel, sketch in zip(first.portraits, sketches.portraits, strict=False):
        assert (cel.hair, cel.shirt, cel.seed) == (sketch.hair, sketch.shirt, sketch.seed)
        assert (cel.drawing, sketch.drawing) == ("cel", "sketch")


def test_judge_answers_every_question_with_probabilities():
    found = answers(Judge(), torch.zeros(2, 3, 128, 128))
    assert {name: p.shape for name, p in found.items()} == {n: (2, len(v)) for n, v in JUDGED.items()}
    assert all(torch.allclose(p.sum(1), torch.ones(2)) for p in found.values())


def test_degrading_leaves_a_quarter_clean():
    images = torch.rand(400, 3, 16, 16)
    same = (degrade(images, torch.Generator().manual_seed(0)) == images).all((1, 2, 3))
    assert 0.17 < same.float().mean() < 0.33


def test_caption_labels_say_what_was_not_said():
    said = {"hair": "pink", "glasses": "none", "hat": "beret"}
    labels = dict(zip(CAPTIONED, said_labels(said), strict=True))
    assert labels == {n: len(v) for n, v in CAPTIONED.items()} | {"hair": 4, "glasses": 0, "hat": 1}
    texts, rows = sample_captions(random.Random(0), 5)
    from_context, from_pooled = Reader()(TextEncoders()(texts, 36))
    assert [a.shape[1] for a in from_context] == [a.shape[1] for a in from_pooled]
    perfect = [nn.functional.one_hot(rows[:, i], len(v) + 1) for i, v in enumerate(CAPTIONED.values())]
    assert right(perfect, rows) == 1


def test_subjects_show_their_traits_and_name_only_what_is_free():
    for name, subject in SUBJECTS.items():
        portrait = sample_subject(name, random.Random(1), "cel")
        assert all(getattr(portrait, trait) == value for trait, value in subject.traits.items())
    portrait = sample_subject("hina", random.Random(1), "cel")
    expected = f"hina, {portrait.expression}, {portrait.shirt} shirt, {portrait.background}"
    assert subject_caption(SUBJECTS["hina"], portrait) == expected


def test_losses():
    black, white = -torch.ones(1, 3, 128, 128), torch.ones(1, 3, 128, 128)
    assert psnr(black, white) == 0
    assert pixel_loss(white, white) == 0
    dot_outside, dot_inside = white.clone(), white.clone()
    dot_outside[..., 4, 4] = 0
    dot_inside[..., FACE[0].start + 4, FACE[1].start + 4] = 0
    ratio = pixel_loss(dot_inside, white) / pixel_loss(dot_outside, white)
    assert abs(ratio - FACE_WEIGHT) < 1e-3
