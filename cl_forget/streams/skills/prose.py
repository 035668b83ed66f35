"""Plain text: short stories from a grammar, for the perplexity of held-out text.

The grammar keeps its promises (a name has its pronoun, a place is named again, the weather decides what is taken
along), so there is something to know about the text beyond which words are frequent.
"""

from __future__ import annotations

from random import Random

from cl_forget.streams.base import Experience
from cl_forget.streams.skills.base import split_of
from cl_forget.streams.text import TextData, text_experience

_SHE = ("Anna", "Clara", "Emma", "Julia", "Laura", "Maria", "Nina", "Olga", "Rosa", "Sara")
_HE = ("Adam", "Boris", "David", "Felix", "Hugo", "Ivan", "Martin", "Oscar", "Peter", "Simon")
_PLACES = {
    "river": "a long swim",
    "market": "some fresh apples",
    "library": "a quiet book",
    "station": "the early train",
    "garden": "a few red roses",
    "museum": "an old picture",
    "harbour": "the big ships",
    "school": "a new lesson",
    "bakery": "some warm bread",
    "park": "a little rest",
}
_WEATHER = {"rainy": "umbrella", "sunny": "hat", "cold": "coat", "windy": "scarf", "snowy": "sledge"}
_ANIMALS = {"dog": "barked", "cat": "slept", "horse": "ran", "bird": "sang", "fox": "hid", "rabbit": "jumped"}
_FAMILY = ("mother", "father", "sister", "brother", "uncle", "aunt", "friend", "neighbour")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIMES = ("In the evening", "Later that day", "After dinner", "Before midnight")
_MOODS = {"happy": "smiled", "tired": "yawned", "sad": "cried", "angry": "shouted"}


def story(random: Random) -> str:
    """Two to four sentences about one person, one place and one day."""
    she = random.random() < 0.5
    name = random.choice(_SHE if she else _HE)
    they, their = ("she", "her") if she else ("he", "his")
    place, (weather, item) = random.choice(list(_PLACES)), random.choice(list(_WEATHER.items()))
    animal, (mood, did) = random.choice(list(_ANIMALS)), random.choice(list(_MOODS.items()))
    article = "an" if item[0] in "aeiou" else "a"
    sentences = [
        f"On {random.choice(_DAYS)} {name} went to the {place}, because {they} wanted {_PLACES[place]}.",
        f"It was {weather}, so {they} took {article} {item}.",
        f"At the {place} a {animal} {_ANIMALS[animal]}.",
        f"{random.choice(_TIMES)} {name} told {their} {random.choice(_FAMILY)} about the {animal} at the {place}.",
        f"{name} was {mood} and {did}.",
    ]
    kept = [0, *sorted(random.sample(range(1, 5), random.randint(1, 3)))]
    if 3 in kept and 2 not in kept:
        kept[kept.index(3)] = 2
    return " ".join(sentences[place] for place in kept)


def draw(split: str, random: Random) -> str:
    """One story of a split."""
    while True:
        text = story(random)
        if split_of("prose", text) == split:
            return text


def stories(held_out: int = 200) -> Experience:
    """The suite of plain text: perplexity of stories that no training saw.

    Args:
        held_out: number of validation stories, and of test stories.
    """

    def data(split: str) -> TextData:
        random = Random(f"prose/{split}")
        return TextData(list(dict.fromkeys(draw(split, random) for _ in range(held_out))))

    return text_experience("stories", None, data("validation"), data("test"), "perplexity")
