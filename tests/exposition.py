"""A strict reader of Prometheus' text format 0.0.4, written from its description alone."""

from __future__ import annotations

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_SAMPLE = re.compile(rf"({_NAME})\{{(.*)\}} (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")
_HELP = re.compile(rf"# HELP ({_NAME}) (.+)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(content: bytes) -> Samples:
    """Every sample by its name and labels.

    Each line must be a help, a type or a sample; the lines of one metric must stand together, help and type
    first, each once; no sample may come twice; the last line must end. AssertionError for anything else.
    """
    text = content.decode("utf-8")
    assert text.endswith("\n")
    found: Samples = {}
    helped: list[str] = []
    typed: list[str] = []
    for line in text[:-1].split("\n"):
        if match := _HELP.fullmatch(line):
            assert match[1] not in helped, f"twice: {line}"
            helped.append(match[1])
        elif match := _TYPE.fullmatch(line):
            assert helped[-1:] == [match[1]] and match[1] not in typed, f"out of its place: {line}"
            typed.append(match[1])
        else:
            name, labels, value = _sample(line)
            assert typed[-1:] == [name], f"out of its place: {line}"
            assert (name, labels) not in found, f"twice: {line}"
            found[name, labels] = value
    return found


def _sample(line: str) -> tuple[str, frozenset[tuple[str, str]], float]:
    match = _SAMPLE.fullmatch(line)
    assert match, f"not a sample: {line!r}"
    pairs = _LABEL.findall(match[2])
    assert ",".join(f'{name}="{text}"' for name, text in pairs) == match[2], f"not labels: {match[2]!r}"
    assert len(dict(pairs)) == len(pairs)
    read = {name: re.sub(r'\\["\\n]', lambda escape: _UNESCAPED[escape[0]], text) for name, text in pairs}
    return match[1], frozenset(read.items()), float(match[3])


def value(found: Samples, name: str, **labels: str) -> float:
    """Of the only sample of that name with these labels, whatever others it has. AssertionError if none."""
    (only,) = [
        number
        for (called, has), number in found.items()
        if called == f"hsmirror_{name}" and has >= frozenset(labels.items())
    ]
    return only
