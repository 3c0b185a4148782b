"""Documents drawn for tests: kinds of pictures that share a layout and differ in what they say."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = 252, 25
SYLLABLES = (
    "an be ca do el fi gu ha in jo ka lo mi no or pa qui ra so ta um ve wa xi yo za ter sch ing"
).split()


def words(rng: np.random.Generator, count: int) -> list[str]:
    """Words that never were, 2 to 4 syllables each."""
    return ["".join(rng.choice(SYLLABLES, rng.integers(2, 5))) for _ in range(count)]


def sentence(rng: np.random.Generator, count: int) -> str:
    return " ".join(words(rng, count)).capitalize() + "."


def written(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, ink=INK) -> None:
    draw.text(at, text, fill=ink, font=ImageFont.load_default(size))


def form(number: int) -> Image.Image:
    """An application form, A4 at 120 dots an inch; number fills it in."""
    rng = np.random.default_rng(number)
    sheet = Image.new("L", (992, 1403), PAPER)
    draw = ImageDraw.Draw(sheet)
    written(draw, (60, 50), "Application for a residence permit", 36)
    written(draw, (60, 110), "Fill in all fields in block capitals. Do not fold.", 20)
    for row, label in enumerate("Name|First name|Born on|Street|Town|Telephone|Reason".split("|")):
        top = 190 + 130 * row
        written(draw, (60, top), label, 22)
        draw.rectangle((60, top + 32, 930, top + 88), outline=INK, width=2)
        if label in ("Born on", "Telephone"):
            text = "".join(map(str, rng.integers(0, 10, 8)))
        else:
            text = " ".join(words(rng, 2)).upper()
        written(draw, (76, top + 42), text, 30, 60)
    for column in range(6):
        left = 60 + 145 * column
        draw.rectangle((left, 1130, left + 28, 1158), outline=INK, width=2)
        if rng.random() < 0.5:
            draw.line((left + 4, 1134, left + 24, 1154), fill=INK, width=3)
            draw.line((left + 24, 1134, left + 4, 1154), fill=INK, width=3)
    written(draw, (60, 1240), "I declare that the above is true.", 20)
    draw.line((60, 1340, 460, 1340), fill=INK, width=2)
    return sheet.convert("RGB")


def slide(number: int) -> Image.Image:
    """A slide of one template: title bar, four points, a footer."""
    rng = np.random.default_rng(100 + number)
    sheet = Image.new("RGB", (1280, 720), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, 1280, 120), fill=(20, 60, 120))
    draw.rectangle((0, 670, 1280, 720), fill=(225, 228, 235))
    written(draw, (50, 35), " ".join(words(rng, 3)).capitalize(), 48, (255, 255, 255))
    for point in range(4):
        top = 180 + 115 * point
        draw.ellipse((60, top + 12, 76, top + 28), fill=(200, 80, 30))
        written(draw, (100, top), sentence(rng, 5), 34, (40, 40, 40))
    written(draw, (50, 682), f"Annual review of the works council, page {number + 1}", 20)
    return sheet


def chat(number: int) -> Image.Image:
    """A screenshot of a conversation: bubbles in the same places, other words in them."""
    rng = np.random.default_rng(200 + number)
    sheet = Image.new("RGB", (720, 1280), (229, 221, 213))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, 720, 110), fill=(7, 94, 84))
    written(draw, (110, 35), "Family", 34, (255, 255, 255))
    for row in range(8):
        mine, top = row % 2, 140 + 135 * row
        left = 200 if mine else 20
        fill = (220, 248, 198) if mine else (255, 255, 255)
        draw.rounded_rectangle((left, top, left + 500, top + 110), 16, fill=fill)
        for line in range(2):
            text = " ".join(words(rng, 4))[:30]
            written(draw, (left + 18, top + 12 + 34 * line), text, 26, (30, 30, 30))
        written(draw, (left + 430, top + 84), f"1{row}:{rng.integers(10, 60)}", 16, (120, 120, 120))
    return sheet


def page(number: int) -> Image.Image:
    """A page of a book: justified text that fills the same area."""
    rng = np.random.default_rng(300 + number)
    sheet = Image.new("L", (900, 1300), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(22)
    for line in range(38):
        left, top, line_words = 90.0, 90 + 30 * line, words(rng, 4)
        while draw.textlength(" ".join(line_words), font) < 640:
            line_words += words(rng, 1)
        inked = sum(draw.textlength(word, font) for word in line_words)
        for word in line_words:
            draw.text((left, top), word, fill=INK, font=font)
            left += draw.textlength(word, font) + (720 - inked) / (len(line_words) - 1)
    return sheet.convert("RGB")


def plate(number: int) -> Image.Image:
    """An engraved brass plate: three lines of low contrast on brushed metal."""
    rng = np.random.default_rng(400 + number)
    brushed = np.random.default_rng(4).normal(0, 10, (600, 900)).astype(np.float32)  # one for all
    metal = 168 + cv2.blur(brushed, (61, 1)) + np.linspace(-25, 25, 900, dtype=np.float32)
    relief = Image.new("L", (900, 600), 128)
    draw = ImageDraw.Draw(relief)
    for line, size in enumerate((64, 46, 46)):
        text = " ".join(words(rng, 2)).upper()[:16]
        at = (450, 150 + 140 * line)
        font = ImageFont.load_default(size)
        draw.text((at[0] + 2, at[1] + 2), text, fill=168, font=font, anchor="mm")
        draw.text(at, text, fill=88, font=font, anchor="mm")
    pixels = np.clip(metal + np.asarray(relief).astype(np.float32) - 128, 0, 255)
    tinted = pixels[..., None] * np.float32([1.0, 0.86, 0.55])
    return Image.fromarray(tinted.astype(np.uint8))


KINDS: dict[str, Callable[[int], Image.Image]] = {
    "form": form,
    "slide": slide,
    "chat": chat,
    "page": page,
    "plate": plate,
}
