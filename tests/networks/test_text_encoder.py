"""Sentences become vectors: padding is not heard, order is, and silence has a vector of its own."""

from __future__ import annotations

import torch

from handmade.networks.text_encoder import TextEncoder


def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(20, 6, 12, 2, heads=4).eval()


def test_padding_changes_nothing():
    network = encoder()
    words, sentence = network(torch.tensor([[5, 6, 7]]))
    padded, same = network(torch.tensor([[5, 6, 7, 0, 0, 0]]))
    assert torch.allclose(words, padded[:, :3], atol=1e-6) and torch.allclose(sentence, same, atol=1e-6)
    assert padded[:, 3:].abs().max() == 0


def test_a_sentence_is_the_sum_of_its_words_over_the_root_of_their_number():
    words, sentence = encoder()(torch.tensor([[5, 6, 7, 0]]))
    assert torch.allclose(sentence, words[:, :3].sum(1) / 3**0.5, atol=1e-6)


def test_a_word_hears_its_neighbours_before_anybody_looks_farther():
    network = encoder()
    network.layers = torch.nn.ModuleList()
    words, _ = network(torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 8, 4]]))
    assert torch.allclose(words[0, :3], words[1, :3], atol=1e-6) and not torch.allclose(words[0, 3], words[1, 3])


def test_the_order_of_words_is_heard():
    network = encoder()
    there, back = network(torch.tensor([[5, 6, 7]]))[1], network(torch.tensor([[7, 6, 5]]))[1]
    assert not torch.allclose(there, back, atol=1e-4)


def test_nothing_said_is_a_vector_that_is_learnt():
    network = encoder()
    with torch.no_grad():
        network.silence.fill_(3.0)
    words, sentence = network(torch.zeros(2, 4, dtype=torch.int64))
    assert words.abs().max() == 0 and (sentence == 3.0).all()
    sentence.sum().backward()
    assert network.silence.grad is not None and network.silence.grad.abs().min() > 0
