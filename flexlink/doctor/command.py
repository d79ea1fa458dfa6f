# SPDX-License-Identifier: Apache-2.0
"""`flexlink doctor`: the command line. What is checked and said is in the modules beside it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flexlink.doctor import peer, reader, report
from flexlink.doctor.findings import ERROR, Finding, worst

EPILOG = "exit status: 0 no error (there may be warnings), 1 at least one error, 2 wrong usage"
_SHORTEST_TOKEN = 8


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 (any) to 65535")
    return int(text)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 86400 seconds")
    return value


def _token(text: str) -> str:
    if not _SHORTEST_TOKEN <= len(text) <= 200:
        raise argparse.ArgumentTypeError(f"a token has {_SHORTEST_TOKEN} to 200 characters")
    return text


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with 2 and the usage where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="flexlink doctor",
        description="Says what FlexLink can use on this machine, what is wrong, and the command "
        "that mends it. It changes nothing. With --listen on one host and --peer on another it "
        "says instead which addresses of the two reach each other over TCP, in both directions.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument(
        "--listen",
        metavar="PORT",
        nargs="?",
        type=_port,
        const=peer.DEFAULT_PORT,
        help=f"wait for one --peer (default {peer.DEFAULT_PORT}; 0: any free port) and print the "
        "token that it needs",
    )
    sides.add_argument(
        "--peer", metavar="HOST[:PORT]", help="try every NIC of this host to a --listen elsewhere"
    )
    parser.add_argument(
        "--token", type=_token, help="the token that --listen printed; for --listen: use this one"
    )
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=300.0, help="how long --listen waits (300)"
    )
    options = parser.parse_args(argv)
    if options.peer is not None and options.token is None:
        parser.error("--peer needs --token: the one that 'flexlink doctor --listen' printed")
    return options


def _peer_outcome(options: argparse.Namespace) -> peer.Outcome:
    if options.peer is not None:
        return peer.call_peer(peer.split_target(options.peer), options.token, os.environ)
    token = options.token or secrets.token_hex(16)
    return peer.listen(options.listen, token, options.timeout, os.environ)


def _peer_json(outcome: peer.Outcome, findings: Sequence[Finding]) -> dict[str, Any]:
    fields = dataclasses.asdict(outcome)
    shown = [dataclasses.asdict(finding) for finding in findings]
    return {"version": report.JSON_VERSION, "worst": worst(findings), **fields, "findings": shown}


def main(argv: Sequence[str] | None = None) -> int:
    """The subcommand. argv: the words after `doctor`. Returns the exit status of EPILOG."""
    options = parse(argv)
    colour = sys.stdout.isatty()
    if options.peer is None and options.listen is None:
        facts = reader.read_facts(Path("/"), os.environ)
        findings = report.examine(facts)
        fields = report.as_json(facts, findings) if options.json else {}
        text = report.machine_text(facts, findings, colour)
    else:
        outcome = _peer_outcome(options)
        findings = outcome.findings()
        fields = _peer_json(outcome, findings) if options.json else {}
        lines = report.findings_text(findings, colour)
        text = "\n".join([*lines, "", report.sum_text(findings)])
    print(json.dumps(fields) if options.json else text)
    return 1 if worst(findings) == ERROR else 0
