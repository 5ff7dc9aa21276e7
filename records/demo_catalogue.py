"""The categories of the demo's shop: names on three levels, and what each one's products look like.

A third of the first level's are covers, whose third level differs by the words on them alone; of the others
the second level is a thing and the third its texture and colours.
"""
from typing import NamedTuple

import numpy as np

from records.demo_object import TEXTURES
from records.demo_tags import TAGS

COVERS = {  # level 1: {level 2: the words that the categories of level 3 are named by}
    "LIVRES": {"LITTERATURE": "ROMAN POESIE POLICIER THEATRE NOUVELLES",
               "JEUNESSE": "CONTES FABLES COMPTINES DEVINETTES AVENTURE",
               "SAVOIRS": "HISTOIRE GEOGRAPHIE PHYSIQUE BOTANIQUE MEDECINE",
               "PRATIQUE": "CUISINE JARDINAGE BRICOLAGE COUTURE VOYAGE",
               "ARTS": "PEINTURE SCULPTURE DESSIN GRAVURE MUSEE"},
    "MUSIQUE": {"SCENE": "JAZZ BLUES ROCK METAL PUNK", "CLASSIQUE": "OPERA SONATE QUATUOR CHORALE SYMPHONIE",
                "DANSE": "TANGO VALSE SALSA TECHNO DISCO", "MONDE": "FLAMENCO REGGAE FADO SAMBA KLEZMER",
                "CHANSON": "BALLADE RAP GOSPEL SOUL FOLK"},
    "FILMS": {"FICTION": "WESTERN POLAR COMEDIE DRAME HORREUR",
              "ANIMATION": "MANGA MARIONNETTE SILHOUETTE CARTOON POUPEES",
              "DOCUMENTAIRE": "NATURE OCEAN DESERT VOLCAN PLANETE",
              "SERIES": "HOPITAL AVOCAT ESPION FAMILLE ROYAUME",
              "SPECTACLE": "CIRQUE BALLET CONCERT MAGIE HUMOUR"},
    "LOGICIELS": {"CONSOLE": "COURSE COMBAT PLATEFORME STRATEGIE SIMULATION",
                  "BUREAU": "ANTIVIRUS COMPTES ARCHIVES PHOTO COURRIER",
                  "LANGUES": "ANGLAIS ESPAGNOL ALLEMAND ITALIEN JAPONAIS",
                  "SPORT": "FOOTBALL TENNIS RUGBY GOLF HOCKEY",
                  "CASSETETE": "ECHECS DOMINOS CARTES MOTS CHIFFRES"}}
THINGS = ("JARDIN", "DECORATION", "MAISON", "BIJOUX", "ANIMAUX", "LOISIRS", "OUTILS", "FETES")  # level 1
FILLERS = ("LE LA DES GRAND NOUVEAU EDITION TOME VOLUME COLLECTION SERIE BEST ORIGINAL COMPLET PREMIER "
           "SPECIAL LIVRE ALBUM GUIDE MONDE VIE").split()  # on covers of every category
PER_LEVEL = 5      # at most, on the levels 2 and 3
INVENTED = 2       # words of its own that a category of covers has beside the one it is named by


class Category(NamedTuple):
    """names: of the three levels. On covers words: its own; kind: which look, or which of TAGS it is; texture:
    which of TEXTURES, of things."""
    category_id: int
    names: tuple
    words: tuple
    kind: int
    texture: int


def catalogue(level1, level2, level3, seed):
    """List of Category: level1 x level2 x level3 of them, a third of the first level (at least 1) covers."""
    rng = np.random.default_rng([seed, 7])
    ids = 1_000_000_000 + 37 * rng.permutation(level1 * level2 * level3)
    words = invented(rng, INVENTED * len(genres()), {*genres(), *FILLERS})
    shapes, found = list(TAGS), []
    n_covers = max(1, level1 // 3)

    def add(names, own, kind, texture):
        found.append(Category(int(ids[len(found)]), names, own, kind, texture))
    for first, (name, kinds) in enumerate(list(COVERS.items())[:n_covers]):
        for second, (kind, row) in enumerate(list(kinds.items())[:level2]):
            for word in row.split()[:level3]:
                own = (word, *(words.pop() for _ in range(INVENTED)))
                add((name, f"{name} {kind}", f"{kind} {word}"), own, PER_LEVEL * first + second, 0)
    for first, name in enumerate(THINGS[:level1 - n_covers]):
        for second in range(level2):
            shape = PER_LEVEL * first + second
            for texture in range(level3):
                add((name, f"{name} {shapes[shape].upper()}", f"{shapes[shape].upper()} {TEXTURES[texture]}"), (),
                    shape, texture)
    return found


def genres():
    """The words that categories of covers are named by."""
    return [word for kinds in COVERS.values() for row in kinds.values() for word in row.split()]


def invented(rng, count, taken=()):
    """`count` different words of capital letters, 3 to 9 long, of syllables that could be anyone's."""
    taken, found = set(taken), []
    while len(found) < count:
        syllables = ["".join(rng.choice(list(letters)) for letters in ("BCDFGHJKLMNPQRSTVWXYZ", "AEIOUY"))
                     + (rng.choice(list("LMNRSTXZ")) if rng.random() < 0.35 else "")
                     for _ in range(rng.integers(1, 4))]
        word = "".join(syllables)
        if 3 <= len(word) <= 9 and word not in taken:
            taken.add(word)
            found.append(word)
    return found


def styled(word, rng):
    """A word in capitals, or with a capital only at its beginning."""
    return word if rng.random() < 0.65 else word.capitalize()
