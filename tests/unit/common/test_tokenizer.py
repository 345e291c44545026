"""Tokenizing and templates, the same for the web tier and the worker."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from common.errors import InvalidRequest
from common.tokenizer import ChatTemplate, JsonTokenizer, WordTokenizer, load


@pytest.fixture
def byte_tokenizer() -> JsonTokenizer:
    """One token a byte, as byte-level BPE without merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return JsonTokenizer(backend.to_str().encode(), frozenset({0}))


def test_a_tokenizer_survives_being_published(byte_tokenizer):
    again = load("json", byte_tokenizer.dumps())
    assert again is not None
    assert again.encode("Grüße 你好") == byte_tokenizer.encode("Grüße 你好")
    assert again.encode_batch(["a", "bc"]) == [byte_tokenizer.encode("a"), byte_tokenizer.encode("bc")]


@pytest.mark.parametrize("text", ["plain", "Grüße", "你好，世界", "🙂👩‍👩‍👧 end"])
def test_streamed_text_is_whole_and_never_shows_half_a_character(byte_tokenizer, text):
    stream = byte_tokenizer.stream()
    pieces = [stream.step(token) for token in byte_tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_words_are_the_echo_engines_tokens():
    assert len(WordTokenizer().encode("one  two\nthree")) == 3
    assert load("none", None) is None


def test_a_chat_is_rendered_by_the_models_own_template():
    template = ChatTemplate(
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}",
        {"bos_token": "^"},
    )
    assert template.render([{"role": "user", "content": "hi"}]) == "^<user>hi<assistant>"


def test_what_a_template_refuses_is_a_clear_error():
    template = ChatTemplate("{{ raise_exception('System role not supported') }}", {})
    with pytest.raises(InvalidRequest, match="System role not supported"):
        template.render([{"role": "system", "content": "x"}])


def test_a_template_cannot_reach_out_of_its_sandbox():
    template = ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}", {})
    with pytest.raises(InvalidRequest):
        template.render([{"role": "user", "content": "x"}])
