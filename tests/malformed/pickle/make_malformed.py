#!/usr/bin/env python3
"""Writes the hostile and malformed pickles of this folder and expected.json: what parsing each must say.

Code "ok" marks a trick that does no harm here: the pickle parses, and `message_contains` is part of how the tests
show its value. The files are committed; run this again after a change here.
"""

import json
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def name(module: str, member: str) -> bytes:
    return f"c{module}\n{member}\n".encode()


def call(module: str, member: str, *arguments: bytes) -> bytes:
    return name(module, member) + b"(" + b"".join(arguments) + b"tR"


def frame(body: bytes, size: int | None = None) -> bytes:
    return b"\x80\x04\x95" + struct.pack("<Q", len(body) if size is None else size) + body


TOUCH = text("touch /tmp/weightfs-canary")
RESULT_OF_LEGACY_MAGIC = call("builtins", "eval", text("0x1950a86a20f9469cfc6c"))

CASES = {
    # Calls do not run.
    "os-system.pkl": (call("os", "system", TOUCH) + b".", "ok", "os.system('touch"),
    "posix-system-python2.pkl": (b"cposix\nsystem\n(S'id'\ntR.", "ok", "posix.system('id')"),
    "builtins-eval.pkl": (RESULT_OF_LEGACY_MAGIC + b".", "ok", "builtins.eval("),
    "getattr-chain.pkl": (
        call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system"))
        + b"(" + TOUCH + b"tR.", "ok", "builtins.getattr(builtins.__import__('os'), 'system')('touch"),
    "dotted-stack-global.pkl": (
        b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + TOUCH + b"\x85R.", "ok",
        "os.path.os.system('touch"),
    "newobj-popen.pkl": (name("subprocess", "Popen") + TOUCH + b"\x85\x81.", "ok", "subprocess.Popen('touch"),
    "build-setstate.pkl": (name("a", "B") + b")\x81}" + text("__setstate__") + name("os", "system") + b"sb" + TOUCH
                           + b"b.", "ok", "a.B()!'touch"),
    "hidden-by-pop.pkl": (call("os", "system", TOUCH) + b"0N.", "ok", "None"),
    "nested-pickle.pkl": (call("torch.storage", "_load_from_bytes", b"C\x02N."), "corrupt", "are left"),
    "nested-pickle-whole.pkl": (call("torch.storage", "_load_from_bytes", b"C\x02N.") + b".", "ok", "(b'N.')"),
    "inst.pkl": (b"(" + TOUCH + b"ios\nsystem\n.", "unsupported", "INST"),
    "obj.pkl": (b"(" + name("os", "system") + TOUCH + b"o.", "unsupported", "OBJ"),
    "ext1.pkl": (b"\x80\x02\x82\x01.", "unsupported", "EXT1"),
    "ext2.pkl": (b"\x80\x02\x83\x01\x00.", "unsupported", "EXT2"),
    "ext4.pkl": (b"\x80\x02\x84\x01\x00\x00\x00.", "unsupported", "EXT4"),
    "persid-text.pkl": (b"P123\n.", "unsupported", "PERSID"),
    "next-buffer.pkl": (b"\x80\x05\x97.", "unsupported", "NEXT_BUFFER"),
    "readonly-buffer.pkl": (b"\x80\x05N\x98.", "unsupported", "READONLY_BUFFER"),
    "protocol-6.pkl": (b"\x80\x06N.", "unsupported", "protocol 6"),
    "protocol-255.pkl": (b"\x80\xffN.", "unsupported", "protocol 255"),
    # Wrong types.
    "stack-global-of-int.pkl": (b"\x80\x04K\x01K\x02\x93.", "corrupt", "a global named by a int and a int"),
    "stack-global-of-list.pkl": (b"\x80\x04" + text("os") + b"]\x93.", "corrupt", "a str and a list"),
    "call-of-text.pkl": (text("os") + b")R.", "corrupt", "a call of a str"),
    "call-with-list.pkl": (name("os", "system") + b"]R.", "corrupt", "a call whose arguments are a list"),
    "newobj-ex-without-dict.pkl": (name("a", "B") + b"))\x92.", "corrupt", "keyword arguments that are a tuple"),
    "setitem-on-list.pkl": (b"]NNs.", "corrupt", "pairs set on a list"),
    "setitems-on-global.pkl": (name("os", "environ") + b"(" + text("PATH") + text("/tmp") + b"u.", "corrupt",
                               "pairs set on a reference to os.environ"),
    "append-on-tuple.pkl": (b")Na.", "corrupt", "items appended to a tuple"),
    "additems-on-dict.pkl": (b"}(N\x90.", "corrupt", "items added to a dict"),
    "build-on-dict.pkl": (b"}}b.", "corrupt", "a state set on a dict"),
    "build-on-class.pkl": (name("torch.nn", "Module") + b"}b.", "unsupported", "a state set on a reference"),
    "odd-items.pkl": (b"}(NNNu.", "corrupt", "3 keys and values"),
    "list-as-key.pkl": (b"}]Ns.", "corrupt", "a list as the key"),
    # The stack and the memo.
    "empty.pkl": (b"", "corrupt", "1 bytes are needed where 0 are left"),
    "stop-only.pkl": (b".", "corrupt", "STOP on a stack of 0 values"),
    "two-values.pkl": (b"NN.", "corrupt", "STOP on a stack of 2 values"),
    "open-mark.pkl": (b"N(.", "corrupt", "1 marks"),
    "no-stop.pkl": (b"\x80\x02]", "corrupt", "are left"),
    "pop-on-empty.pkl": (b"0.", "corrupt", "on a stack of 0 values"),
    "dup-on-empty.pkl": (b"2.", "corrupt", "on a stack of 0 values"),
    "tuple-below-mark.pkl": (b"N(N\x86.", "corrupt", "since the last MARK"),
    "tuple-without-mark.pkl": (b"Nt.", "corrupt", "without a MARK"),
    "get-unset.pkl": (b"h\x00.", "corrupt", "memo entry 0 was never set"),
    "long-get-unset.pkl": (b"Nq\x00j\xff\xff\xff\xff.", "corrupt", "memo entry 4294967295 was never set"),
    "put-negative.pkl": (b"Np-1\n.", "corrupt", "a memo number that is not decimal"),
    "put-on-empty.pkl": (b"q\x00.", "corrupt", "on a stack of 0 values"),
    "memo-index-4g.pkl": (b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", "ok", "None"),
    "unknown-opcode.pkl": (b"\x80\x02\xfe.", "corrupt", "unknown opcode 0xfe"),
    "html.pkl": (b"<!DOCTYPE html><html></html>", "corrupt", "unknown opcode 0x3c"),
    "zip.pkl": (b"PK\x03\x04", "unsupported", "PERSID"),
    "payload-before-broken-tail.pkl": (call("os", "system", TOUCH) + b"\xff", "corrupt", "unknown opcode 0xff"),
    # Frames.
    "frame-shorter-than-argument.pkl": (frame(b"\x8c\x05abcde.", 4), "corrupt", "crosses the end of its FRAME"),
    "frame-ends-before-argument.pkl": (frame(b"K\x01.", 1), "corrupt", "crosses the end of its FRAME"),
    "frame-cuts-line.pkl": (frame(b"cos\nsystem\n.", 6), "corrupt", "crosses the end of its FRAME"),
    "frame-in-frame.pkl": (frame(b"\x95" + struct.pack("<Q", 2) + b"N."), "corrupt", "a FRAME inside a FRAME"),
    "frame-beyond-end.pkl": (frame(b"N.", 1000), "corrupt", "a FRAME of 1000 bytes"),
    "frame-2-64.pkl": (frame(b"N.", 2**64 - 1), "corrupt", "a FRAME of 18446744073709551615 bytes"),
    "frame-after-stop.pkl": (frame(b"N.hidden"), "corrupt", "before the end of its FRAME"),
    "between-frames.pkl": (frame(b"K\x01") + b"K\x02" + frame(b"\x86.")[2:], "ok", "(1, 2)"),
    # Sizes.
    "text-of-4g.pkl": (b"X\xff\xff\xff\xffabc.", "corrupt", "4294967295 bytes are needed"),
    "text-of-2-64.pkl": (b"\x8d" + b"\xff" * 8 + b"abc.", "corrupt", "18446744073709551615 bytes are needed"),
    "bytes-of-2-63.pkl": (b"\x8e" + struct.pack("<Q", 2**63) + b".", "corrupt", "are left"),
    "bytearray-cut.pkl": (b"\x80\x05\x96" + struct.pack("<Q", 10) + b"abc.", "corrupt", "10 bytes are needed"),
    "long4-negative.pkl": (b"\x8b\xff\xff\xff\xff.", "corrupt", "an integer of negative size"),
    "binstring-negative.pkl": (b"T\xff\xff\xff\xff.", "corrupt", "a string of negative size"),
    "long1-cut.pkl": (b"\x8a\x0aabc.", "corrupt", "10 bytes are needed"),
    "global-without-newline.pkl": (b"cos", "corrupt", "are left"),
    # Text.
    "not-utf8.pkl": (b"\x8c\x01\xff.", "corrupt", "text that is not UTF-8"),
    "overlong-utf8.pkl": (b"\x8c\x02\xc0\xaf.", "corrupt", "text that is not UTF-8"),
    "beyond-unicode.pkl": (b"\x8c\x04\xf4\x90\x80\x80.", "corrupt", "text that is not UTF-8"),
    "lone-surrogate.pkl": (b"\x8c\x03\xed\xa0\x80.", "ok", "\\xed\\xa0\\x80"),
    "global-not-utf8.pkl": (b"c\xff\nx\n.", "corrupt", "a global whose name is not UTF-8"),
    "global-empty.pkl": (b"c\n\n.", "corrupt", "a global without a module or a name"),
    "int-octal.pkl": (b"I010\n.", "corrupt", "an integer that is not decimal"),
    "int-hex.pkl": (b"I0x10\n.", "corrupt", "an integer that is not decimal"),
    "int-words.pkl": (b"Ione\n.", "corrupt", "an integer that is not decimal"),
    "long-of-5000-digits.pkl": (b"L" + b"7" * 5000 + b"L\n.", "limit_exceeded", "a decimal integer of 5000"),
    "float-words.pkl": (b"Fone\n.", "corrupt", "a float that is not decimal"),
    "string-unquoted.pkl": (b"Sabc\n.", "corrupt", "a STRING without quotes"),
    "string-escape.pkl": (b"S'\\x4'\n.", "corrupt", "a STRING with an unfinished escape"),
    "unicode-escape.pkl": (b"V\\u12\n.", "corrupt", "a UNICODE with a bad escape"),
    # Depth, sharing, cycles.
    "deep-list.pkl": (b"]" * 1001 + b"a" * 1000 + b".", "limit_exceeded", "nested more than 1000 deep"),
    "deep-tuple.pkl": (b"N" + b"\x85" * 5000 + b".", "limit_exceeded", "nested more than 1000 deep"),
    "deep-marks.pkl": (b"(" * 5000, "limit_exceeded", "nested more than 1000 deep"),
    "deep-calls.pkl": (name("a", "B") + b")R" * 1000 + b".", "limit_exceeded", "nested more than 1000 deep"),
    "deep-state.pkl": (name("a", "B") + b"q\x00)\x81" + b"h\x00)\x81" * 1000 + b"b" * 1000 + b".", "limit_exceeded",
                       "nested more than 1000 deep"),
    "list-in-itself.pkl": (b"]q\x00h\x00a.", "ok", "[...]"),
    "dict-in-itself.pkl": (b"}q\x00" + text("self") + b"h\x00s.", "ok", "{'self': ...}"),
    "tuple-in-itself.pkl": (b"]q\x00h\x00\x85q\x01a0h\x01.", "ok", "([...])"),
    "object-in-itself.pkl": (name("a", "B") + b")\x81q\x00h\x00b.", "ok", "a.B()!..."),
    "laughs-by-dup.pkl": (b"N" + b"2\x86" * 3 + b".", "ok", "(((None, None), (None, None)),"),
}


def main() -> None:
    expected = {}
    for file_name, (data, code, message) in CASES.items():
        (HERE / file_name).write_bytes(data)
        expected[file_name] = {"code": code, "message_contains": message}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
