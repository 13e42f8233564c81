"""What turns expressions into the network's input, as a config says."""

from data.words import build_word_table, vocabulary_of


def build_words(config, referents, cache_dir=None):
    """Word vectors, or the word pieces of a BERT with use_bert.

    Args:
        config: `config.schema.Config`.
        referents: `data.annotations.Referent`s whose expressions will be read.
        cache_dir: folder where finished word vectors are kept.

    Returns:
        Object with `encode(expression, word_len)` → int32 (T,) and `lookup(ids)`: integers
        (..., T) → float32 (..., T, D) word vectors or the int32 ids themselves, whichever the
        input "words" of `build_mcn` takes.
    """
    if config.use_bert:
        from data.wordpiece import build_word_pieces

        return build_word_pieces(config.bert_path)
    return build_word_table(
        config.word_embed, vocabulary_of(referents), config.embed_dim, cache_dir=cache_dir
    )
