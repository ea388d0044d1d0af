"""fastText's classifier (Joulin et al. 2016): a text is the mean of vectors of its words and n-grams."""

from dataclasses import dataclass

from ...engine.api import ModelConfig, NonNegativeInt, PositiveInt, option

DEVIATION = 0.1  # of the vectors at the start


@dataclass(frozen=True)
class FastTextConfig(ModelConfig):
    width: PositiveInt = option(64, "numbers that stand for an n-gram")
    buckets: PositiveInt = option(2**16, "rows of the table of vectors; n-grams whose hash is the same share one")
    word_ngrams: PositiveInt = option(2, "n-grams of up to so many words")
    min_characters: PositiveInt = option(1, "characters of the shortest n-gram of characters")
    max_characters: NonNegativeInt = option(4, "characters of the longest; 0: none, words alone")
