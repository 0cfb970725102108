"""The contracts: what the JSON Schemas promise is what a build writes, and every struct survives a round trip."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stamp_cli.console import run
from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.shards.reader import ShardSet
from stamp_data.synth import synthesize
from stamp_schemas import (
    CONTRACTS,
    Annotation,
    Grid,
    ImageRef,
    Manifest,
    Record,
    Region,
    Reject,
    Request,
    Settings,
    StampError,
    Target,
    Turn,
    UsageFault,
    json_schema,
)

MADE: dict[str, Any] = {
    "annotations": {
        "schema": "stamp.annotations/1",
        "image": {"path": "a.jpg", "width": 8, "height": 6},
        "revision": 2,
        "phrases": [{"id": "p1", "text": "it", "masks": ["m1"], "status": "accepted", "made": {}}],
        "masks": [{"id": "m1", "rle": {"size": [6, 8], "counts": "0`1"}, "made": {"by": "Ada"}}],
        "dialogues": [{"id": "d1", "turns": [{"question": "Where?", "answer": "[Here](p1)"}], "made": {}}],
    },
    "patch": {
        "schema": "stamp.patch/1",
        "set": "refcoco-unc/val",
        "record": "refcoco-unc-val-000000000139",
        "phrases": [{"id": "7", "was": "0" * 32, "text": "the cup", "targets": ["12"]}],
    },
}
"""Documents of contracts that no build writes."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Built splits of every family, with a reject in the first."""
    home = tmp_path_factory.mktemp("contracts")
    synthesize(home / "data", images=40, size=(96, 64), seed=3)
    next((home / "data/refer_seg/images/coco_2014/train2014").iterdir()).unlink()
    executor = LocalExecutor(1)
    job = Job(("all",), home / "data", home / "out", passes=2)
    return [built.folder for built in run_job(job, executor, lambda *_: None)]


def documents(sets: list[Path], contract: str) -> list[Any]:
    """Every document of a kind that the sets hold, as plain JSON."""
    found: list[Any] = []
    for folder in sets:
        if contract == "manifest":
            found.append(json.loads((folder / "manifest.json").read_bytes()))
        elif contract in MADE:
            found.append(MADE[contract])
        elif contract == "reject":
            found += map(json.loads, (folder / "rejects.jsonl").read_bytes().splitlines())
        else:
            with ShardSet(folder) as shards:
                found += [json.loads(shards.member(row, "json")) for row in shards.rows]
    return found


@pytest.mark.parametrize("contract", CONTRACTS)
def test_what_is_written_is_what_the_schema_describes(contract: str, sets: list[Path]) -> None:
    found = documents(sets, contract)
    assert found, "a schema that nothing is checked against"
    schema = json_schema(contract)
    for document in found:
        check(document, schema, schema)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_schema_refuses_what_it_should(contract: str, sets: list[Path]) -> None:
    schema = json_schema(contract)
    document = documents(sets, contract)[0]
    for key in schema["$defs"][CONTRACTS[contract].__name__]["required"]:
        lacking = {name: value for name, value in document.items() if name != key}
        with pytest.raises(AssertionError):
            check(lacking, schema, schema)
        with pytest.raises(AssertionError):
            check({**document, key: [[1]]}, schema, schema)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_published_validator_agrees(contract: str, sets: list[Path]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema(contract)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for document in documents(sets, contract):
        validator.validate(document)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_documents_survive_a_round_trip(contract: str, sets: list[Path]) -> None:
    kind = CONTRACTS[contract]
    for document in documents(sets, contract):
        struct = msgspec.convert(document, kind)
        assert json.loads(msgspec.json.encode(struct)) == document
        assert msgspec.json.decode(msgspec.json.encode(struct), type=kind) == struct


@pytest.mark.parametrize("contract", CONTRACTS)
def test_schema_is_plain_json_with_every_field(contract: str) -> None:
    schema = json.loads(json.dumps(json_schema(contract)))
    properties = schema["$defs"][CONTRACTS[contract].__name__]["properties"]
    assert list(properties) == list(CONTRACTS[contract].__struct_fields__)


def test_unknown_contract_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        json_schema("recipe")


@pytest.mark.parametrize("kind", [Record, Manifest, Reject])
@pytest.mark.parametrize("data", [b"{}", b"[]", b"null", b'{"schema": "stamp.record/2"}', b"\xff", b""])
def test_other_documents_are_refused(kind: type, data: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        msgspec.json.decode(data, type=kind)


def test_annotation_survives_the_task_file_with_its_mask_undecoded() -> None:
    shape = msgspec.Raw(b"[[1.50, 2, 3e0]]")
    annotation = Annotation(
        "1",
        ("file", "record"),
        ImageRef("a.jpg", 3, None),
        [Target("t", [Region(shape, ("w", "r"), "ignore")], ["1"], ["cat"])],
        [Request("0", "x", [0], ("w", "r"), "explanation", "y")],
        [Turn("user", "hi", "after")],
    )
    back = msgspec.json.decode(msgspec.json.encode(annotation), type=Annotation)
    assert bytes(back.targets[0].regions[0].segmentation) == bytes(shape)
    assert msgspec.json.encode(back) == msgspec.json.encode(annotation)


def test_expressions_count_what_would_be_lost() -> None:
    request = Request("0", "x", [0], ("w", "r"))
    assert Annotation("1", ("w", "r"), requests=[request, request]).expressions == 2
    assert Annotation("1", ("w", "r"), conversation=[Turn("user", "a"), Turn("assistant", "b")]).expressions == 1
    assert Annotation("1", ("w", "r")).expressions == 0


def test_settings_are_equal_by_value_and_cannot_change() -> None:
    one, other = Settings("a", "", "train"), Settings("a", "", "train")
    assert one == other
    with pytest.raises(AttributeError):
        one.seed = 2  # type: ignore[misc]
    assert Grid(3, 4).tokens == 12


@pytest.mark.parametrize(("kind", "code"), [(StampError, 1), (UsageFault, 2)])
def test_error_comes_back_whole_from_another_process(kind: type[StampError], code: int) -> None:
    back = pickle.loads(pickle.dumps(kind("what", "do this")))
    assert (type(back), back.message, back.hint, back.exit_code) == (kind, "what", "do this", code)
    assert str(back) == "what (do this)"
    assert str(kind("what")) == "what"


@pytest.mark.parametrize(("kind", "code"), [(StampError, 1), (UsageFault, 2)])
def test_error_is_one_line_and_its_exit_code(
    kind: type[StampError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise kind("what", "do this")

    with pytest.raises(SystemExit) as ended:
        run(fail)  # type: ignore[arg-type]  # all that is asked of an app is that it can be called
    assert ended.value.code == code
    assert capsys.readouterr().err == "error: what\nhint: do this\n"


def check(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> None:
    """The part of JSON Schema that msgspec writes; anything else fails, lest it go unchecked."""
    known = {
        "$ref", "$defs", "title", "description", "type", "properties", "required", "items", "prefixItems", "minItems",
        "maxItems", "anyOf", "enum", "default", "additionalProperties", "minimum", "maximum",
        "minLength", "maxLength", "pattern",
    }  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        check(value, whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], whole)
    if "anyOf" in schema:
        assert any(_fits(value, choice, whole) for choice in schema["anyOf"]), value
    if "enum" in schema:
        assert value in schema["enum"]
    if "type" in schema:
        kinds: dict[str, Any] = {
            "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None),
            "boolean": bool,
        }  # fmt: skip
        assert isinstance(value, kinds[schema["type"]]), value
        assert isinstance(value, bool) == (schema["type"] == "boolean")
    if "minimum" in schema:
        assert value >= schema["minimum"]
    if "maximum" in schema:
        assert value <= schema["maximum"]
    if isinstance(value, str):
        assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        assert re.search(schema.get("pattern", ""), value)
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), value
        for key, inner in value.items():
            part = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            if isinstance(part, dict):
                check(inner, part, whole)
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        parts = schema.get("prefixItems", [])
        for place, inner in enumerate(value):
            rest = schema.get("items", {})
            part = parts[place] if place < len(parts) else rest
            check(inner, part if isinstance(part, dict) else {}, whole)


def _fits(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    try:
        check(value, schema, whole)
    except AssertionError:
        return False
    return True


def test_codes_of_rejects_are_stable_words(sets: list[Path]) -> None:
    for row in documents(sets, "reject"):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row["reason"])
