#!/usr/bin/env python3
"""Draws icon.png: three stacked bars, the middle one raised by the vector. Needs nothing but Python."""

import struct
import zlib
from pathlib import Path

SIZE, SAMPLES = 128, 4
BACKGROUND = (0x18, 0x1B, 0x20)
# x, y, width, height, radius and colour of each rectangle, on a grid of 128.
SHAPES = [
    (0, 0, 128, 128, 28, BACKGROUND),
    (26, 70, 20, 30, 4, (0x4F, 0x8F, 0xDD)),
    (26, 56, 20, 12, 4, (0xE3, 0x95, 0x3A)),
    (54, 58, 20, 42, 4, (0x4F, 0x8F, 0xDD)),
    (54, 28, 20, 28, 4, (0xE3, 0x95, 0x3A)),
    (82, 64, 20, 36, 4, (0x4F, 0x8F, 0xDD)),
    (82, 44, 20, 18, 4, (0xE3, 0x95, 0x3A)),
]


def inside(x, y, shape):
    left, top, width, height, radius, _ = shape
    if not (left <= x < left + width and top <= y < top + height):
        return False
    dx = max(left + radius - x, x - (left + width - radius), 0)
    dy = max(top + radius - y, y - (top + height - radius), 0)
    return dx * dx + dy * dy <= radius * radius


def pixel(column, row):
    total = [0, 0, 0, 0]
    for i in range(SAMPLES):
        for j in range(SAMPLES):
            x, y = column + (i + 0.5) / SAMPLES, row + (j + 0.5) / SAMPLES
            colour = next((shape[5] for shape in reversed(SHAPES) if inside(x, y, shape)), None)
            if colour:
                total = [total[0] + colour[0], total[1] + colour[1], total[2] + colour[2], total[3] + 1]
    count = max(total[3], 1)
    return bytes([*(channel // count for channel in total[:3]), total[3] * 255 // SAMPLES**2])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


rows = b"".join(b"\0" + b"".join(pixel(column, row) for column in range(SIZE)) for row in range(SIZE))
header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
(Path(__file__).resolve().parent / "icon.png").write_bytes(png)
