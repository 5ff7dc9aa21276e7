"""Which characters the demo pages hold, and how often: classes by frequency, and a long-tailed text."""
import csv

import numpy as np

from records.demo_strokes import MISSING, glyph

HIRAGANA = "のにしてはをともかりなるたいれきらまこそゝふひけさすくつやむうみよへんせあおめえわろちねほぬゆゑゐ々"
VOICED_AND_KANJI = "が人ど大ば心で事じ日ず見ご山ぐ花べ三だ月ぞ御げ有び中ざ女ぶ出ぎ行ぜ上ぼ子ぢ本づ物ゞ時"
KATAKANA = "アイオケコサステネマメモヨラルレシ"  # those that look like no frequent hiragana or kanji
KANJI = ("一二十五六七九百千万年水火木金土石川海風雨雪春夏秋冬東西南北左右下前後小長高"
         "明色白黒赤青道家門国都町村田里江京殿宮寺神仏社父母兄弟男妻姫君臣武馬牛鳥虫魚龍"
         "竹松梅桜草葉根枝実米酒飯茶味食身手足目耳首頭面顔声言語文字書筆紙絵歌詩読聞思知悪善"
         "名今昔朝夜夕光影雲空星天地世界生死病老若命魂鬼夢恋情愛怒笑泣喜楽苦痛強弱早遅遠近深浅広"
         "多少新古同別先内外表裏来帰去立居寝起取持打切引合分返送待忘渡通過始終成来至和漢"
         "物語源氏平家軍兵刀弓矢戦敵討城主客衣糸綾錦帯袖車船舟橋井泉波浦島浜沢野原谷峰岩"
         "何也候申参給仰奉存無不此其是者所方様作用意気理法学問教師医薬料理鍋釜塩油豆餅"
         "四八半両度番歳銭金銀銅玉宝屋店商売買代重軽経念仏説論真義礼信孝忠")
ZIPF_EXPONENT = 0.85


def frequency_order():
    """Every character of the built-in list, the most frequent first, each once.

    Of pairs that the brush can hardly tell apart (ヘ and へ, 力 and カ, 土 and 士, small and large kana)
    the first 400 hold at most one, so that small sets of classes can be learned.
    """
    level_1 = "".join(bytes((row, cell)).decode("euc_jp", "ignore")
                      for row in range(0xB0, 0xD0) for cell in range(0xA1, 0xFF))
    kana = "".join(chr(c) for c in [*range(0x3041, 0x3097), *range(0x309D, 0x30A0), *range(0x30A1, 0x3100)])
    level_2 = "".join(bytes((row, cell)).decode("euc_jp", "ignore")
                      for row in range(0xD0, 0xF5) for cell in range(0xA1, 0xFF))
    rest = "".join(map(chr, range(0x4E00, 0xA000)))
    return list(dict.fromkeys(HIRAGANA + VOICED_AND_KANJI + KATAKANA + KANJI
                              + level_1 + kana + level_2 + rest))


def read_translation(path):
    """The characters of a `Unicode,char` table (the competition's unicode_translation.csv), by frequency."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if "Unicode" not in (rows.fieldnames or ()):
            raise ValueError(f"{path} has no column 'Unicode' (found {rows.fieldnames}); "
                             "expected a table with the columns Unicode,char")
        found = [_from_label(row["Unicode"], path) for row in rows]
    rank = {char: i for i, char in enumerate(frequency_order())}
    return sorted(dict.fromkeys(found), key=lambda char: (rank.get(char, len(rank)), char))


def _from_label(label, path):
    try:
        return chr(int(label.removeprefix("U+"), 16))
    except ValueError:
        raise ValueError(f"{path}: '{label}' is not of the form U+XXXX") from None


def to_label(char):
    """'あ' -> 'U+3042'."""
    return f"U+{ord(char):04X}"


def choose_classes(characters, count):
    """The first `count` characters that the face draws, and each in its own way.

    What the face lacks comes out as an empty box, and some variants as the very same glyph.
    """
    seen = {glyph(MISSING, 24).tobytes(), glyph(" ", 24).tobytes()}
    chosen = []
    for char in characters:
        if len(chosen) == count:
            break
        drawn = glyph(char, 24).tobytes()
        if drawn not in seen:
            seen.add(drawn)
            chosen.append(char)
    if len(chosen) < count:
        raise ValueError(f"--classes {count} is more than the {len(chosen)} characters of the list that "
                         f"OpenCV's face can draw; give at most {len(chosen)}")
    return chosen


def zipf(count):
    """Probability of each class, the most frequent first: float64 [count]."""
    weight = np.arange(2, count + 2, dtype=float) ** -ZIPF_EXPONENT
    return weight / weight.sum()


def default_min_count(room, classes):
    """12, or what half of the room for characters allows if that is less, but at least 1."""
    return max(1, min(12, room // (2 * classes)))


def deal(room, classes, min_count, rng):
    """Long-tailed text for each page: a list of strings, page i with room[i][1] characters.

    room: (book, characters) of each page. Every class occurs at least `min_count` times, its
    guaranteed copies spread over the books; all else is drawn by `zipf`.
    """
    total = sum(size for _, size in room)
    needed = min_count * len(classes)
    if needed > total:
        raise ValueError(f"{len(classes)} classes at least {min_count} times need {needed} places, the "
                         f"training pages have {total}; raise --train_pages to about "
                         f"{int(1.05 * len(room) * needed / max(1, total)) + 1}, or lower --classes or --min_count")
    books = sorted({book for book, _ in room})
    left = {book: sum(size for b, size in room if b == book) for book in books}
    texts = {book: [] for book in books}
    for copy in range(min_count):
        for number, char in enumerate(classes):
            book = books[(number + copy) % len(books)]
            if not left[book]:
                book = max(books, key=left.get)
            texts[book].append(char)
            left[book] -= 1
    for book in books:
        texts[book] += [classes[i] for i in rng.choice(len(classes), left[book], p=zipf(len(classes)))]
        texts[book] = [texts[book][i] for i in rng.permutation(len(texts[book]))]
    pages = []
    for book, size in room:
        pages.append("".join(texts[book][:size]))
        del texts[book][:size]
    return pages
