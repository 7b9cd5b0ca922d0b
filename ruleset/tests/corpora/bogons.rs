//! Inputs that crashed some nft: whatever it makes of them, the engine answers afterwards, and a refused input changes nothing.

use crate::corpus::{self, text};
use crate::lab::Lab;
use crate::tally::listing;

/// Rules that were there before.
const BEFORE: &str = "table inet kept {
    set s { type ipv4_addr; elements = { 192.0.2.1 }; }
    chain c { type filter hook input priority 0; ip saddr @s counter drop; }
}
";

#[test]
fn bogons_harm_nobody() {
    let Some(lab) = Lab::new(&[]) else { return };
    let (mut same, mut all) = (0, 0);
    let missing = lab.missing();
    let before = lab.file("before", BEFORE.as_bytes());
    for row in corpus::rows("nft_bogons.jsonl") {
        let id = text(&row, "id");
        let file = lab.file("bogon", &bytes(&row));
        let file = file.to_str().unwrap();
        let args: &[&str] =
            if text(&row, "format") == "json" { &["-j", "-f", file] } else { &["-f", file] };
        let (kernel, ours) = lab.both(|side| {
            lab.flush(side);
            assert!(lab.load(side, &before).ok());
            let was = lab.nft(side, &["-a", "list", "ruleset"]).out;
            let done = lab.nft(side, args);
            let is = lab.nft(side, &["-a", "list", "ruleset"]);
            assert!(is.ok(), "{side:?} no longer answers after {id}: {}", is.err);
            if !done.ok() {
                assert_eq!(is.out, was, "{side:?} was changed by {id}, which was refused");
            }
            (done.code, listing::text(&is.out))
        });
        assert!(lab.alive(), "the engine died of {id}");
        all += 1;
        // A kernel without flowtables refuses what would else be no bogon.
        let beyond = kernel.0 != 0 && missing.iter().any(|word| text(&row, "text").contains(word));
        if kernel == ours || beyond {
            same += 1;
        } else {
            eprintln!("{id}: kernel {kernel:?}\n  ours {ours:?}");
        }
    }
    eprintln!(
        "nft_bogons.jsonl: {all} inputs, none does harm; {same} end as they end on the kernel"
    );
    assert!(all > 0);
    assert!(same * 100 >= all * 95);
}

/// The input's bytes; those that are no text are in base 64.
fn bytes(row: &serde_json::Value) -> Vec<u8> {
    let Some(coded) = row["b64"].as_str() else { return text(row, "text").as_bytes().to_vec() };
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0u32, 0, Vec::new());
    for digit in coded.bytes().filter_map(|byte| digits.iter().position(|d| *d == byte)) {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
