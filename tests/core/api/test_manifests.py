"""Reading manifests: what the API server would make of the text, and a sentence for what it could not be."""

from __future__ import annotations

import json

import pytest

from trustbind.api.manifests import Manifest, check_metadata, documents, read
from trustbind.errors import ManifestError

HEAD = "apiVersion: v1\nkind: ConfigMap\n"


def body(text: str) -> dict[str, object]:
    """Return the only object of ``text``, without what every object has."""
    (manifest,) = read(HEAD + text, "f.yaml")
    return {key: value for key, value in manifest.body.items() if key not in {"apiVersion", "kind"}}


def test_documents_are_counted_as_they_are_separated() -> None:
    """An empty document is passed over but counted, so that the number is the one that a reader counts."""
    text = f"---\n{HEAD}metadata: {{name: a}}\n---\n# nothing\n---\n{HEAD}metadata: {{name: b, namespace: n}}\n"
    assert [(m.document, m.describe(), m.name, m.namespace) for m in read(text, "f.yaml")] == [
        (1, "ConfigMap a", "a", ""),
        (3, "ConfigMap n/b", "b", "n"),
    ]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n", "null\n"])
def test_nothing_is_no_manifest(text: str) -> None:
    """A text without objects gives none."""
    assert read(text, "f.yaml") == []


def test_lists_count_as_their_items() -> None:
    """A List, also one of a kind and one in a list, is its items; they inherit what the API server leaves out."""
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}},
                {"apiVersion": "v1", "kind": "ServiceAccountList", "items": [{"metadata": {"name": "b"}}]},
                {"apiVersion": "v1", "kind": "ServiceAccountList", "items": None},
            ],
        }
    )
    assert [m.describe() for m in read(text, "-")] == ["ServiceAccount a", "ServiceAccount b"]


def test_values_are_what_json_has() -> None:
    """Dates and numbers in base 60 stay texts; YAML 1.1's booleans and numbers are what kubectl makes of them."""
    assert body(
        "date: 2026-01-31\ntime: 2026-01-31T10:00:00Z\nport: 10:30\nyes: 'yes'\n".replace("yes:", "'yes':")
        + "truth: yes\nlie: off\noctal: 0644\nhex: 0xff\nfloat: 1.5\nnothing: ~\nminus: -3\nequal: =\nbig: 1_000\n"
    ) == {
        "date": "2026-01-31",
        "time": "2026-01-31T10:00:00Z",
        "port": "10:30",
        "yes": "yes",
        "truth": True,
        "lie": False,
        "octal": 0o644,
        "hex": 255,
        "float": 1.5,
        "nothing": None,
        "minus": -3,
        "equal": "=",
        "big": 1000,
    }


def test_aliases_and_merge_keys_are_followed() -> None:
    """An alias is a copy, and what a mapping says itself beats what it merges."""
    assert body("base: &b {a: 1, b: 2}\ncopy: *b\nmerged: {<<: *b, b: 3}\nboth: {<<: [{a: 9}, *b]}\n") == {
        "base": {"a": 1, "b": 2},
        "copy": {"a": 1, "b": 2},
        "merged": {"a": 1, "b": 3},
        "both": {"a": 9, "b": 2},
    }


BOMB = "x: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"x{i}: &a{i} [{','.join(['*a' + (str(i - 1) if i else '')] * 10)}]\n" for i in range(7)
)

BAD = {
    "text": ("hello", "document 1: it is a text, where a Kubernetes object"),
    "number": ("3", "document 1: it is a number"),
    "list": ("- a", "document 1: it is a list"),
    "no kind": ("apiVersion: v1", "document 1: kind: required, such as ServiceAccount"),
    "empty kind": ("apiVersion: v1\nkind:", "document 1: kind: required"),
    "kind is a number": ("apiVersion: v1\nkind: 3", "kind: it is a number, where a text"),
    "no apiVersion": ("kind: Pod", "document 1: Pod: apiVersion: required, such as v1"),
    "metadata": (HEAD + "metadata: x", "ConfigMap: metadata: it is a text, where a mapping"),
    "name": (
        HEAD + "metadata: {name: 12}",
        "metadata.name: it is a number, where a text is needed; write it in quotes",
    ),
    "namespace": (HEAD + "metadata: {name: a, namespace: yes}", "metadata.namespace: it is true or false"),
    "items": ("apiVersion: v1\nkind: List\nitems: {}", "List: items: it is a mapping, where a list"),
    "item": ("apiVersion: v1\nkind: List\nitems: [3]", "items[0]: it is a number"),
    "item's kind": ("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1}]", "items[0].kind: required"),
    "second document": (HEAD + "---\nfoo: [", "document 2: line 5, column 1: not YAML"),
    "duplicate key": ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
    "number as key": ("1: a", "line 1: the key '1' is a number, where a text is needed; write it in"),
    "boolean as key": ("on: a", "line 1: the key 'on' is true or false"),
    "mapping as key": ("{{ .Values.x }}: a", "line 1: a key is a mapping, where a text is needed; is this a template?"),
    "tag": ("a: !!python/object:os.system x", "line 1: !!python/object:os.system is not a type"),
    "binary": ("a: !!binary aGk=", "line 1: !!binary is not a type"),
    "set": ("a: !!set {b}", "line 1: !!set is not a type"),
    "infinity": ("a: .inf", "line 1: .inf is not a number that JSON has"),
    "infinity in capitals": ("a: -.Inf", "line 1: -.Inf is not a number that JSON has"),
    "not a number in capitals": ("a: .NaN", "line 1: .NaN is not a number that JSON has"),
    "a tag of a number before a text": ("a: !!float x", "line 1: 'x' is not a number"),
    "merge of a text": ("a: {<<: b}", "line 1: << merges mappings only"),
    "unknown alias": ("a: *b", "line 1, column 4: not YAML: found undefined alias"),
    "alias in itself": ("a: &a [*a]", "nested deeper than 100 levels, or an alias within itself"),
    "depth": ("[" * 100_000, "nested deeper than 100 levels"),
    "aliases of aliases": (BOMB, "grows too large"),
    "tabulator": ("a:\n\tb: 1", "line 2, column 1: not YAML: a tab; indent with spaces"),
    "tabulator behind spaces": ("a:\n  b: 1\n  \tc: 2", "line 3, column 3: not YAML: a tab; indent with spaces"),
    "no tabulator": ("a:\n  b: @x", "line 2, column 6: not YAML: found character that cannot start any token"),
    "control character": ("a: \x00", "not YAML: unacceptable character"),
    "long number": ("a: " + "1" * 5000, "line 1: "),
}


@pytest.mark.parametrize(("text", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_is_one_sentence_with_a_place(text: str, sentence: str) -> None:
    """The error names file, document and line or field, in one line."""
    with pytest.raises(ManifestError) as caught:
        read(text, "f.yaml")
    message = str(caught.value)
    assert message.startswith("f.yaml, document ")
    assert sentence in message
    assert "\n" not in message
    assert len(message) < 300


def test_an_error_can_be_made_from_an_object() -> None:
    """What a later step finds wrong is told with the same place; ``-`` is standard input."""
    manifest = Manifest("-", 2, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"}})
    assert str(manifest.error("spec: missing")) == "standard input, document 2: Pod n/a: spec: missing"
    assert Manifest("-", 1, {"apiVersion": "v1", "kind": "Pod"}).describe() == "Pod without a name"


def test_documents_may_hold_anything() -> None:
    """The level below gives values without asking for objects."""
    assert list(documents("1\n---\n- a\n---\n", "f")) == [(1, 1), (2, ["a"]), (3, None)]


def test_metadata_as_an_api_server_gives_it_is_right() -> None:
    """What kubectl prints of an object can be read back from a file."""
    metadata = (
        "{name: a.b, generateName: a, namespace: n, selfLink: /x, uid: u, resourceVersion: '1', generation: 1, "
        "creationTimestamp: null, deletionTimestamp: null, deletionGracePeriodSeconds: 1, labels: {}, annotations: {}, "
        "ownerReferences: [], finalizers: [], managedFields: []}"
    )
    for text in (f"{HEAD}metadata: {metadata}", f"{HEAD}metadata: {{generateName: web-}}", HEAD):
        (manifest,) = read(text, "f.yaml")
        check_metadata(manifest)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ("{name: a, namepace: b}", "ConfigMap a: metadata: there is no field `namepace`; did you mean namespace?"),
        ("{name: a, Namespace: b}", "metadata: there is no field `Namespace`; did you mean namespace?"),
        ("{name: a, spec: {}}", "metadata: there is no field `spec`"),
        ("{name: A}", "metadata.name: 'A' is not a name (lower-case letters, digits, '-' and '.', at most 253)"),
        ("{name: a/b}", "metadata.name: 'a/b' is not a name"),
        ("{name: a, namespace: b.c}", "metadata.namespace: 'b.c' is not a namespace name"),
        (
            f"{{name: a, namespace: {'b' * 64}}}",
            "is not a namespace name (lower-case letters, digits and '-', at most 63)",
        ),
    ],
)
def test_metadata_that_kubernetes_would_not_take(metadata: str, sentence: str) -> None:
    """A misspelt field, which would be dropped in silence, and a name that cannot be are told."""
    (manifest,) = read(f"{HEAD}metadata: {metadata}", "f.yaml")
    with pytest.raises(ManifestError) as caught:
        check_metadata(manifest)
    assert sentence in str(caught.value)
