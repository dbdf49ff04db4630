"""Looking first: the family, one LoRA at rising strength, two LoRAs crossed."""

from __future__ import annotations

from loralathe.demo.material import Chapter, percent
from loralathe.demo.scorers import CAPTION, IS_HINA, IS_SAILOR
from loralathe.demo.settings import PEOPLE, SCENES
from loralathe.demo.story.figures import column_means, column_of, curve_text, figure_of, mean_score, row_of
from loralathe.demo.story.names import BASE_A, HINA, SAILOR
from loralathe.demo.studio import Studio
from loralathe.demo.tasks import GridTask, choices, numbers


def meet_family(studio: Studio) -> Chapter:
    """Both bases, side by side, drawing the same people."""
    people = PEOPLE[: studio.settings.people]
    task = GridTask(
        "01-family",
        (BASE_A,),
        people[0],
        x=choices("prompt s/r", people),
        y=choices("checkpoint", ("baseA", "baseB")),
        by_name=True,
    )
    result = studio.grid(task)
    a, b = (mean_score(row_of(result, at), CAPTION) for at in (0, 1))
    return Chapter(
        "family",
        parts=(figure_of(studio, task, result, "family", score=CAPTION),),
        numbers={"prompt_a": percent(a), "prompt_b": percent(b)},
    )


def try_strengths(studio: Studio) -> Chapter:
    """`hina`, then `sailor`, at rising strength on base A."""
    settings = studio.settings
    scenes = SCENES[: settings.scenes]
    hina = GridTask(
        "02-strength-hina",
        (BASE_A, HINA),
        f"hina, {scenes[0]}",
        x=numbers("hina", settings.strengths),
        y=choices("prompt s/r", scenes),
    )
    sailor = GridTask(
        "02-strength-sailor",
        (BASE_A, SAILOR),
        f"sailor, {PEOPLE[0]}",
        x=numbers("sailor", settings.strengths),
        y=choices("prompt s/r", PEOPLE[: max(1, settings.scenes - 1)]),
    )
    first, second = studio.grid(hina), studio.grid(sailor)
    curve = [mean_score(column_of(first, at), IS_HINA) for at in range(len(settings.strengths))]
    return Chapter(
        "strength",
        parts=(
            figure_of(studio, hina, first, "strength_hina"),
            column_means(first),
            figure_of(studio, sailor, second, "strength_sailor", score=IS_SAILOR),
        ),
        numbers={
            "strengths": ", ".join(f"{s:g}" for s in settings.strengths),
            "curve": curve_text(settings.strengths, curve),
        },
    )


def cross_two(studio: Studio) -> Chapter:
    """Both LoRAs at once, every strength of one with every strength of the other."""
    settings = studio.settings
    task = GridTask(
        "03-cross",
        (BASE_A, HINA, SAILOR),
        "hina, sailor, smiling, sky",
        x=numbers("hina", settings.crossed),
        y=numbers("sailor", settings.crossed),
    )
    result = studio.grid(task)
    top = len(settings.crossed) - 1
    both = column_of(result, top)[top]
    return Chapter(
        "cross",
        parts=(figure_of(studio, task, result, "cross"),),
        numbers={
            "hina_alone": percent(mean_score([row_of(result, 0)[top]], IS_HINA)),
            "hina_both": percent(mean_score([both], IS_HINA)),
            "sailor_alone": percent(mean_score([column_of(result, 0)[top]], IS_SAILOR)),
            "sailor_both": percent(mean_score([both], IS_SAILOR)),
        },
    )
