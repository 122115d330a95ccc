#!/usr/bin/env python3
"""Makes the bundled fonts from their npm packages.

    npm pack @expo-google-fonts/inter@0.4.2 @expo-google-fonts/noto-sans-jp@0.4.3 @phosphor-icons/web@2.1.2
    for f in *.tgz; do mkdir -p "${f%.tgz}" && tar xzf "$f" -C "${f%.tgz}"; done
    pip install fonttools
    python make_fonts.py FOLDER_WITH_THE_PACKAGES

egui draws a font's default glyphs and knows no OpenType features, so tabular figures are made the default here.
"""

import shutil
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

HERE = Path(__file__).resolve().parent

# Digits and signs that stand in columns of numbers. The hyphen stays as it is: model names are full of them.
TABULAR = "0123456789+−±"

# Icon in Phosphor → the character it is drawn for. Screen readers and the clipboard then get a real character.
ICONS = {
    0xE136: "▾",  # caret-down
    0xE13A: "▸",  # caret-right
    0xE13C: "▴",  # caret-up
    0xE182: "✓",  # check
    0xE330: "☾",  # moon
    0xE472: "☀",  # sun
    0xE4E0: "⚠",  # warning
    0xE4F6: "✕",  # x
}

# Jōyō kanji beyond JIS level 1.
MORE_KANJI = "傲刹哺喩嗅嘲毀彙恣惧慄憬拉摯曖楷鬱璧瘍箋籠緻羞訃諧貪踪辣錮塡剝頰𠮟丼"


def inter_characters():
    ranges = [
        (0x20, 0x7E), (0xA0, 0x17F), (0x218, 0x21B), (0x370, 0x3FF), (0x400, 0x45F), (0x1E80, 0x1E85),
        (0x2010, 0x2027), (0x2030, 0x205E), (0x2070, 0x209C), (0x20AC, 0x20AC), (0x2100, 0x214F), (0x2150, 0x218B),
        (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2300, 0x23FF), (0x25A0, 0x25FF),
    ]
    return {code for first, last in ranges for code in range(first, last + 1)}


def japanese_characters():
    """JIS X 0208 rows 1–8 (symbols, kana, Greek, Cyrillic, lines) and 16–47 (level 1 kanji), half-width kana."""
    codes = set(range(0x3000, 0x3100)) | set(range(0xFF00, 0xFFF0)) | {ord(kanji) for kanji in MORE_KANJI}
    for row in [*range(1, 9), *range(16, 48)]:
        for cell in range(1, 95):
            try:
                codes.add(ord(bytes([0xA0 + row, 0xA0 + cell]).decode("euc_jp")))
            except (UnicodeDecodeError, TypeError):
                pass
    return codes


def make(source, codes, name, features=()):
    options = subset.Options()
    options.layout_features = list(features)
    options.hinting = False
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    options.notdef_outline = True
    options.glyph_names = False
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(source)
    path = HERE / name
    source.save(path)
    print(f"{name}: {path.stat().st_size / 1000:.0f} kB, {len(source.getBestCmap())} characters")


def tabular(font):
    """Puts the tabular figure behind each character of TABULAR."""
    feature = next(r.Feature for r in font["GSUB"].table.FeatureList.FeatureRecord if r.FeatureTag == "tnum")
    mapping = {}
    for index in feature.LookupListIndex:
        for table in font["GSUB"].table.LookupList.Lookup[index].SubTable:
            mapping.update(getattr(table, "ExtSubTable", table).mapping)
    for cmap in font["cmap"].tables:
        for code in map(ord, TABULAR):
            if cmap.isUnicode() and code in cmap.cmap:
                cmap.cmap[code] = mapping.get(cmap.cmap[code], cmap.cmap[code])


def main():
    packages = Path(sys.argv[1])
    inter, noto, phosphor = (next(packages.glob(f"*{name}*/package")) for name in ["inter-", "noto-sans-jp-", "phosphor"])
    icons = {ord(character) for character in ICONS.values()}

    for weight, name in [("400Regular", "Inter-Regular.ttf"), ("600SemiBold", "Inter-SemiBold.ttf")]:
        font = TTFont(inter / weight / f"Inter_{weight}.ttf")
        tabular(font)
        for cmap in font["cmap"].tables:
            if cmap.isUnicode():
                # Inter has no division slash; its slash is one.
                cmap.cmap[0x2215] = cmap.cmap[ord("/")]
        make(font, inter_characters() - icons, name)

    font = TTFont(noto / "400Regular" / "NotoSansJP_400Regular.ttf")
    make(font, japanese_characters() - inter_characters() - icons, "NotoSansJP-subset.ttf")

    font = TTFont(phosphor / "src" / "regular" / "Phosphor.ttf")
    for cmap in font["cmap"].tables:
        if cmap.isUnicode():
            cmap.cmap = {ord(character): cmap.cmap[code] for code, character in ICONS.items()}
    make(font, icons, "Phosphor-subset.ttf")

    shutil.copy(inter / "LICENSE_FONT", HERE / "Inter-OFL.txt")
    shutil.copy(noto / "LICENSE_FONT", HERE / "NotoSansJP-OFL.txt")
    shutil.copy(phosphor / "LICENSE", HERE / "Phosphor-MIT.txt")


if __name__ == "__main__":
    main()
