"""Writes the damaged YAML files of this folder. Run it here: python3 make_yaml.py"""
import pathlib

FILES = {
    "unclosed_list.yaml": b"a: [1, 2\n",
    "tab_indent.yaml": b"a:\n\tb: 1\n",
    "bad_indent.yaml": b"a:\n    b: 1\n  c: 2\n",
    "not_utf8.yaml": b"a: \xff\xfe\n",
    "lone_surrogate.yaml": b'a: "\\ud800"\n',
    "unknown_escape.yaml": b'a: "\\q"\n',
    "unknown_alias.yaml": b"a: *b\n",
    "alias_of_itself.yaml": b"a: &a {b: *a}\n",
    "two_documents.yaml": b"a: 1\n---\nb: 2\n",
    "list_as_key.yaml": b"? [1, 2]\n: 3\n",
    "two_mappings_in_a_line.yaml": b"a: b: c\n",
    "bad_directive.yaml": b"%YAML 9.9\n---\na: 1\n",
    "deep.yaml": b"[" * 100 + b"]" * 100,
    "very_deep.yaml": b"- " * 5000 + b"\n",
    "laughs.yaml": b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)),
}

for name, content in FILES.items():
    (pathlib.Path(__file__).parent / name).write_bytes(content)
