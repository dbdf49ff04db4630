import random

import pytest
import torch
from training.attributes import CAPTIONED, Portrait, sample_portrait
from training.captions import END, FILLERS, PHRASES, START, caption, compact, said_about, tokens, used_ids


def test_every_phrase_differs_and_every_word_is_one_token():
    phrases = [phrase for values in PHRASES.values() for phrase in values.values() if phrase]
    assert len(set(phrases)) == len(phrases)
    for text in (*phrases, *FILLERS):
        ids = tokens([text], "te1")[0].tolist()
        assert ids.index(END) == 1 + len(text.split()), text


def test_padding_is_each_encoders_own():
    assert tokens(["smiling"], "te1")[0, 3:].unique().tolist() == [END]
    assert tokens(["smiling"], "te2")[0, 3:].unique().tolist() == [0]
    assert tokens([""], "te2")[0, :3].tolist() == [START, END, 0]
    assert tokens(["smiling " * 100], "te1").shape == (1, 77)


def test_compact_ids_keep_their_order():
    """End of text must stay the largest: it is where the pooled vector is taken."""
    ids = tokens([caption(said_about(Portrait()))], "te2")
    rows = compact(ids)
    assert torch.tensor(used_ids())[rows].equal(ids)
    assert rows.argmax(1).equal(ids.argmax(1))
    with pytest.raises(ValueError, match="not in the captions' vocabulary"):
        compact(tokens(["zebra"], "te1"))


def test_captions_say_what_they_were_told():
    rng = random.Random(4)
    for _ in range(50):
        portrait = sample_portrait(rng, "cel")
        said = said_about(portrait, rng)
        assert said["glasses"] == portrait.glasses
        assert said["hat"] == portrait.hat
        phrases = {PHRASES[name][value] for name, value in said.items()} - {""}
        assert phrases <= set(caption(said, rng).split(", "))
        assert set(caption(said).split(", ")) - {""} == phrases
    assert len(said_about(Portrait())) == len(CAPTIONED)
