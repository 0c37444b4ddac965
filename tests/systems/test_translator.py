"""The translator: attention equal to torch's own, nothing read from the future, cached search, asks that keep their word."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from handmade import api
from handmade.cli.main import main
from handmade.data.source import open_data
from handmade.errors import Damaged, UserError
from handmade.metrics.translation import bleu, chrf, chrf_each, nearest
from handmade.recipe import load_recipe
from handmade.samplers.beam import greedy
from handmade.systems.translator.network import Attention, Dropout, Transformer, attend, causal, mask_of, waves
from handmade.systems.translator.system import BOS, EOS, Config, Translator, noam, read_text

WIDTH, HEADS, INNER = 32, 4, 48


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The smoke recipe, trained for a moment."""
    torch.set_num_threads(1)
    return api.train("translator/smoke", out=tmp_path_factory.mktemp("run") / "smoke", overrides={"train.steps": "200"})


@pytest.fixture(scope="module")
def system(run) -> Any:
    return api.load(run)


def untrained(**settings: Any) -> Translator:
    torch.manual_seed(0)
    _, spec = open_data(load_recipe("translator/smoke").data)
    small = {"width": WIDTH, "heads": HEADS, "inner": INNER, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    return Translator(Config(**{**small, **settings}), spec).eval()


def network() -> Transformer:
    torch.manual_seed(0)
    made = Transformer(60, WIDTH, HEADS, INNER, (2, 2), 0.0).eval()
    for parameter in made.parameters():  # biases and norms that matter
        nn.init.normal_(parameter, 0.0, 0.3)
    return made


# equal to torch's own layers


def test_attention_equals_the_formula_and_torchs():
    q, k, v = torch.randn(3, 2, HEADS, 5, 8).unbind()
    mask = causal(5)
    ours, weights = attend(q, k, v, mask)
    torch.testing.assert_close(ours, nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS, 5))
    assert (weights.triu(1) == 0).all() and (mask == torch.full((5, 5), -math.inf).triu(1)).all()


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.queries.weight, ours.keys_values.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.queries.bias, ours.keys_values.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())


def test_several_heads_equal_torchs_multihead_attention_with_padding():
    ours, theirs = Attention(WIDTH, HEADS), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    copy_attention(ours, theirs)
    x, memory = torch.randn(3, 4, WIDTH), torch.randn(3, 6, WIDTH)
    padding = torch.arange(6) >= torch.tensor([6, 4, 1])[:, None]
    got, weights = ours(x, *ours.remember(memory), mask_of(~padding)[:, None, None])
    right, right_weights = theirs(x, memory, memory, key_padding_mask=padding, average_attn_weights=False)
    torch.testing.assert_close(got, right)
    torch.testing.assert_close(weights, right_weights)


def test_the_network_equals_torchs_transformer():
    ours = network()
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, 0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
    theirs = nn.Transformer(
        WIDTH, HEADS, 2, 2, INNER, 0.0, norm_first=True, batch_first=True, custom_encoder=encoder
    ).eval()
    pairs = [
        *zip(ours.encoder, theirs.encoder.layers, strict=True),
        *zip(ours.decoder, theirs.decoder.layers, strict=True),
    ]
    for mine, other in pairs:
        norms = [mine.norm1, mine.norm2, *([mine.norm3] if hasattr(mine, "norm3") else [])]
        copy_attention(mine.attention if hasattr(mine, "attention") else mine.past, other.self_attn)
        if hasattr(mine, "source"):
            copy_attention(mine.source, other.multihead_attn)
        for k, norm in enumerate(norms, 1):
            getattr(other, f"norm{k}").load_state_dict(norm.state_dict())
        other.linear1.load_state_dict(mine.feed.up.state_dict())
        other.linear2.load_state_dict(mine.feed.down.state_dict())
    theirs.encoder.norm.load_state_dict(ours.read.state_dict())
    theirs.decoder.norm.load_state_dict(ours.written.state_dict())
    source, target = torch.randint(4, 60, (3, 7)), torch.randint(4, 60, (3, 5))
    source[1, 4:] = source[2, 2:] = 0
    padding = torch.where(source == 0, -math.inf, 0.0)
    left, right = (ours.embedding(t) * WIDTH**0.5 + waves(t.shape[1], WIDTH) for t in (source, target))
    wanted = theirs(left, right, tgt_mask=causal(5), src_key_padding_mask=padding, memory_key_padding_mask=padding)
    torch.testing.assert_close(ours.decode(target, ours.encode(source))[0], wanted, rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_the_paper():
    table = waves(50, 8)
    for place, i in ((0, 0), (7, 1), (49, 3)):
        angle = place / 10_000 ** (2 * i / 8)
        assert table[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-5)


# what it may see


def test_no_token_sees_the_future_or_the_padding():
    net, source, target = network(), torch.randint(4, 60, (2, 6)), torch.randint(4, 60, (2, 8))
    before = net.decode(target, net.encode(source))[0]
    changed = target.clone()
    changed[:, 5:] = 7
    after = net.decode(changed, net.encode(torch.nn.functional.pad(source, (0, 3))))[0]
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_rows_in_slices_give_the_logits_of_the_whole_batch():
    net = network()
    dataset, _ = open_data({"source": "phrases", "n": 100, "vocabulary": 300})
    batch = dataset.batch(torch.arange(11), torch.Generator())
    source, target = batch.source.clamp(max=59), batch.target.clamp(max=59)
    whole = net(source, target, slices=1)
    for slices in (2, 4, 30):
        torch.testing.assert_close(net(source, target, slices=slices), whole, rtol=1e-4, atol=1e-4)
    assert len(whole) == (target[:, 1:] != 0).sum()


def test_written_with_a_cache_is_what_is_written_without():
    system = untrained()
    rows = [system.data.encode(text) for text in ("The cat sees a house.", "Where is my key?", "Two dogs.")]
    for row, fast in zip(rows, system._written(rows, beam=1, penalty=0.6), strict=True):
        slow = [BOS]
        for _ in range(2 * len(row) + 10):
            hidden, _ = system.transformer.decode(
                torch.tensor([slow]), system.transformer.encode(torch.tensor([[*row, EOS]]))
            )
            token = int(system.transformer.logits(hidden[0, -1]).argmax())
            if token == EOS:
                break
            slow.append(token)
        assert fast == slow[1:]


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_sentences_searched_together_or_alone_are_translated_alike(system, beam):
    texts = ["The small cat sees a white house.", "Where are twelve black keys?", "Zoé is tired.", "My cow."]
    rows = [system.data.encode(text) for text in texts]
    assert system._written(rows, beam, 0.6) == [system._written([row], beam, 0.6)[0] for row in rows]


def test_a_beam_finds_likelier_sentences_than_greed():
    system = untrained()
    rows = [system.data.encode(text) for text in ("The cat sees a red house.", "Where is it?")]
    from handmade.samplers.beam import beam_search

    longest = [8, 8]
    plain = greedy(system._stepper(rows), BOS, EOS, longest)
    best = beam_search(system._stepper(rows), BOS, EOS, longest, beams=6, penalty=0.0)
    for mine, found in zip(plain, best, strict=True):
        if len(mine.tokens) < 8 and len(found[0].tokens) < 8:
            assert found[0].log_odds >= mine.log_odds - 1e-4


# training


def test_the_objective_is_smoothed_cross_entropy_over_real_tokens():
    system = untrained(smoothing=0.1)
    dataset, _ = open_data(load_recipe("translator/smoke").data)
    batch = dataset.batch(torch.arange(9), torch.Generator())
    with torch.no_grad():
        (turn,) = system.objective(batch)
    total, tokens = 0.0, 0
    for source, target in zip(batch.source, batch.target, strict=True):
        source, target = source[source != 0][None], target[target != 0][None]
        odds = system.transformer(source, target).detach().log_softmax(-1)
        for row, label in zip(odds, target[0, 1:], strict=True):
            total += float(-0.9 * row[label] - 0.1 * row.mean())
            tokens += 1
    assert float(turn.loss) == pytest.approx(total / tokens, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_every_weight_has_one_place_in_the_optimizer(optimizer):
    system = untrained(optimizer=optimizer)
    groups = system.optimizers()["translator"].param_groups  # type: ignore[union-attr]
    given = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(given) == sorted(map(id, system.parameters()))
    assert id(system.transformer.embedding.weight) in {id(parameter) for parameter in groups[1]["params"]}


def test_the_papers_schedule_rises_evenly_and_falls_with_the_root():
    schedule = noam(0.1)
    assert [schedule(p) for p in (0.0, 0.05, 0.1, 0.4)] == pytest.approx([0.0, 0.5, 1.0, 0.5])


def test_dropout_keeps_the_mean_and_hides_its_share():
    drop, x = Dropout(0.25).train(), torch.ones(1000, 333)
    y = drop(x)
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=5e-3) and float(y.mean()) == pytest.approx(
        1, abs=5e-3
    )
    assert drop.eval()(x) is x and Dropout(0.0).train()(x) is x
    torch.manual_seed(5)
    first = drop.train()(x)
    torch.manual_seed(5)
    assert torch.equal(first, drop(x))


# asks


def test_it_learns_agreement_accents_and_capitals(system):
    written = system.translate(text="Where is my key?\nFrançois sees the white house.").lines
    assert written[0] == "Où est ma clé ?"
    assert written[1].startswith("François") and "maison blanche" in written[1]


def test_one_line_comes_out_for_each_line_that_goes_in(system, tmp_path):
    text = "Where is my key? The cat is tired.\n\n   \nThe dog sees a car.\r\nZoé."
    file = tmp_path / "in.txt"
    file.write_bytes(("\ufeff" + text).encode())
    found = system.translate(file=file).lines
    assert len(found) == 5 and found[1] == found[2] == "" and all(found[i] for i in (0, 3, 4))
    assert found == system.translate(text=text).lines
    assert found[0].count("?") == 1, "two sentences of one line are translated apart"


def test_a_sentence_longer_than_any_trained_on_is_cut_and_translated_whole(system):
    text = "the cat sees a house and " * 12
    (found,) = system.translate(text=text).lines
    assert len(found.split()) > 30


def test_a_sentence_of_which_training_had_few_as_long_is_cut_and_none_of_it_is_lost():
    system: Any = api.load("zoo:translator/en-fr")
    part = "the document is saved in the current folder"
    text = f"Choose the colour of the line, and {', and '.join([part] * 7)}."
    assert len(text.split()) > 60 and len(system.data.encode(text)) < system.data.longest
    (found,) = system.translate(text=text).lines
    assert found.count("document") == 7
    assert not system._fits(text) and system._fits("Choose the colour of the line, and " + part)


def test_what_cannot_be_translated_is_one_line(system, tmp_path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes("déjà".encode("latin1"))
    with pytest.raises(UserError, match="nothing to translate"):
        system.translate(text=" \n ")
    with pytest.raises(Damaged, match="byte 0xe9 at 1"):
        system.translate(file=latin)
    with pytest.raises(UserError, match="not a file"):
        read_text(tmp_path)
    with pytest.raises(UserError, match="one sentence of 1 to"):
        system.attention(text="the cat " * 100)
    with pytest.raises(UserError, match="between 0 and 1"):
        system.attention(layer=2)


def test_attention_maps_name_tokens_and_show_every_head(system):
    mean, each = (
        system.attention(text="The cat is tired."),
        system.attention(text="The cat is tired.", layer=1, heads="each"),
    )
    assert len(mean.pixels) == 1 and len(each.pixels) == system.config.heads
    assert mean.pixels.shape[1] == 3 and mean.pixels.min() >= -1 and mean.pixels.max() <= 1


def test_examples_are_the_best_and_worst_of_the_held_out_sentences(system):
    lines = system.examples(n=4).lines
    assert len(lines) == 4 * 8 and lines[0].startswith("best 1") and lines[16].startswith("worst 1")
    marks = [float(line.split("chrF ")[1]) for line in lines[::4]]
    assert marks[:4] == sorted(marks[:4], reverse=True) and marks[4:] == sorted(marks[4:]) and marks[0] > marks[4]
    held, _ = open_data(load_recipe("translator/smoke").data, "test")
    known = {pair.source: pair.target for pair in held.pairs}
    for first in range(0, 32, 4):
        source, reference, written = (line.split(maxsplit=1)[1] for line in lines[first + 1 : first + 4])
        assert known[source] == reference
        assert chrf_each([written], [reference])[0] == pytest.approx(float(lines[first].split("chrF ")[1]), abs=0.06)


def test_a_run_that_was_never_scored_says_so():
    with pytest.raises(UserError, match="not been scored"):
        untrained().examples()


# scores


def test_scores_are_held_out_signed_and_beside_a_look_up(run):
    system: Any = api.load(run)
    recipe = load_recipe("translator/smoke")
    system.trained_on = lambda: open_data(recipe.data)[0]
    with torch.no_grad():
        scores = system.evaluate(api.held_out(recipe, 60))
    assert list(scores) == ["nats", "bleu", "chrf", "bleu_looked_up", "chrf_looked_up"]
    assert "version:" in scores["bleu"].about and "case:mixed" in scores["bleu"].about
    assert scores["bleu"].low < scores["bleu"].value < scores["bleu"].high
    assert scores["bleu"].value > scores["bleu_looked_up"].value, "it translates, it does not look up"
    assert 0 < scores["nats"].value < math.log(system.data.size)


def test_bleu_and_chrf_are_sacrebleus():
    import sacrebleu

    mine, right = (
        ["Le chat noir dort sur le lit.", "Où est la clé de la maison ?"],
        ["Le chat noir dort sur un lit.", "Où est ma clé ?"],
    )
    assert bleu(mine, right).value == pytest.approx(sacrebleu.corpus_bleu(mine, [right]).score)
    assert chrf(mine, right).value == pytest.approx(sacrebleu.corpus_chrf(mine, [right]).score)
    assert bleu(right, right).value == pytest.approx(100) and bleu(mine, right).low <= bleu(mine, right).value


def test_the_most_similar_sentence_is_found():
    known = ["Opens a new document.", "Choose the colour of the line.", "Prints the page.", "Where is the key?"]
    assert nearest(known, ["Choose a line colour.", "Print this page", "where was the key"]) == [1, 2, 3]


def test_both_directions_train_and_a_file_of_your_own_too(tmp_path, capsys):
    own = tmp_path / "mine.tsv"
    qualities, things = ("red", "big", "old", "new", "hot"), ("cat", "dog", "sun", "sea", "map", "cup")
    rows = [f"The {a} {b}.\tLe {b} {a}.\n" for a in qualities for b in things]
    own.write_text("".join(rows))
    settings = ["--train.steps", "3", "--data.vocabulary", "300", "--json"]
    assert main(["train", "translator/smoke", "--data", str(own), "--out", str(tmp_path / "own"), *settings]) == 0
    assert (
        main(["train", "translator/smoke", "--data.direction", "fr-en", "--out", str(tmp_path / "fr"), *settings]) == 0
    )
    loaded: Any = api.load(tmp_path / "fr")
    assert (loaded.data.source_language, loaded.data.target_language) == ("fr", "en")
    capsys.readouterr()
    assert main(["ask", str(tmp_path / "own"), "translate", "--text", "The cat.", "--out", str(tmp_path / "out")]) == 0


def test_the_laptop_recipes_fit_the_zoo():
    from handmade.data.specs import PairSpec

    class Sized(PairSpec):
        size = 4000  # type: ignore[assignment]

    for name in ("en-fr", "fr-en"):
        recipe = load_recipe(f"translator/{name}")
        made = Translator(Config(**recipe.config), Sized({}, "en", "fr", 60))
        assert sum(p.numel() for p in made.parameters()) * 2 <= 10_000_000, "10 MB in float16"


def test_a_width_that_heads_cannot_share_is_refused():
    assert untrained(width=13).translate(text="The cat.").lines, "heads of 3, and one number to spare"
    with pytest.raises(UserError, match="cannot be cut"):
        untrained(width=3)
