"""Draws a portrait, 128x128, in one of two styles.

Both styles share every shape; they differ in how a shape reaches the paper (`Cel`, `Sketch`). Coordinates
are in final pixels; everything is drawn at twice the size and box-filtered down.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw

from training.attributes import Portrait
from training.geometry import Point, ellipse, mirrored, smooth, star, strand

SIZE = 128
SUPERSAMPLE = 2

Colour = tuple[int, int, int]

HAIR: dict[str, Colour] = {
    "black": (44, 40, 58), "brown": (126, 74, 42), "blond": (247, 214, 92),
    "orange": (236, 118, 36), "pink": (250, 132, 182), "silver": (190, 200, 216),
}  # fmt: skip
EYES: dict[str, Colour] = {
    "blue": (34, 104, 236),
    "green": (22, 170, 72),
    "red": (222, 30, 50),
    "amber": (238, 168, 16),
}
SKIN: dict[str, Colour] = {"fair": (255, 228, 208), "tan": (222, 168, 122), "dark": (164, 106, 74)}
SHIRT: dict[str, Colour] = {
    "white": (248, 248, 250), "navy": (36, 52, 112), "yellow": (252, 206, 44),
    "purple": (142, 76, 190), "teal": (20, 160, 156), "scarlet": (222, 40, 38),
}  # fmt: skip
INK: Colour = (38, 30, 44)
PAPER: Colour = (244, 234, 212)
BERET: Colour = (150, 24, 62)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` of it replaced by `b`."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


class Cel:
    """Flat colours and no outlines, like an animation cel."""

    def __init__(self) -> None:
        side = SIZE * SUPERSAMPLE
        self.image = Image.new("RGB", (side, side))
        self.pen = ImageDraw.Draw(self.image)

    def shape(self, points: Sequence[Point], colour: Colour, *, shade: bool = False) -> None:
        """A filled area; `shade` marks those that style B hatches."""
        self.pen.polygon(_scaled(points), fill=colour)

    def shadow(self, points: Sequence[Point], colour: Colour) -> None:
        """A darker area on top of a shape, with no edge of its own."""
        self.pen.polygon(_scaled(points), fill=mix(colour, (60, 30, 90), 0.25))

    def light(self, points: Sequence[Point], colour: Colour) -> None:
        """A lighter area on top of a shape."""
        self.pen.polygon(_scaled(points), fill=mix(colour, (255, 255, 255), 0.45))

    def line(self, points: Sequence[Point], width: float, colour: Colour = INK) -> None:
        """A stroke that belongs to the subject (mouth, lashes), not to the style."""
        scaled = _scaled(points)
        self.pen.line(scaled, fill=colour, width=round(width * SUPERSAMPLE), joint="curve")
        radius = width * SUPERSAMPLE / 2
        for x, y in (scaled[0], scaled[-1]):
            self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def finish(self) -> Image.Image:
        """The picture at its final size."""
        return self.image.reduce(SUPERSAMPLE)


class Sketch(Cel):
    """Pale washes on warm paper, dark outlines, pencil hatching 3 px thick."""

    def shape(self, points: Sequence[Point], colour: Colour, *, shade: bool = False) -> None:
        wash = mix(colour, PAPER, 0.34)
        scaled = _scaled(points)
        self.pen.polygon(scaled, fill=wash)
        if shade:
            self._hatch(scaled, mix(colour, INK, 0.4))
        self.pen.line([*scaled, scaled[0], scaled[1]], fill=INK, width=4, joint="curve")

    def shadow(self, points: Sequence[Point], colour: Colour) -> None:
        self._hatch(_scaled(points), mix(colour, INK, 0.4))

    def light(self, points: Sequence[Point], colour: Colour) -> None:
        self.pen.polygon(_scaled(points), fill=mix(colour, PAPER, 0.75))

    def _hatch(self, scaled: list[Point], colour: Colour) -> None:
        area = Image.new("L", self.image.size)
        ImageDraw.Draw(area).polygon(scaled, fill=255)
        self.image.paste(colour, mask=ImageChops.multiply(area, _hatching(self.image.size[0])))


def _hatching(side: int) -> Image.Image:
    if side not in _HATCHING:
        mask = Image.new("L", (side, side))
        pen = ImageDraw.Draw(mask)
        for offset in range(-side, side, 18):
            pen.line([(offset, side), (offset + side, 0)], fill=255, width=6)
        _HATCHING[side] = mask
    return _HATCHING[side]


_HATCHING: dict[int, Image.Image] = {}


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in points]


def draw(portrait: Portrait) -> Image.Image:
    """The portrait as a 128x128 RGB picture; a pure function of its fields."""
    rng = random.Random(portrait.seed)
    canvas = Cel() if portrait.drawing == "cel" else Sketch()
    _background(canvas, portrait.background, rng)
    shift = (rng.uniform(-3, 3), rng.uniform(-2, 2))
    person = _Person(canvas, portrait, shift, fringe=rng.randrange(3))
    person.draw()
    return canvas.finish()


def _background(canvas: Cel, place: str, rng: random.Random) -> None:
    _PLACES[place](canvas, rng)


def _fill(
    canvas: Cel, colour: Colour, top: float = -4, bottom: float = SIZE + 4, *, shade: bool = False
) -> None:
    canvas.shape([(-4, top), (SIZE + 4, top), (SIZE + 4, bottom), (-4, bottom)], colour, shade=shade)


def _sky(canvas: Cel, rng: random.Random) -> None:
    _fill(canvas, (104, 190, 255))
    for x, y in ((rng.uniform(4, 30), rng.uniform(14, 34)), (rng.uniform(98, 124), rng.uniform(10, 50))):
        for dx, dy, r in ((-9, 3, 8), (0, -2, 10), (10, 3, 8)):
            canvas.light(ellipse(x + dx, y + dy, r, r * 0.8), (170, 220, 255))


def _sunset(canvas: Cel, rng: random.Random) -> None:
    _fill(canvas, (255, 148, 84))
    _fill(canvas, (226, 86, 98), top=rng.uniform(62, 74))
    x = rng.choice((rng.uniform(10, 24), rng.uniform(104, 118)))
    canvas.shape(ellipse(x, rng.uniform(34, 46), 14, 14), (255, 236, 130))


def _forest(canvas: Cel, rng: random.Random) -> None:
    _fill(canvas, (150, 214, 120))
    for x in (rng.uniform(0, 10), rng.uniform(22, 32), rng.uniform(96, 106), rng.uniform(118, 128)):
        top = rng.uniform(2, 22)
        canvas.shape([(x, top), (x + 16, 100), (x - 16, 100)], (28, 116, 62), shade=True)


def _night(canvas: Cel, rng: random.Random) -> None:
    _fill(canvas, (24, 28, 74))
    x, y = rng.choice((rng.uniform(12, 20), rng.uniform(106, 114))), rng.uniform(14, 24)
    canvas.shape(ellipse(x, y, 10, 10), (255, 246, 190))
    for _ in range(4):
        canvas.light(ellipse(rng.uniform(4, 124), rng.uniform(30, 90), 2, 2), (230, 230, 255))


def _room(canvas: Cel, rng: random.Random) -> None:
    _fill(canvas, (214, 192, 160))
    _fill(canvas, (150, 110, 76), top=rng.uniform(92, 98), shade=True)
    x = rng.choice((rng.uniform(0, 6), rng.uniform(98, 104)))
    canvas.shape([(x, 16), (x + 24, 16), (x + 24, 56), (x, 56)], (238, 244, 250))


def _blossom(canvas: Cel, rng: random.Random) -> None:
    _fill(canvas, (255, 208, 226))
    for _ in range(9):
        canvas.shape(ellipse(rng.uniform(0, 128), rng.uniform(0, 110), 6, 5), (255, 255, 255))


_PLACES = {
    "sky": _sky,
    "sunset": _sunset,
    "forest": _forest,
    "night": _night,
    "room": _room,
    "blossom": _blossom,
}


class _Person:
    """Draws back to front: back hair, body, head, face, fringe, what is worn on top."""

    def __init__(self, canvas: Cel, portrait: Portrait, shift: Point, fringe: int) -> None:
        self.canvas = canvas
        self.p = portrait
        self.shift = shift
        self.fringe_kind = fringe
        self.hair = HAIR[portrait.hair]
        self.skin = SKIN[portrait.skin]

    def at(self, points: Sequence[Point]) -> list[Point]:
        dx, dy = self.shift
        return [(x + dx, y + dy) for x, y in points]

    def both(self, points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
        """The points on her right and, mirrored, on her left."""
        return self.at(points), self.at(mirrored(points))

    def draw(self) -> None:
        self._back_hair()
        self._body()
        self._head()
        self._eyes()
        self._mouth()
        self._fringe()
        if self.p.glasses == "glasses":
            self._glasses()
        if self.p.hat == "beret":
            self._beret()
        if self.p.ornament == "star":
            self._star()

    def _back_hair(self) -> None:
        canvas, hair = self.canvas, self.hair
        skull = smooth([(64, 8), (97, 22), (102, 50), (94, 74), (64, 82), (34, 74), (26, 50), (31, 22)])
        if self.p.cut == "long":
            fall = smooth(
                [
                    (64, 8),
                    (98, 22),
                    (108, 60),
                    (114, 104),
                    (112, 132),
                    (16, 132),
                    (14, 104),
                    (20, 60),
                    (30, 22),
                ]
            )
            canvas.shape(self.at(fall), hair, shade=True)
        elif self.p.cut == "short":
            bob = smooth(
                [(64, 8), (98, 22), (109, 60), (106, 92), (88, 98), (40, 98), (22, 92), (19, 60), (30, 22)]
            )
            canvas.shape(self.at(bob), hair, shade=True)
        elif self.p.cut == "twintails":
            tail = strand([(30, 26), (10, 30), (4, 60), (10, 90), (2, 116)], [8, 13, 14, 12, 3])
            for points in self.both(tail):
                canvas.shape(points, hair, shade=True)
            canvas.shape(self.at(skull), hair)
        else:
            tail = strand([(92, 22), (114, 22), (119, 54), (113, 86), (122, 116)], [9, 14, 15, 13, 3])
            canvas.shape(self.at(tail), hair, shade=True)
            canvas.shape(self.at(skull), hair)

    def _body(self) -> None:
        canvas = self.canvas
        colour = SHIRT[self.p.shirt]
        canvas.shape(self.at([(54, 84), (74, 84), (75, 112), (53, 112)]), mix(self.skin, (120, 50, 40), 0.18))
        torso = smooth([(50, 101), (78, 101), (104, 108), (116, 136), (12, 136), (24, 108)])
        canvas.shape(self.at(torso), colour)
        if self.p.outfit == "sailor":
            self._sailor_collar()
            return
        for fold in self.both([(30, 118), (40, 112), (36, 134), (22, 134)]):
            canvas.shadow(fold, colour)
        canvas.shape(self.at(ellipse(64, 100, 13, 8)), mix(self.skin, (120, 50, 40), 0.1))

    def _sailor_collar(self) -> None:
        canvas = self.canvas
        for collar in self.both([(52, 98), (63, 118), (46, 126), (28, 112), (36, 103)]):
            canvas.shape(collar, SHIRT["navy"])
            canvas.line(collar[1:4], 2.4, (255, 255, 255))
        canvas.shape(self.at([(54, 98), (74, 98), (64, 116)]), mix(self.skin, (120, 50, 40), 0.1))
        for loop in self.both([(64, 116), (44, 108), (44, 126)]):
            canvas.shape(loop, (226, 36, 44))
        canvas.shape(self.at(ellipse(64, 116, 5, 5)), (180, 20, 34))

    def _head(self) -> None:
        canvas = self.canvas
        for ear in self.both(ellipse(33, 66, 6, 8)):
            canvas.shape(ear, self.skin)
        face = smooth(
            [
                (64, 24),
                (88, 32),
                (97, 56),
                (93, 76),
                (78, 93),
                (64, 98),
                (50, 93),
                (35, 76),
                (31, 56),
                (40, 32),
            ]
        )
        canvas.shape(self.at(face), self.skin)
        for cheek in self.both(ellipse(40, 80, 5, 3)):
            canvas.pen.polygon(_scaled(cheek), fill=mix(self.skin, (240, 90, 100), 0.35))

    def _eyes(self) -> None:
        canvas = self.canvas
        iris = EYES[self.p.eyes]
        for side, (x, y) in enumerate(self.at([(48, 64), (80, 64)])):
            canvas.pen.polygon(_scaled(ellipse(x, y, 9.5, 10.5)), fill=(255, 255, 255))
            canvas.pen.polygon(_scaled(ellipse(x, y + 0.5, 7.5, 9.5)), fill=iris)
            canvas.pen.polygon(_scaled(ellipse(x, y + 1, 3, 4.5)), fill=mix(iris, INK, 0.8))
            canvas.pen.polygon(_scaled(ellipse(x - 2.5, y - 4, 2.6, 2.6)), fill=(255, 255, 255))
            out = -1 if side == 0 else 1
            lash = smooth(
                [(x - out * 9, y - 7), (x, y - 11.5), (x + out * 9, y - 8), (x + out * 11, y - 4)],
                closed=False,
            )
            canvas.line(lash, 2.8)
        self._brows()

    def _brows(self) -> None:
        colour = mix(self.hair, INK, 0.5)
        inner, outer = {"smiling": (48, 47), "serious": (51, 45), "surprised": (43, 44)}[self.p.expression]
        for brow in self.both([(56, inner), (41, outer)]):
            self.canvas.line(brow, 2.6, colour)

    def _mouth(self) -> None:
        canvas = self.canvas
        if self.p.expression == "serious":
            canvas.line(self.at([(54, 87), (64, 86), (74, 87)]), 3.0, (96, 30, 34))
        elif self.p.expression == "smiling":
            canvas.shape(
                self.at(smooth([(51, 80), (64, 82), (77, 80), (73, 89), (64, 92.5), (55, 89)])), (232, 44, 70)
            )
            canvas.pen.polygon(
                _scaled(self.at([(54, 81.5), (64, 82.5), (74, 81.5), (72, 84), (56, 84)])),
                fill=(255, 255, 255),
            )
        else:
            canvas.shape(self.at(ellipse(64, 86, 5, 7)), (130, 22, 44))

    def _fringe(self) -> None:
        canvas, hair = self.canvas, self.hair
        tips = (
            [(28, 62), (36, 46), (44, 54), (54, 42), (64, 52), (74, 42), (84, 54), (92, 46), (100, 62)],
            [(28, 64), (35, 44), (52, 50), (72, 36), (84, 46), (94, 50), (100, 62)],
            [(28, 62), (34, 52), (46, 50), (58, 51), (70, 51), (82, 50), (94, 52), (100, 62)],
        )[self.fringe_kind]
        crown: list[Point] = [(103, 40), (92, 18), (64, 7), (36, 18), (25, 40)]
        canvas.shape(self.at([*tips, *smooth(crown, closed=False)]), hair)
        canvas.light(self.at(smooth([(40, 26), (60, 19), (84, 23), (84, 28), (62, 25), (43, 32)])), hair)

    def _glasses(self) -> None:
        canvas = self.canvas
        for rim in self.both(ellipse(48, 65, 14, 13.5)):
            canvas.line([*rim, rim[0]], 2.8)
        canvas.line(self.at([(61, 62), (67, 62)]), 2.8)

    def _beret(self) -> None:
        canvas = self.canvas
        canvas.shape(
            self.at(smooth([(22, 32), (26, 8), (58, -2), (100, 2), (116, 18), (104, 32), (64, 26)])), BERET
        )
        canvas.shadow(self.at(smooth([(26, 29), (62, 21), (104, 29), (104, 34), (64, 27), (26, 34)])), BERET)

    def _star(self) -> None:
        points = self.at(star(38, 30, 17, 8))
        self.canvas.shape(points, (255, 226, 30))
        if isinstance(self.canvas, Sketch):
            return
        self.canvas.line([*points, points[0]], 1.6, (214, 130, 0))
