"""Splice, losses and decoding, against what the published code computes on a tiny language model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import byte_tokenizer, preset_config
from stamp_train.generation.decoding import Batch
from stamp_train.generation.replies import Reply, SourceImage
from stamp_train.methods.argenseg.files import fill
from stamp_train.methods.argenseg.settings import SEG_END, ArgensegSettings
from stamp_train.methods.argenseg.var import shape_of
from stamp_train.methods.losses import means, total
from stamp_train.sequence.document import Document, Put, Seg
from stamp_train.sequence.inputs import Targets
from stamp_train.sequence.token_sequence import TokenSequence

from .vaes import GOLDEN, SCALES, tiny_weights

FACTS = json.loads((GOLDEN / "argenseg/argenseg.json").read_text(encoding="utf-8"))
NUMBERS = np.load(GOLDEN / "argenseg/argenseg.npz")
IDS = FACTS["ids"]
CODES = sum(side * side for side in SCALES)
CHAT: Any = SimpleNamespace(control={"<|seg|>": IDS["start"], SEG_END: IDS["end"]}, seg_id=IDS["start"])


def theirs(name: str) -> Tensor:
    return torch.from_numpy(NUMBERS[name])


@cache
def network(attention: str = "causal") -> Any:
    """The tiny language model, as that of a Qwen2-VL: without a picture its positions are the ordinary ones."""
    weights = load_file(GOLDEN / "argenseg/weights.safetensors")
    shape = {"kind": "var", **shape_of(tiny_weights(), SCALES)}
    settings = ArgensegSettings(codec="var", softmax="joint", attention=attention, shape=shape)  # type: ignore[arg-type]
    config = preset_config("tiny", byte_tokenizer(settings), settings)
    sizes, words = FACTS["llm"], IDS["first_code"]
    rope = {"rope_type": "default", "rope_theta": sizes["rope_theta"], "mrope_section": [2, 1, 1]}
    for name, value in {**sizes, "vocab_size": words, "rope_parameters": rope, "layer_types": None}.items():
        if name != "rope_theta":
            setattr(config.text_config, name, value)
    config.text_config.layer_types = ["full_attention"] * sizes["num_hidden_layers"]
    config.text_config.bos_token_id = config.text_config.eos_token_id = config.text_config.pad_token_id = None
    config.vision_config.hidden_size = sizes["hidden_size"]
    config.image_token_id = words - 1
    model: Any = model_class(config.model_type)._from_config(config, dtype=torch.float32).eval()
    language = {name.removeprefix("model."): weight for name, weight in weights.items() if name.startswith("model.")}
    language["embed_tokens.weight"] = language["embed_tokens.weight"][:words]
    model.model.language_model.load_state_dict(language)
    head = model.classifier
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(weights["output.weight"][:words].clone())
        head.out.weight.copy_(weights["output.weight"][words:])
        head.word_embed.load_state_dict({kind: weights[f"word_embed.{kind}"] for kind in ("weight", "bias")})
        head.levels.copy_(weights["lvl_embed.weight"])
        head.places.copy_(weights["pos_1LC"][0])
    fill(head.codec, tiny_weights())
    return model


def laid(model: Any, row: int, first_mask: int) -> tuple[TokenSequence, list[int], list[int], int]:
    """A published sample in our layout, from its ids without what stands for masks; rows and ids of its text's targets."""
    ids = theirs("train/input_ids")[row][theirs("train/attention_mask")[row].bool()].tolist()
    supervised = theirs("train/labels_before")[row].tolist()
    sequence, document, puts = TokenSequence(CHAT), Document(1), []
    for number, at in enumerate([at for at, token in enumerate(ids) if token == IDS["start"]]):
        stretch = model.method.stretch((0, 0), CHAT.control)
        assert ids[at + 1 : at + CODES + 1] == [*[IDS["context"]] * (CODES - 1), IDS["end"]]
        ids[at + 1 : at + CODES + 1] = stretch.ids
        puts.append(Put(at, stretch, NUMBERS["train/codes"][first_mask + number]))
    sequence.put(document.text(ids, 1, puts=puts))
    for put in puts:
        seg = Seg("x", document, 1, ids, put.at, put.at, put.at - 1, puts=puts)
        model.method.lay_out(sequence, seg, put.numbers)
    text = [at for at in range(1, len(ids)) if supervised[at] >= 0 and supervised[at] != IDS["context"]]
    assert all(supervised[at] == ids[at] for at in text)
    return sequence, [at - 1 for at in text], [ids[at] for at in text], len(puts)


def targets(sequence: TokenSequence, ids: list[int]) -> Targets:
    labels = torch.cat(sequence.labels)
    of = torch.arange(len(sequence.labels)).repeat_interleave(CODES)
    return Targets(torch.tensor(ids), torch.ones(len(ids)), labels, of, len(sequence.labels))


def test_embeddings_logits_and_losses_are_the_published_ones() -> None:
    model, first, sums = network(), 0, []
    for row in range(2):
        sequence, rows, ids, masks = laid(model, row, first)
        inputs = sequence.inputs(rows)
        embeds = model.embed(inputs, model.no_images(torch.device("cpu")))
        length = embeds.shape[1]
        torch.testing.assert_close(embeds[0], theirs("train/inputs_embeds")[row, :length], atol=1e-4, rtol=0)
        output = model(inputs=inputs)
        logits = theirs("train/logits")[row]
        torch.testing.assert_close(output.text_logits, logits[rows][:, : IDS["first_code"]], atol=1e-4, rtol=0)
        read = inputs.mask_rows
        torch.testing.assert_close(output.read["codes"], logits[read][:, IDS["first_code"] :], atol=1e-4, rtol=0)
        sums.append(model.method.losses(output, targets(sequence, ids)))
        first += masks
    counts = {name: sums[0][name][1] + sums[1][name][1] for name in sums[0]}
    found = {name: sum(float(one[name][0].detach()) for one in sums) / counts[name] for name in counts}
    assert found["text"] == pytest.approx(FACTS["losses"]["text"], abs=1e-4)
    assert found["codes"] == pytest.approx(FACTS["losses"]["gen"], abs=1e-4)
    assert sum(found.values()) == pytest.approx(FACTS["losses"]["total"], abs=1e-4)


def test_gradients_are_the_published_ones() -> None:
    model, first, sums = network(), 0, []
    for row in range(2):
        sequence, rows, ids, masks = laid(model, row, first)
        sums.append(model.method.losses(model(inputs=sequence.inputs(rows)), targets(sequence, ids)))
        first += masks
    counts = {name: sums[0][name][1] + sums[1][name][1] for name in sums[0]}
    model.zero_grad()
    torch.stack([total(one, counts) for one in sums]).sum().backward()
    assert set(means(sums[0])) == {"text", "codes"}
    head = model.classifier
    found = {
        "word_embed.weight": head.word_embed.weight.grad.norm(),
        "word_embed.bias": head.word_embed.bias.grad.norm(),
        "lvl_embed.weight": head.levels.grad.norm(),
        "pos_1LC": head.places.grad.norm(),
        "output.weight": torch.cat([model.lm_head.weight.grad, head.out.weight.grad]).norm(),
        "model.norm.weight": model.model.language_model.norm.weight.grad.norm(),
        "model.layers.0.self_attn.q_proj.weight": model.model.language_model.layers[
            0
        ].self_attn.q_proj.weight.grad.norm(),
    }
    for name, value in found.items():
        torch.testing.assert_close(value, theirs(f"gradnorm/{name}"), atol=1e-4, rtol=1e-4)


@contextmanager
def traced(batch: Batch) -> Iterator[list[Tensor]]:
    """The logits of codes of every pass of a batch."""
    found, read_out = [], batch.read_out

    def traced_read_out(*given: Any) -> dict[str, Tensor]:
        out = read_out(*given)
        found.append(out["codes"])
        return out

    batch.read_out = traced_read_out  # type: ignore[method-assign]
    yield found


def begun(model: Any, copies: int = 1) -> Batch:
    """Replies to the published prompt, at whose end `<|seg|>` has been said, of a picture without patches."""
    source = SourceImage("x", torch.zeros(0, 1176), (1, 0, 0), features=model.no_images(torch.device("cpu")))
    replies = [
        Reply(0, number, "x", source, (), frozenset(), None, None)  # type: ignore[arg-type]
        for number in range(copies)
    ]
    for reply in replies:
        reply.ids = [*NUMBERS["infer/prompt"][0].tolist(), IDS["start"]]
        reply.room = 100
    return Batch(model, CHAT, replies, "auto")


def test_decoding_takes_the_published_steps() -> None:
    model = network()
    batch = begun(model)
    with traced(batch) as logits:
        batch.read(batch.branches)
    assert len(logits) == len(SCALES)  # a pass each, the first of which has read `<|seg|>`
    reply = batch.branches[0].reply
    assert reply.puts[0].numbers.tolist() == NUMBERS["infer/codes"][0].tolist()
    torch.testing.assert_close(torch.cat(logits), theirs("infer/logits")[0], atol=1e-4, rtol=0)
    span = batch.branches[0].document.text(reply.ids, 1, puts=reply.puts)
    at = reply.puts[0].at
    assert (span.positions[:, at : at + CODES] == NUMBERS["infer/position_ids"]).all()
    assert len(batch.cache) == len(reply.ids) == at + CODES + 1
    codes = theirs("infer/codes").long()
    *_, features = model.classifier.codec.quantiser.pictures(codes)
    picture = model.classifier.codec.reconstruct(features)
    torch.testing.assert_close(picture, theirs("infer/image"), atol=1e-4, rtol=0)


def test_masks_of_several_answers_are_made_together_and_are_those_made_alone() -> None:
    """The published code makes one at a time, and fails where an answer begins with its mask."""
    model = network()
    batch = begun(model, copies=3)
    batch.branches[1].reply.ids = [9, 8, IDS["start"]]
    batch.branches[2].reply.ids = [IDS["start"]]
    with traced(batch) as logits:
        batch.read(batch.branches)
    assert len(logits) == len(SCALES)
    together = [branch.reply.puts[0].numbers for branch in batch.branches]
    assert together[0].tolist() == NUMBERS["infer/codes"][0].tolist()
    for branch, codes in zip(batch.branches, together, strict=True):
        alone = begun(model)
        alone.branches[0].reply.ids = branch.reply.ids[: branch.reply.puts[0].at + 1]
        alone.read(alone.branches)
        assert alone.branches[0].reply.puts[0].numbers.tolist() == codes.tolist()


@pytest.mark.parametrize(
    ("attention", "wanted"), [("causal", "infer/logits"), ("scales", "infer/logits_block_causal_same_inputs")]
)
def test_one_pass_over_the_same_codes_is_all_steps(attention: str, wanted: str) -> None:
    model = network(attention)
    sequence, document = TokenSequence(CHAT), Document(1)
    prompt = [*NUMBERS["infer/prompt"][0].tolist(), IDS["start"]]
    stretch = model.method.stretch((0, 0), CHAT.control)
    put = Put(len(prompt) - 1, stretch, NUMBERS["infer/codes"][0])
    sequence.put(document.text([*prompt, *stretch.ids], 1, puts=[put]))
    model.method.lay_out(sequence, Seg("x", document, 1, prompt, put.at, put.at), put.numbers)
    with torch.no_grad():
        output = model(inputs=sequence.inputs(), attention="sdpa")
    torch.testing.assert_close(output.read["codes"], theirs(wanted)[0], atol=1e-4, rtol=0)
