#!/usr/bin/env python3
"""Draws the icon, three stacked bars that a vector has raised, in all forms that windows and packages want. Needs nothing but Python.

icon.svg     scales (Linux)
SIZE.png     the window, and the sizes of the hicolor theme (Linux)
icon.ico     16 to 256 pixels (Windows)
icon.icns    16 to 1024 pixels, with the margin of Apple's grid (macOS)
"""

import struct
import zlib
from pathlib import Path

GRID = 128
BACKGROUND, WEIGHTS, VECTOR = (0x18, 0x1B, 0x20), (0x4F, 0x8F, 0xDD), (0xE3, 0x95, 0x3A)
# x, y, width, height, radius and colour of each rectangle on the grid, from the back to the front.
SHAPES = [
    (0, 0, 128, 128, 28, BACKGROUND),
    (26, 70, 20, 30, 4, WEIGHTS),
    (26, 56, 20, 12, 4, VECTOR),
    (54, 58, 20, 42, 4, WEIGHTS),
    (54, 28, 20, 28, 4, VECTOR),
    (82, 64, 20, 36, 4, WEIGHTS),
    (82, 44, 20, 18, 4, VECTOR),
]
THEME_SIZES = [16, 24, 32, 48, 64, 128, 256, 512]
WINDOWS_SIZES = [16, 24, 32, 48, 64, 256]
# Of 1024 points 824 belong to the picture.
APPLE_MARGIN = 100 / 1024
# The types of https://en.wikipedia.org/wiki/Apple_Icon_Image_format that hold PNG, with their pixels: 1x, then 2x.
APPLE_TYPES = [
    (b"icp4", 16), (b"icp5", 32), (b"ic07", 128), (b"ic08", 256), (b"ic09", 512),
    (b"ic11", 32), (b"ic12", 64), (b"ic13", 256), (b"ic14", 512), (b"ic10", 1024),
]


def coverage(x, y, shape, unit):
    """How much of the pixel around (x, y) a rounded rectangle covers, by the distance from its edge."""
    left, top, width, height, radius, _ = shape
    dx = abs(x - left - width / 2) - width / 2 + radius
    dy = abs(y - top - height / 2) - height / 2 + radius
    distance = (max(dx, 0) ** 2 + max(dy, 0) ** 2) ** 0.5 + min(max(dx, dy), 0) - radius
    return min(max(0.5 - distance / unit, 0.0), 1.0)


def draw(size, margin=0.0):
    """Rows of RGBA pixels, not multiplied by alpha."""
    unit = GRID / (size * (1 - 2 * margin))
    rows = []
    for row in range(size):
        line = bytearray()
        for column in range(size):
            x, y = (column + 0.5 - margin * size) * unit, (row + 0.5 - margin * size) * unit
            red = green = blue = alpha = 0.0
            for shape in SHAPES:
                over = coverage(x, y, shape, unit)
                if over:
                    red, green, blue = (c * over + under * (1 - over) for c, under in zip(shape[5], (red, green, blue)))
                    alpha = over + alpha * (1 - over)
            colour = (red / alpha, green / alpha, blue / alpha) if alpha else (0, 0, 0)
            line += bytes([*(round(channel) for channel in colour), round(255 * alpha)])
        rows.append(bytes(line))
    return rows


def png(rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]) // 4, len(rows), 8, 6, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bitmap(rows):
    """A picture of an .ico as all versions of Windows read it: BGRA from the bottom up, then a mask that alpha makes idle."""
    size = len(rows)
    pixels = b"".join(row[i : i + 4][2::-1] + row[i + 3 : i + 4] for row in reversed(rows) for i in range(0, len(row), 4))
    mask = bytes((size + 31) // 32 * 4 * size)
    return struct.pack("<IiiHHIIiiII", 40, size, 2 * size, 1, 32, 0, len(pixels) + len(mask), 0, 0, 0, 0) + pixels + mask


def ico(pictures):
    directory, data = struct.pack("<HHH", 0, 1, len(pictures)), b""
    for size, rows in pictures:
        # As a bitmap the largest would be a quarter of a megabyte.
        picture = png(rows) if size >= 256 else bitmap(rows)
        offset = 6 + 16 * len(pictures) + len(data)
        directory += struct.pack("<BBBBHHII", size % 256, size % 256, 0, 0, 1, 32, len(picture), offset)
        data += picture
    return directory + data


def icns(pictures):
    data = b"".join(kind + struct.pack(">I", 8 + len(picture)) + picture for kind, picture in pictures)
    return b"icns" + struct.pack(">I", 8 + len(data)) + data


def svg():
    rectangle = '  <rect x="{}" y="{}" width="{}" height="{}" rx="{}" fill="#{:02x}{:02x}{:02x}"/>'
    shapes = "\n".join(rectangle.format(*shape[:5], *shape[5]) for shape in SHAPES)
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{GRID}" height="{GRID}">\n{shapes}\n</svg>\n'


folder = Path(__file__).resolve().parent
(folder / "icon.svg").write_text(svg())
plain = {size: draw(size) for size in {*THEME_SIZES, *WINDOWS_SIZES}}
for size in THEME_SIZES:
    (folder / f"{size}.png").write_bytes(png(plain[size]))
(folder / "icon.ico").write_bytes(ico([(size, plain[size]) for size in WINDOWS_SIZES]))
apple = {size: png(draw(size, APPLE_MARGIN)) for _, size in APPLE_TYPES}
(folder / "icon.icns").write_bytes(icns([(kind, apple[size]) for kind, size in APPLE_TYPES]))
