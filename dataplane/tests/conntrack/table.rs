//! Entries of the table, as `conntrack -L` tells them and as scripts do.
//!
//! In scripts: `entry PROTOCOL [STATE] SRC > DST [back SRC > DST] [UNREPLIED] [ASSURED] [mark=N] [zone=N] [zone-orig=N]
//! [zone-reply=N] [timeout=N] [packets=N/N] [bytes=N/N]`. Without `back`, the way back is the way there, turned. ICMP: the
//! identifier stands as a port of the host that asks, `kind=` is that of a query, by default `echo`.

use std::net::IpAddr;

use crate::names::{self, End, Vars};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) protocol: u8,
    pub(crate) state: Option<String>,
    pub(crate) ends: [[End; 2]; 2],
    /// ICMP: type and code of each direction.
    pub(crate) kinds: Option<[(u8, u8); 2]>,
    pub(crate) unreplied: bool,
    pub(crate) assured: bool,
    pub(crate) mark: u32,
    /// Of both directions, the original, the reply.
    pub(crate) zones: [u16; 3],
    /// Packets and bytes in each direction, where they are counted.
    pub(crate) accounts: Option<[[u64; 2]; 2]>,
    /// Seconds.
    pub(crate) timeout: u64,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = names::PROTOCOLS.iter().find(|(_, number)| *number == self.protocol);
        match protocol {
            Some((name, _)) => f.write_str(name)?,
            None => write!(f, "{}", self.protocol)?,
        }
        if let Some(state) = &self.state {
            write!(f, " {state}")?;
        }
        let [original, reply] = &self.ends;
        write!(f, " {} > {}", original[0], original[1])?;
        if [reply[1], reply[0]] != *original {
            write!(f, " back {} > {}", reply[0], reply[1])?;
        }
        if let Some([(kind, code), _]) = self.kinds {
            write!(f, " kind={}", names::icmp_name(kind, code, self.protocol == 58))?;
        }
        for (flag, name) in [(self.unreplied, "UNREPLIED"), (self.assured, "ASSURED")] {
            if flag {
                write!(f, " {name}")?;
            }
        }
        if self.mark != 0 {
            write!(f, " mark={}", self.mark)?;
        }
        for (zone, name) in self.zones.iter().zip(["zone", "zone-orig", "zone-reply"]) {
            if *zone != 0 {
                write!(f, " {name}={zone}")?;
            }
        }
        if let Some([[p, b], [q, c]]) = self.accounts {
            write!(f, " packets={p}/{q} bytes={b}/{c}")?;
        }
        write!(f, " timeout={}", self.timeout)
    }
}

impl Entry {
    /// Whether the way back is not just the way there.
    pub(crate) fn is_translated(&self) -> bool {
        let [[src, dst], reply] = self.ends;
        reply != [dst, src]
    }

    /// It without ports that each side may have chosen for itself: of the way back, or of both where packets answered to such.
    fn without_choices(&self, both: bool) -> Self {
        let mut plain = Self { timeout: 0, ..self.clone() };
        plain.ends[1].iter_mut().for_each(|end| end.port = None);
        let given = |port: &u16| crate::random::PORTS.contains(port);
        if both {
            plain.ends[0].iter_mut().for_each(|end| end.port = end.port.filter(given));
        }
        plain
    }
}

/// Whether both tables are the same, what each side chose aside, and the seconds that a look takes.
pub(crate) fn are_alike(linux: &[Entry], ours: &[Entry], seconds: u64, both: bool) -> bool {
    let plain = |table: &[Entry]| {
        let plain = |entry: &Entry| (entry.without_choices(both), entry.timeout);
        let mut plain: Vec<_> = table.iter().map(plain).collect();
        plain.sort_by_cached_key(|(entry, timeout)| (entry.to_string(), *timeout));
        plain
    };
    let (linux, ours) = (plain(linux), plain(ours));
    linux.len() == ours.len()
        && linux
            .iter()
            .zip(&ours)
            .all(|((linux, left), (ours, right))| linux == ours && left.abs_diff(*right) <= seconds)
}

/// What `conntrack -L -o extended` printed.
pub(crate) fn listing(text: &str) -> Vec<Entry> {
    let mut entries: Vec<_> =
        text.lines().map(|line| listed(line).unwrap_or_else(|| panic!("{line}"))).collect();
    entries.sort_by_key(|entry| (entry.protocol, entry.ends));
    entries
}

fn listed(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, _, protocol, timeout, rest @ ..] = words.as_slice() else { return None };
    let protocol: u8 = protocol.parse().ok()?;
    let state = rest.first().filter(|word| !word.contains('=') && !word.starts_with('['));
    let mut entry = Entry {
        protocol,
        state: state.map(|state| (*state).to_owned()),
        ends: [[End { addr: IpAddr::from([0; 4]), port: None }; 2]; 2],
        kinds: None,
        unreplied: rest.contains(&"[UNREPLIED]"),
        assured: rest.contains(&"[ASSURED]"),
        mark: 0,
        zones: [0; 3],
        accounts: None,
        timeout: timeout.parse().ok()?,
    };
    let mut kinds = [(0, 0); 2];
    let mut accounts = [[0; 2]; 2];
    // Words of a direction begin with its source.
    let mut direction = usize::MAX;
    let mut counted = false;
    for (name, value) in rest.iter().filter_map(|word| word.split_once('=')) {
        if name == "src" {
            direction = direction.wrapping_add(1);
        }
        let d = direction.min(1);
        let number = value.parse::<u64>();
        match name {
            "src" => entry.ends[d][0].addr = value.parse().ok()?,
            "dst" => entry.ends[d][1].addr = value.parse().ok()?,
            "sport" => entry.ends[d][0].port = Some(number.ok()? as u16),
            "dport" => entry.ends[d][1].port = Some(number.ok()? as u16),
            "type" => kinds[d].0 = number.ok()? as u8,
            "code" => kinds[d].1 = number.ok()? as u8,
            // The identifier belongs to the host that asks.
            "id" => entry.ends[d][d].port = Some(number.ok()? as u16),
            "packets" => (counted, accounts[d][0]) = (true, number.ok()?),
            "bytes" => accounts[d][1] = number.ok()?,
            "mark" => entry.mark = number.ok()? as u32,
            "zone" => entry.zones[0] = number.ok()? as u16,
            "zone-orig" => entry.zones[1] = number.ok()? as u16,
            "zone-reply" => entry.zones[2] = number.ok()? as u16,
            _ => {}
        }
    }
    entry.kinds = matches!(protocol, 1 | 58).then_some(kinds);
    entry.accounts = counted.then_some(accounts);
    Some(entry)
}

/// Whether the table is what a script says, or why not.
pub(crate) fn check(
    table: &[Entry],
    wanted: &[Vec<String>],
    vars: &mut Vars,
) -> Result<(), String> {
    let mut left: Vec<&Entry> = table.iter().collect();
    for words in wanted {
        let fits = |entry: &&Entry| entry_is(entry, words, &mut vars.clone());
        let found = left.iter().map(fits).collect::<Result<Vec<_>, _>>()?;
        let Some(n) = found.iter().position(|fits| *fits) else {
            return Err(format!("no entry {}\nin the table:\n{}", words.join(" "), lines(table)));
        };
        entry_is(left.remove(n), words, vars)?;
    }
    if left.is_empty() { Ok(()) } else { Err(format!("more in the table:\n{}", lines(table))) }
}

/// Entries, a line each.
pub(crate) fn lines(table: &[Entry]) -> String {
    table.iter().map(|entry| format!("  {entry}\n")).collect()
}

fn entry_is(entry: &Entry, words: &[String], vars: &mut Vars) -> Result<bool, String> {
    let fail = || format!("no entry: {}", words.join(" "));
    let [protocol, rest @ ..] = words else { return Err(fail()) };
    let mut rest = rest.to_vec();
    let protocol = if protocol == "icmp6" { "icmpv6" } else { protocol };
    let mut wanted = entry.clone();
    wanted.protocol = names::protocol(protocol).ok_or_else(fail)?;
    wanted.state = match rest.get(1).map(String::as_str) {
        Some(">") => None,
        _ => Some(rest.remove(0)),
    };
    let ends = |at: usize, seen: [End; 2], vars: &mut Vars| -> Result<[End; 2], String> {
        let [Some(src), Some(arrow), Some(dst)] = [0, 1, 2].map(|n| rest.get(at + n)) else {
            return Err(fail());
        };
        if arrow != ">" {
            return Err(fail());
        }
        Ok([names::end(src, vars, seen[0].port)?, names::end(dst, vars, seen[1].port)?])
    };
    let original = ends(0, entry.ends[0], vars)?;
    let back = rest.iter().position(|word| word == "back");
    let reply = match back {
        Some(at) => ends(at + 1, entry.ends[1], vars)?,
        None => [original[1], original[0]],
    };
    wanted.ends = [original, reply];
    wanted.unreplied = rest.iter().any(|word| word == "UNREPLIED");
    wanted.assured = rest.iter().any(|word| word == "ASSURED");
    (wanted.mark, wanted.zones) = (0, [0; 3]);
    let mut kind = "echo";
    for (name, value) in rest.iter().filter_map(|word| word.split_once('=')) {
        let number = value.parse::<u64>();
        match name {
            "mark" => wanted.mark = number.map_err(|_| fail())? as u32,
            "zone" => wanted.zones[0] = number.map_err(|_| fail())? as u16,
            "zone-orig" => wanted.zones[1] = number.map_err(|_| fail())? as u16,
            "zone-reply" => wanted.zones[2] = number.map_err(|_| fail())? as u16,
            // Time goes on while the packets pass.
            "timeout" => {
                let timeout = number.map_err(|_| fail())?;
                wanted.timeout = entry.timeout.clamp(timeout.saturating_sub(2), timeout);
            }
            "packets" | "bytes" => {
                let (there, back) = value.split_once('/').ok_or_else(fail)?;
                let accounts = wanted.accounts.get_or_insert_default();
                let n = usize::from(name == "bytes");
                accounts[0][n] = there.parse().map_err(|_| fail())?;
                accounts[1][n] = back.parse().map_err(|_| fail())?;
            }
            "kind" => kind = value,
            _ => return Err(fail()),
        }
    }
    if matches!(wanted.protocol, 1 | 58) {
        let kind = names::icmp(kind, wanted.protocol == 58).ok_or_else(fail)?;
        let reply = entry.kinds.unwrap_or_default()[1];
        wanted.kinds = Some([kind, reply]);
    }
    Ok(*entry == wanted)
}
