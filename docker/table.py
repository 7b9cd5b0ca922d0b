#!/usr/bin/env python3
"""Prints what docker/failover found, from the files of one folder, and says by its status whether every connection lived on."""

import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])


def read(name):
    return json.loads((folder / name).read_text())


facts, talk = read("cut-facts.json"), read("cut.json")
tcp, datagrams, probe = talk["tcp"], talk["datagrams"], talk["probe"]
iperf = read("iperf.json")
sent = iperf.get("end", {}).get("sum_sent", {}).get("bytes", 0)
received = iperf.get("end", {}).get("sum_received", {}).get("bytes", 0)
iperf_lives = received > 0 and "error" not in iperf
sums = [line.split()[0] for line in (folder / "download.sums").read_text().splitlines()]
download_lives = len(sums) == 2 and sums[0] == sums[1]

opened = tcp["opened"] + 2
alive = tcp["alive"] + iperf_lives + download_lives
around = [gap for gap in probe["gaps"] if gap["from"] <= facts["to"] + 2e9 and (gap["to"] == 0 or gap["to"] >= facts["from"])]
silence = max((gap["ms"] for gap in around), default=0.0)
verified = tcp["bytes_verified"] + 24 * datagrams["received"]

rows = [
    ("connections opened through NAT", f"{opened}"),
    ("flows on the active node before", f"{facts['before']}"),
    ("flows on the standby at the cut", f"{facts['standby']}"),
    ("connections alive after", f"{alive} of {opened}"),
    ("  broken, silent, garbled", f"{tcp['broken']}, {tcp['silent']}, {tcp['garbled']}  {tcp['first_error']}"),
    ("longest silence of the probe", f"{silence:.0f} ms (1 kHz; {probe['lost']} of {probe['sent']} lost)"),
    ("  sender's longest pause", f"{probe['longest_pause_ms']:.0f} ms"),
    ("datagrams with numbers", f"{datagrams['received']} of {datagrams['sent']} echoed, {datagrams['garbled']} garbled"),
    ("iperf3", f"{received / 1e6:.1f} of {sent / 1e6:.1f} MB arrived" if iperf_lives else f"FAILED: {iperf.get('error', 'nothing arrived')}"),
    ("download of 64 MB", f"SHA-256 equal ({sums[0][:12]}...)" if download_lives else "FAILED"),
    ("bytes verified", f"{verified / 1e6:.1f} MB"),
]
width = max(len(name) for name, _ in rows)
print()
for name, text in rows:
    print(f"  {name:<{width}}  {text}")
print()

good = opened > 2 and alive == opened and tcp["refused"] == 0 and tcp["garbled"] == 0 and datagrams["garbled"] == 0 and facts["through"]
result = dict(ok=good, opened=opened, alive=alive, silence_ms=silence, flows_before=facts["before"],
              flows_on_standby=facts["standby"], bytes_verified=verified, talk=talk)
(folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
if not facts["through"]:
    print("  iperf3 or the download had ended before the cut: too busy a machine for a verdict on them.")
print(f"  {'Every connection lived on.' if good else 'NOT every connection lived on.'} Results: {folder}/result.json")
sys.exit(0 if good else 1)
